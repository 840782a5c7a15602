"""From what was written to what goes on the wire, value by value."""

from __future__ import annotations

from datetime import date, timedelta
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import pytest

from airflow_provider_jobmanager.batch import values
from airflow_provider_jobmanager.batch.values import Unfit

UNLIMITED = "P10675199DT2H48M5.4775807S"


class Size(str, Enum):
    FOUR = "4"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("PT1H", "PT1H"),
        ("pt01h00m00s", "PT1H"),
        ("P3Y6M4DT12H30M5S", "P1279DT12H30M5S"),  # recorded: so the service read it back
        ("P1W", "P7D"),
        ("PT36H", "P1DT12H"),
        ("PT0.5S", "PT0.5S"),
        ("PT1,5H", "PT1H30M"),
        (" 90 ", "PT1M30S"),
        ("90.25", "PT1M30.25S"),
        (90, "PT1M30S"),
        (90.5, "PT1M30.5S"),
        (0, "PT0S"),
        ("P", "PT0S"),
        ("-PT5S", "-PT5S"),
        (-5, "-PT5S"),
        (timedelta(days=1, seconds=1, microseconds=1), "P1DT1.000001S"),
        (UNLIMITED, UNLIMITED),
        *(
            (str(each), values.duration(each))
            for each in (timedelta(hours=1), timedelta(2, 3600), timedelta(1, 5, 7), -timedelta(1, 5))
        ),
        ("1:00:00", "PT1H"),
        ("2 days, 1:00:00", "P2DT1H"),
        (" -1 day, 23:00:00.500000", "-PT59M59.5S"),
        ("", None),
        ("None", None),
    ],
)
def test_durations(given: Any, expected: str | None) -> None:
    assert values.duration(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "1h",
        "PT",
        "P1",
        "PT1",
        "1:00",
        "24:00:00",
        "1:60:00",
        "1 day",
        "P1H",
        "PT1D",
        "P-1D",
        "٣",
        True,
        b"1",
        [],
        float("nan"),
        float("inf"),
        1.7976931348623157e301,
        10**12,
    ],
)
def test_no_durations(given: Any) -> None:
    with pytest.raises(Unfit, match="expected a duration"):
        values.duration(given)


@pytest.mark.parametrize(
    ("given", "expected"), [("4", 4), ("-4", -4), ("+4", 4), (" 4.0 ", 4), (4.0, 4), (Size.FOUR, 4)]
)
def test_whole_numbers(given: Any, expected: int) -> None:
    result = values.integer(given)
    assert result == expected
    assert type(result) is int


@pytest.mark.parametrize(
    "given", ["4.5", 4.5, "four", True, False, "0x4", "٤", "1e3", [4], 2**70, "9" * 30, float("nan")]
)
def test_no_whole_numbers(given: Any) -> None:
    with pytest.raises(Unfit, match="whole number"):
        values.integer(given)


@pytest.mark.parametrize(("given", "expected"), [("TRUE", True), (" false ", False), (True, True), ("none", None)])
def test_flags(given: Any, expected: bool | None) -> None:
    assert values.flag(given) is expected


@pytest.mark.parametrize("given", [1, 0, "1", "yes", "on", [], 1.0])
def test_no_flags(given: Any) -> None:
    with pytest.raises(Unfit, match="true or false"):
        values.flag(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (4, "4"),
        (1.5, "1.5"),
        (True, "True"),
        (Size.FOUR, "4"),
        (date(2026, 1, 2), "2026-01-02"),
        (PurePosixPath("/a/b"), "/a/b"),
        ("", ""),
    ],
)
def test_texts(given: Any, expected: str) -> None:
    result = values.text(given)
    assert result == expected
    assert type(result) is str


@pytest.mark.parametrize("given", [None, b"x", [], {}, object(), timedelta(1), 10**400])
def test_no_texts(given: Any) -> None:
    with pytest.raises(Unfit, match="expected a text"):
        values.text(given)


def test_choices_are_given_in_the_services_spelling() -> None:
    known = {"tasksuccess": "tasksuccess", "dockercompatible": "dockerCompatible"}
    assert values.choice(" TaskSuccess ", known) == "tasksuccess"
    assert values.choice("DOCKERCOMPATIBLE", known) == "dockerCompatible"
    with pytest.raises(Unfit, match="expected one of tasksuccess, dockerCompatible"):
        values.choice("never", known)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("abc", "a text of 3 characters"),
        (7, "7"),
        (10**400, "a very large number"),
        ({"a": 1}, "a mapping of 1 members"),
        ((1, 2), "a list of 2 items"),
        (None, "None"),
        (object(), "an object of type object"),
    ],
)
def test_forms_tell_no_text(given: Any, expected: str) -> None:
    assert values.form(given) == expected


@pytest.mark.parametrize("given", ["{{ x }}", "a {% if b %}", "{# c #}", object(), {1, 2}])
def test_templated(given: Any) -> None:
    assert values.templated(given)


@pytest.mark.parametrize(
    "given", ["{ x }", "", None, 1, 1.5, True, [object()], {"a": "{{ x }}"}, timedelta(1), date(2026, 1, 1)]
)
def test_not_templated(given: Any) -> None:
    assert not values.templated(given)
