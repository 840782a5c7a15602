from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_jobmanager.local import lists
from airflow_provider_jobmanager.local.errors import BatchError


def reason(error: pytest.ExceptionInfo[BatchError]) -> str:
    assert (error.value.status, error.value.code) == (400, "InvalidQueryParameterValue")
    return str(dict(error.value.values)["Reason"])


def test_a_page_has_a_thousand_rows_unless_fewer_are_wanted():
    assert lists.max_results(None) == 1000
    assert lists.max_results("1") == 1
    assert lists.max_results("1000") == 1000
    assert lists.max_results(None, largest=10) == 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-5", "MaxResults cannot be less than 1"),
        ("0", "MaxResults cannot be less than 1"),
        ("1001", "MaxResults cannot be greater than 1000"),
        ("many", "MaxResults is not a whole number"),
    ],
)
def test_other_page_sizes_are_refused(text: str, says: str):
    with pytest.raises(BatchError) as refused:
        lists.max_results(text)

    assert reason(refused) == says
    assert refused.value.values[:2] == [("QueryParameterName", "maxresults"), ("QueryParameterValue", text)]


@given(st.text(st.characters(codec="utf-8")))
def test_a_token_reads_back_even_as_a_decoded_form(last: str):
    token = lists.skip_token(last)

    assert lists.skipped(token) == last
    assert lists.skipped(token.replace("+", " ")) == last


def test_a_token_holds_the_name_of_a_file_that_is_no_text():
    assert lists.skipped(lists.skip_token("wd/\udcff")) == "wd/\udcff"


def test_rows_that_differ_in_case_only_are_on_one_page_each():
    found, token = [], None
    while True:
        rows, token = lists.page(["b", "a", "A", "B"], str, 1, token)
        found += rows
        if token is None:
            break
    assert found == ["A", "a", "B", "b"]


@pytest.mark.parametrize("token", ["", "x", "WATV2:!:1$1", "WATV2:YQ:1$1", "WATV2:YQ==:1$1x"])
def test_a_token_that_is_none_of_ours_is_refused(token: str):
    with pytest.raises(BatchError) as refused:
        lists.skipped(token)

    assert "not made by this service" in reason(refused)


def test_the_link_repeats_the_query_and_ends_with_the_raw_token():
    link = lists.next_link("https://h", "/pools", "api-version=1&maxresults=1", "WATV2:a+/=:1$1")
    again = lists.next_link("https://h", "/pools", link.partition("?")[2], "WATV2:b:1$1")
    escaped = lists.next_link("https://h", "/pools", "%24skiptoken=old&%24filter=x", "WATV2:b:1$1")

    assert link == "https://h/pools?api-version=1&maxresults=1&$skiptoken=WATV2:a+/=:1$1"
    assert again == "https://h/pools?api-version=1&maxresults=1&$skiptoken=WATV2:b:1$1"
    assert escaped == "https://h/pools?%24filter=x&$skiptoken=WATV2:b:1$1"


@given(st.sets(st.text("abcABC12_-", min_size=1, max_size=5), max_size=30), st.integers(1, 7))
def test_pages_give_every_row_once_and_in_order(names: set[str], size: int):
    names = {name.lower(): name for name in names}.values()  # type: ignore[assignment]
    seen: list[str] = []
    token = None
    while True:
        rows, token = lists.page(names, str, size, token)
        assert len(rows) <= size
        seen += rows
        if token is None:
            break

    assert seen == sorted(names, key=str.lower)


def test_rows_that_come_and_go_between_pages_neither_repeat_nor_hide_others():
    first, token = lists.page(["a", "c", "e"], str, 2)
    second, end = lists.page(["b", "c", "d", "e"], str, 2, token)

    assert (first, second, end) == (["a", "c"], ["d", "e"], None)


ROW: dict[str, Any] = {
    "odata.metadata": "m",
    "id": "j",
    "url": "u",
    "state": "active",
    "executionInfo": {"startTime": "s", "poolId": "p"},
}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        (None, ROW),
        ("", ROW),
        ("*", ROW),
        ("state,id", {"odata.metadata": "m", "id": "j", "state": "active"}),
        (" id , state ", {"odata.metadata": "m", "id": "j", "state": "active"}),
        ("executionInfo/poolId", {"odata.metadata": "m", "executionInfo": {"poolId": "p"}}),
        ("executionInfo/poolId,executionInfo", {"odata.metadata": "m", "executionInfo": ROW["executionInfo"]}),
        ("stats,State", {"odata.metadata": "m"}),
        ("id/x", {"odata.metadata": "m", "id": "j"}),
    ],
)
def test_select_keeps_what_was_named_in_the_row_s_order(text: str | None, chosen: dict[str, Any]):
    found = lists.select(ROW, lists.parse_select(text))

    assert found == chosen
    assert list(found) == list(chosen)


@pytest.mark.parametrize("text", ["id,,state", "a b", "id;state", "/id", "id/"])
def test_a_select_that_names_nothing_is_refused(text: str):
    with pytest.raises(BatchError) as refused:
        lists.parse_select(text)

    assert "is no name of a property" in reason(refused)


def test_only_stats_can_be_expanded():
    assert lists.parse_expand("stats")
    assert not lists.parse_expand(None)
    with pytest.raises(BatchError) as refused:
        lists.parse_expand("tasks")
    assert reason(refused) == "Only stats can be expanded"
