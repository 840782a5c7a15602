from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_jobmanager.local import odata, odata_tables
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.odata import Compare, Every, Some, parse_filter

SIX = "eq,ne,ge,gt,le,lt"
TEXT = f"startswith,{SIX}"

# The documentation's table, written out a second time.
DOCUMENTED = {
    "jobs": {
        "id": TEXT,
        "state": "eq,ne",
        "stateTransitionTime": SIX,
        "creationTime": SIX,
        "lastModified": SIX,
        "executionInfo/startTime": SIX,
        "executionInfo/endTime": SIX,
        "executionInfo/poolId": TEXT,
    },
    "schedule jobs": {
        "state": "eq,ne",
        "stateTransitionTime": SIX,
        "creationTime": SIX,
        "lastModified": SIX,
        "executionInfo/startTime": SIX,
        "executionInfo/endTime": SIX,
        "executionInfo/poolId": TEXT,
    },
    "tasks": {
        "id": TEXT,
        "state": "eq,ne",
        "stateTransitionTime": SIX,
        "creationTime": SIX,
        "lastModified": SIX,
        "lastModifiedTime": SIX,
        "executionInfo/startTime": SIX,
        "executionInfo/endTime": SIX,
        "executionInfo/exitCode": SIX,
        "executionInfo/result": "eq,ne",
    },
    "pools": {
        "id": TEXT,
        "state": "eq,ne",
        "allocationState": "eq",
        "stateTransitionTime": SIX,
        "allocationStateTransitionTime": SIX,
        "creationTime": SIX,
        "lastModified": SIX,
        "enableAutoScale": "eq,ne",
        "enableInterNodeCommunication": "eq,ne",
        "vmSize": "eq,ne",
    },
    "job schedules": {
        "id": TEXT,
        "state": "eq,ne",
        "stateTransitionTime": SIX,
        "creationTime": SIX,
        "lastModified": SIX,
        "executionInfo/endTime": SIX,
        "schedule/doNotRunUntil": SIX,
        "schedule/doNotRunAfter": SIX,
    },
    "nodes": {
        "state": "eq,ne",
        "stateTransitionTime": SIX,
        "lastBootTime": SIX,
        "allocationTime": SIX,
        "startTaskInfo/state": "eq",
        "startTaskInfo/result": "eq,ne",
        "startTaskInfo/exitCode": SIX,
        "startTaskInfo/startTime": SIX,
        "startTaskInfo/endTime": SIX,
    },
    "node counts": {"poolId": "eq"},
    "task files": {"name": "startswith"},
    "node files": {"name": "startswith"},
    "preparation and release status": {
        "poolId": "eq,ne",
        "nodeId": "eq,ne",
        **{
            f"{which}/{name}": operators
            for which in ("jobPreparationTaskExecutionInfo", "jobReleaseTaskExecutionInfo")
            for name, operators in {
                "state": "eq,ne",
                "result": "eq,ne",
                "startTime": SIX,
                "endTime": SIX,
                "exitCode": SIX,
            }.items()
        },
    },
    "supported images": {"osType": "eq,ne", "verificationType": "eq,ne", "nodeAgentSKUId": "eq,ne"},
    "usage metrics": {"poolId": "eq,ge,gt,le,lt,startswith"},
}
JOB = {
    "id": "Night-Run",
    "state": "completed",
    "stateTransitionTime": "2025-08-27T23:57:36.5Z",
    "creationTime": "2025-08-27T23:57:36Z",
    "executionInfo": {"startTime": "2025-08-27T23:57:36.06733Z", "poolId": "It's"},
}
TASK = {"id": "t", "lastModified": "2025-08-27T23:57:36Z", "executionInfo": {"exitCode": 2, "result": "Failure"}}


def holds(text: str, row: dict[str, Any] = JOB, name: str = "jobs") -> bool:
    return parse_filter(name, text).matches(row)


def refusal(text: str, name: str = "jobs") -> str:
    with pytest.raises(BatchError) as refused:
        parse_filter(name, text)
    assert (refused.value.status, refused.value.code) == (400, "InvalidQueryParameterValue")
    values = dict(refused.value.values)
    assert list(values) == ["QueryParameterName", "QueryParameterValue", "Reason"]
    assert values["QueryParameterName"] == "$filter"
    return str(values["Reason"])


