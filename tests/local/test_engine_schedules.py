"""Job schedules: what is refused before anything is kept, and schedules taken up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import formats
from airflow_provider_jobmanager.local.errors import BatchError
from tests.local.rules import Account

if TYPE_CHECKING:
    from pathlib import Path

POOL = {"poolInfo": {"poolId": "local"}}
NO_POOL = {"poolInfo": {"autoPoolSpecification": {"poolLifetimeOption": "job"}}}


def schedule(account: Account, name: str = "s", specification: dict[str, Any] | None = None, **when: str) -> None:
    body = {"id": name, "schedule": when, "jobSpecification": specification or POOL}
    with account.turn():
        account.engine.schedules.create(body)


@pytest.mark.parametrize(
    "when",
    [
        {"doNotRunAfter": "9999-12-31T23:59:59.9999999Z"},
        {"doNotRunUntil": "9999-12-31T23:59:59Z", "recurrenceInterval": "PT1M"},
        {"recurrenceInterval": "P3000000D"},
        {"recurrenceInterval": "P3000000D", "startWindow": "P3000000D", "doNotRunAfter": "9999-12-31T00:00:00Z"},
    ],
)
def test_the_end_of_the_calendar_is_no_error_and_survives_a_restart(tmp_path: Path, when: dict[str, str]):
    account = Account(tmp_path, database=tmp_path / "state")
    schedule(account, **when)
    made = len(list(account.engine.store.jobs))
    assert made == ("doNotRunUntil" not in when)
    account.engine.store.close()
    again = Account(tmp_path, database=tmp_path / "state")
    assert again.engine.schedules.get("s").state == "active"
    assert len(list(again.engine.store.jobs)) == made


@pytest.mark.parametrize("when", [{}, {"doNotRunUntil": "2030-01-01T00:00:00Z"}])
def test_an_auto_pool_of_no_kind_is_refused_before_anything_is_kept(tmp_path: Path, when: dict[str, str]):
    account = Account(tmp_path)
    with pytest.raises(BatchError) as refused:
        schedule(account, specification=NO_POOL, **when)
    assert refused.value.code == "MissingRequiredProperty"
    assert refused.value.values == [("PropertyName", "poolInfo.autoPoolSpecification.pool")]
    assert list(account.engine.store.schedules) == []


def test_a_schedule_that_can_not_be_followed_keeps_nobody_else_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    account = Account(tmp_path, database=tmp_path / "state")
    for name in ("bad", "good"):
        schedule(account, name, doNotRunUntil="2026-01-01T01:00:00Z")
    bad = account.engine.schedules.get("bad")
    bad.doc["schedule"]["recurrenceInterval"] = "no duration"
    with account.turn():
        account.engine.store.save(bad)
    account.engine.store.close()
    again = Account(tmp_path, database=tmp_path / "state")
    assert "The job schedule bad can't be taken up" in caplog.text
    again.pass_time(3601)
    assert [job.id for job in again.engine.store.jobs] == ["good:job-1"]


def test_a_single_run_that_was_had_is_not_had_again_after_a_pause(account: Account):
    schedule(account)
    found = account.engine.schedules.get("s")
    with account.turn():
        account.engine.schedules.disable(found)
        account.engine.schedules.enable(found)
        account.engine.jobs.terminate(account.engine.jobs.get("s:job-1"), None)
    account.pass_time()
    assert [job.id for job in account.engine.store.jobs] == ["s:job-1"]
    assert found.state == "completed"


def test_a_single_run_that_was_not_had_is_had_after_a_pause(account: Account):
    schedule(account, doNotRunUntil="2026-01-01T01:00:00Z")
    found = account.engine.schedules.get("s")
    with account.turn():
        account.engine.schedules.disable(found)
    account.pass_time(7200)
    with account.turn():
        account.engine.schedules.enable(found)
    assert [job.id for job in account.engine.store.jobs] == ["s:job-1"]


def test_the_next_run_that_is_shown_is_never_in_the_past(account: Account):
    schedule(account, recurrenceInterval="PT1H")
    found = account.engine.schedules.get("s")
    with account.turn():
        account.engine.schedules.disable(found)
        account.engine.schedules.enable(found)
    for _ in range(3):
        account.pass_time(1800)
        assert found.doc["executionInfo"]["nextRunTime"] > found.doc["stateTransitionTime"]
        assert formats.parse_timestamp(found.doc["executionInfo"]["nextRunTime"]) > account.engine.now()
        assert len(list(account.engine.store.jobs)) == 1


def test_a_schedule_that_is_deleted_after_its_end_shows_a_next_run_again(account: Account):
    schedule(account, recurrenceInterval="PT1H", doNotRunUntil="2026-01-01T01:00:00Z")
    found = account.engine.schedules.get("s")
    with account.turn():
        account.engine.schedules.terminate(found)
    account.pass_time()
    assert (found.state, list(found.doc["executionInfo"])) == ("completed", ["endTime"])
    with account.turn():
        account.engine.schedules.delete(found)
    assert (found.state, found.doc["executionInfo"]) == ("deleting", {"nextRunTime": "2026-01-01T01:00:00Z"})


def test_a_schedule_without_runs_to_come_keeps_its_end_when_it_is_deleted(account: Account):
    schedule(account)
    found = account.engine.schedules.get("s")
    with account.turn():
        account.engine.schedules.terminate(found)
    account.pass_time()
    with account.turn():
        account.engine.schedules.delete(found)
    assert (found.state, list(found.doc["executionInfo"])) == ("deleting", ["endTime"])
