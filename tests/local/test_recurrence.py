from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.formats import UNLIMITED
from airflow_provider_jobmanager.local.recurrence import Recurrence, Step, check_schedule

CREATED = datetime(2025, 8, 18, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def look(schedule: dict[str, Any], after: timedelta, last: timedelta | None = None, *, active: bool = False) -> Step:
    recurrence = Recurrence.of(schedule, CREATED)
    return recurrence.look(CREATED + after, None if last is None else CREATED + last, active=active)


def test_an_empty_schedule_runs_once_and_at_once():
    zero = timedelta()

    assert look({}, zero) == Step(create=CREATED)
    assert look({}, MINUTE, zero, active=True) == Step()
    assert look({}, MINUTE, zero) == Step(completed=True)


def test_a_recurring_one_runs_at_once_and_names_the_next_run():
    hourly = {"recurrenceInterval": "PT1H"}

    assert look(hourly, timedelta()) == Step(create=CREATED, next_run=CREATED + HOUR)
    assert look(hourly, 30 * MINUTE, timedelta()) == Step(next_run=CREATED + HOUR)
    assert look(hourly, HOUR, timedelta()) == Step(create=CREATED + HOUR, next_run=CREATED + 2 * HOUR)


def test_a_run_waits_for_the_job_before_it_and_for_no_longer_than_its_window():
    hourly = {"recurrenceInterval": "PT1H", "startWindow": "PT10M"}
    zero = timedelta()

    assert look(hourly, HOUR + MINUTE, zero, active=True) == Step(next_run=CREATED + 2 * HOUR)
    assert look(hourly, HOUR + 10 * MINUTE, zero) == Step(create=CREATED + HOUR, next_run=CREATED + 2 * HOUR)
    assert look(hourly, HOUR + 11 * MINUTE, zero) == Step(next_run=CREATED + 2 * HOUR)


def test_missed_runs_are_not_made_up_for():
    assert look({"recurrenceInterval": "PT1H"}, 5 * HOUR + MINUTE, timedelta()) == Step(
        create=CREATED + 5 * HOUR, next_run=CREATED + 6 * HOUR
    )


def test_nothing_runs_before_do_not_run_until():
    later = {"doNotRunUntil": "2025-08-18T14:00:00Z", "recurrenceInterval": "PT1H"}

    assert look(later, HOUR) == Step(next_run=CREATED + 2 * HOUR)
    assert look(later, 2 * HOUR) == Step(create=CREATED + 2 * HOUR, next_run=CREATED + 3 * HOUR)
    assert look({"doNotRunUntil": "2025-08-18T11:00:00Z"}, timedelta()).create == CREATED


def test_nothing_runs_after_do_not_run_after_and_the_schedule_ends_with_its_job():
    ending = {"doNotRunAfter": "2025-08-18T13:30:00Z", "recurrenceInterval": "PT1H"}

    assert look(ending, HOUR, timedelta()) == Step(create=CREATED + HOUR)
    assert look(ending, 2 * HOUR, HOUR, active=True) == Step()
    assert look(ending, 2 * HOUR, HOUR) == Step(completed=True)


def test_a_single_run_that_missed_its_window_ends_the_schedule():
    assert look({"startWindow": "PT5M"}, 6 * MINUTE) == Step(completed=True)
    assert look({"startWindow": UNLIMITED}, 6 * MINUTE).create == CREATED


@given(st.integers(1, 600), st.none() | st.integers(1, 600), st.lists(st.tuples(st.integers(0, 900), st.booleans())))
def test_runs_never_go_back_nor_come_twice(interval: int, window: int | None, looks: list[tuple[int, bool]]):
    recurrence = Recurrence(CREATED, None, window and timedelta(minutes=window), timedelta(minutes=interval))
    now, last = CREATED, None
    for minutes, active in looks:
        now += timedelta(minutes=minutes)
        step = recurrence.look(now, last, active=active)
        assert not step.completed
        if step.create is not None:
            assert not active
            assert last is None or step.create > last
            assert step.create <= now
            assert (step.create - CREATED) % recurrence.interval == timedelta()
            last = step.create


@pytest.mark.parametrize(
    "schedule",
    [
        {"recurrenceInterval": "PT59S"},
        {"startWindow": "PT0S"},
        {"startWindow": "soon"},
        {"recurrenceInterval": 5},
        {"doNotRunUntil": "soon"},
        {"doNotRunAfter": 5},
    ],
)
def test_what_is_no_schedule(schedule: dict[str, Any]):
    with pytest.raises(BatchError) as refused:
        check_schedule(schedule)

    assert refused.value.code == "InvalidPropertyValue"
    assert refused.value.values[0] == ("PropertyName", f"schedule.{next(iter(schedule))}")


def test_what_is_one():
    check_schedule({"recurrenceInterval": "PT1M", "startWindow": UNLIMITED, "doNotRunUntil": "2025-01-01T00:00:00Z"})
    check_schedule({"recurrenceInterval": None})