def test_what_can_be_filtered_is_the_documented_table():
    found = {
        name: {prop: set(row.operators) for prop, row in properties.items()}
        for name, properties in odata_tables.FILTERS.items()
    }

    assert found == {
        name: {prop: set(operators.split(",")) for prop, operators in properties.items()}
        for name, properties in DOCUMENTED.items()
    }


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_allowed_pair_parses_and_every_other_is_refused(name: str):
    examples = {"text": "'x'", "time": "DateTime'2025-01-01T00:00:00Z'", "int": "1", "bool": "true"}
    for prop, row in odata_tables.FILTERS[name].items():
        value = f"'{row.values[0]}'" if row.values else examples[row.kind]
        for operator in odata.OPERATORS:
            if operator in row.operators:
                assert parse_filter(name, f"{prop} {operator} {value}").tree
            else:
                assert f"can't be compared with {operator}, only with: {', '.join(row.operators)}." in refusal(
                    f"{prop} {operator} {value}", name
                )
        if "startswith" not in row.operators:
            assert "can't be compared with startswith" in refusal(f"startswith({prop}, 'x')", name)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("state eq 'completed'", True),
        ("state eq 'COMPLETED'", True),
        ("state ne 'completed'", False),
        ("state ne 'active'", True),
        ("id eq 'night-run'", True),
        ("id gt 'night'", True),
        ("id lt 'night'", False),
        ("startswith(id, 'NIGHT')", True),
        ("startswith(id,'run')", False),
        ("executionInfo/poolId eq 'it''s'", True),
        ("creationTime ge DateTime'2025-08-27T23:57:36Z'", True),
        ("creationTime gt DateTime'2025-08-27T23:57:36.0000000Z'", False),
        ("creationTime lt datetime'2025-08-27T23:57:36.0000001Z'", True),
        ("stateTransitionTime gt DateTime'2025-08-27T23:57:36.4999999Z'", True),
        ("stateTransitionTime le DateTime'2025-08-28T01:57:36.5+02:00'", True),
        ("creationTime eq DateTime'Wed, 27 Aug 2025 23:57:36 GMT'", True),
        ("executionInfo/startTime lt DateTime'2025-08-27T23:57:36.067330Z'", False),
        ("executionInfo/endTime lt DateTime'2030-01-01T00:00:00Z'", False),
        ("executionInfo/endTime eq null", True),
        ("executionInfo/endTime ne null", False),
        ("executionInfo/endTime ne DateTime'2030-01-01T00:00:00Z'", True),
        ("state eq 'active' or state eq 'completed' and id eq 'x'", False),
        ("(state eq 'active' or state eq 'completed') and startswith(id,'n')", True),
        ("  (  ( state eq 'completed' ) )  ", True),
    ],
)
def test_jobs(text: str, result: bool):
    assert holds(text) is result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("executionInfo/exitCode gt 1", True),
        ("executionInfo/exitCode eq -9", False),
        ("executionInfo/exitCode lt 2.5", True),
        ("executionInfo/result eq 'failure'", True),
        ("lastModifiedTime ge DateTime'2025-08-27T23:57:36Z'", True),
        ("executionInfo/startTime lt DateTime'2025-08-27T23:57:36Z'", False),
    ],
)
def test_tasks(text: str, result: bool):
    assert holds(text, TASK, "tasks") is result


def test_pools_have_booleans_and_a_row_without_the_object_does_not_match():
    assert holds("enableAutoScale eq false", {"enableAutoScale": False}, "pools")
    assert not holds("enableAutoScale eq true", {"enableAutoScale": False}, "pools")
    assert not holds("startTaskInfo/exitCode eq 0", {"state": "idle"}, "nodes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "A property is expected at 'the end'"),
        ("priority eq 1", "A list of jobs can't be filtered by 'priority', only by: id, state, "),
        ("State eq 'active'", "can't be filtered by 'State'"),
        ("state EQ 'active'", "'EQ' is no operator; those are eq, ne, ge, gt, le, lt."),
        ("state", "'the end' is no operator"),
        ("state eq", "A value is expected at the end."),
        ("state eq active", "a text stands in single quotes"),
        ("state eq 'deleted'", "'state' is never 'deleted', only one of: active, "),
        ("state eq 1", "'state' is compared with a value like 'a text', not with '1'"),
        ("creationTime gt '2025-01-01T00:00:00Z'", "a value like DateTime'2025-01-31T12:00:00Z'"),
        ("creationTime gt DateTime'soon'", "'soon' is no moment"),
        ("id eq true", "'id' is no boolean."),
        ("endswith(id,'x')", "'endswith' is no function; the only one is startswith."),
        ("not (state eq 'active')", "'not' is no function"),
        ("startswith('x',id)", "startswith wants a property"),
        ("startswith(id)", "',' is expected"),
        ("startswith(id,'x'", "')' is expected"),
        ("(state eq 'active'", "')' is expected"),
        ("state eq 'active' state eq 'active'", "'and', 'or' or the end is expected"),
        ("state eq 'act", "can't be read from \"'act\" on"),
        ("id eq 5x", "can't be read"),
        ("(" * 51 + "state eq 'active'" + ")" * 51, "deeper than 50"),
        ("id eq '" + "x" * 20_000 + "'", "at most 16384"),
    ],
)
def test_what_can_t_be_read_is_refused_and_says_why(text: str, says: str):
    assert says in refusal(text)


def test_the_tree_is_there_to_look_at():
    found = parse_filter(
        "jobs",
        "(state eq 'Completed' and stateTransitionTime ge DateTime'2025-01-01') and id ne 'x'".replace(
            "01'", "01T00:00:00Z'"
        ),
    )

    assert isinstance(found.tree, Every)
    assert found.required() == [
        Compare(("state",), "text", "eq", "completed"),
        Compare(("stateTransitionTime",), "time", "ge", "2025-01-01T00:00:00"),
        Compare(("id",), "text", "ne", "x"),
    ]
    either = parse_filter("jobs", "state eq 'active' or state eq 'completed'")
    assert isinstance(either.tree, Some)
    assert either.required() == []
    assert len(parse_filter("jobs", "state eq 'active'").required()) == 1


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str):
    with suppress(BatchError):
        parse_filter("jobs", text)


def test_ten_thousand_rows():
    rows = [{**JOB, "id": f"job-{number}"} for number in range(10_000)]
    found = parse_filter(
        "jobs",
        "state eq 'completed' and stateTransitionTime ge DateTime'2025-08-27T23:57:36Z' and startswith(id, 'job-99')",
    )
    assert sum(map(found.matches, rows)) == 111
