"""The tables of states, and what a change does to the members that hang on it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_jobmanager.local import formats, machines

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
TABLES = [machines.JOB, machines.TASK, machines.POOL, machines.NODE, machines.JOB_SCHEDULE]


def begun(machine: machines.Machine, state: str) -> dict[str, str]:
    doc: dict[str, str] = {}
    machines.touch(doc, NOON)
    machine.begin(doc, state, NOON)
    return doc


@pytest.mark.parametrize("machine", TABLES, ids=lambda machine: machine.name)
def test_a_table_is_of_one_piece(machine: machines.Machine):
    reached = {row.after for row in machine.rows if row.before is None}
    while more := {row.after for row in machine.rows if row.before in reached} - reached:
        reached |= more
    assert reached == machine.states
    assert len({(row.before, row.after, row.cause) for row in machine.rows}) == len(machine.rows)
    left = {row.before for row in machine.rows}
    assert machine.passing <= machine.states
    assert machine.passing - left <= {"deleting"}


def test_a_change_has_a_tag_of_its_own_though_the_clock_stands():
    doc, tags = begun(machines.JOB, "active"), set()
    for _ in range(3):
        machines.touch(doc, NOON)
        tags.add(doc["eTag"])
        assert doc["eTag"] == formats.etag(formats.parse_timestamp(doc["lastModified"]))
    assert len(tags) == 3
    machines.touch(doc, NOON + timedelta(seconds=1))
    assert doc["lastModified"] == "2026-01-01T12:00:01Z"


def test_a_new_resource_has_no_previous_state():
    doc = begun(machines.JOB, "active")
    assert doc["state"] == "active"
    assert "previousState" not in doc
    with pytest.raises(ValueError, match="can't begin"):
        begun(machines.JOB, "completed")


def test_the_previous_state_is_the_last_one_it_rested_in():
    doc = begun(machines.JOB, "active")
    active = doc["stateTransitionTime"]
    later = NOON + timedelta(seconds=5)
    machines.JOB.move(doc, "terminating", "terminate", later)
    machines.JOB.move(doc, "completed", "nodes done", later + timedelta(seconds=1))
    assert (doc["previousState"], doc["previousStateTransitionTime"]) == ("active", active)


def test_only_what_a_user_asks_for_moves_the_tag():
    doc = begun(machines.JOB, "active")
    later = NOON + timedelta(seconds=5)
    machines.JOB.move(doc, "disabling", "disable", later)
    assert (doc["eTag"], doc["lastModified"]) == (formats.etag(later), formats.timestamp(later))
    machines.JOB.move(doc, "disabled", "tasks dealt with", later + timedelta(seconds=1))
    assert doc["eTag"] == formats.etag(later)


def test_what_is_not_in_the_table_is_a_bug_and_says_so():
    doc = begun(machines.TASK, "active")
    with pytest.raises(ValueError, match="A task can't go from active to completed by exit"):
        machines.TASK.move(doc, "completed", "exit", NOON)
