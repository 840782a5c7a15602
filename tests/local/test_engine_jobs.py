"""What ends a job, and what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local import engine, formats
from tests.local.rules import Account, refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_a_manager_starts_with_its_job(account: Account):
    job = account.managed()
    assert account.task(job).state == "running"
    assert job.doc["executionInfo"] == {"startTime": job.doc["stateTransitionTime"], "poolId": "local"}


@pytest.mark.parametrize("exit_code", [0, 3])
def test_the_end_of_a_manager_ends_its_job_however_it_went(account: Account, exit_code: int):
    job = account.managed()
    child = account.add(job, "running")
    many = [account.add(job, f"later{n}", requiredSlots=4) for n in range(3)]
    account.end(account.task(job), exit_code)
    assert job.state == "terminating"
    assert job.doc["executionInfo"]["terminateReason"] == "JMComplete"
    account.pass_time()
    assert job.state == "completed"
    assert job.doc["previousState"] == "active"
    assert job.doc["executionInfo"]["endTime"] == job.doc["stateTransitionTime"]
    assert child.execution["failureInfo"]["code"] == "TaskEnded"
    assert child.execution["exitCode"] == -9
    # A task that was still active stays active for ever.
    assert "active" in [task.state for task in many]
    account.pass_time(3600)
    assert account.running() == []


def test_without_kill_the_job_lives_on(account: Account):
    job = account.managed(manager={"killJobOnCompletion": False})
    child = account.add(job, "child")
    account.end(account.task(job), 1)
    account.pass_time()
    assert (job.state, child.state) == ("active", "running")


def test_a_manager_is_retried_before_it_has_failed(account: Account):
    job = account.managed(manager={"constraints": {"maxTaskRetryCount": 1}})
    manager = account.task(job)
    account.end(manager, 1)
    assert (manager.state, manager.execution["retryCount"], job.state) == ("running", 1, "active")
    account.end(manager, 1)
    account.pass_time()
    assert (manager.state, manager.execution["exitCode"], job.state) == ("completed", 1, "completed")


def test_all_tasks_complete(account: Account):
    job = account.managed(manager={"killJobOnCompletion": False}, onAllTasksComplete="terminatejob")
    account.end(account.task(job), 0)
    assert job.state == "active"
    account.pass_time()
    assert job.doc["executionInfo"]["terminateReason"] == "AllTasksComplete"


def test_an_empty_job_counts_as_all_complete(account: Account):
    job = account.create(onAllTasksComplete="terminatejob")
    account.pass_time(5)
    assert job.doc["executionInfo"]["terminateReason"] == "AllTasksComplete"


def test_the_wall_clock_of_a_job_runs_from_its_creation(account: Account):
    job = account.managed(constraints={"maxWallClockTime": "PT1M"})
    account.pass_time(59)
    assert job.state == "active"
    account.pass_time(2)
    assert job.state == "completed"
    assert job.doc["executionInfo"]["terminateReason"] == "MaxWallClockTimeExpiry"
    start, end = (formats.parse_timestamp(job.doc["executionInfo"][name]) for name in ("startTime", "endTime"))
    assert 60 <= (end - start).total_seconds() < 60.2


def test_terminating_and_deleting_are_states_that_can_be_seen(account: Account):
    job = account.managed()
    tag = job.doc["eTag"]
    account.pass_time()
    with account.turn():
        account.engine.jobs.terminate(job, {"terminateReason": "enough"})
    assert job.state == "terminating"
    assert job.doc["executionInfo"]["terminateReason"] == "enough"
    asked = job.doc["eTag"]
    assert asked != tag
    account.pass_time()
    assert (job.state, job.doc["eTag"]) == ("completed", asked)
    with refused("JobCompleted"):
        account.engine.jobs.terminate(job, None)
    with account.turn():
        account.engine.jobs.delete(job)
    assert (job.state, job.doc["eTag"], job.doc["previousState"]) == ("deleting", asked, "completed")
    with refused("JobBeingDeleted"):
        account.engine.jobs.delete(job)
    account.pass_time()
    with refused("JobNotFound"):
        account.engine.jobs.get("job")


def test_disable_and_enable(account: Account):
    job = account.managed()
    manager = account.task(job)
    with account.turn():
        account.engine.jobs.disable(job, {"disableTasks": "requeue"})
    assert (job.state, manager.state, manager.execution["requeueCount"]) == ("disabling", "active", 1)
    tag = job.doc["eTag"]
    account.pass_time()
    assert (job.state, job.doc["previousState"], job.doc["eTag"]) == ("disabled", "active", tag)
    with account.turn():
        account.engine.jobs.enable(job)
    assert (job.state, job.doc["previousState"], manager.state) == ("active", "disabled", "running")


def test_disable_that_waits(account: Account):
    job = account.managed(manager={"killJobOnCompletion": False})
    with account.turn():
        account.engine.jobs.disable(job, {"disableTasks": "wait"})
    account.pass_time(100)
    assert job.state == "disabling"
    account.end(account.task(job), 0)
    account.pass_time()
    assert job.state == "disabled"


def test_patch_replaces_whole_members_and_put_resets_the_rest(account: Account):
    job = account.managed(constraints={"maxTaskRetryCount": 5}, metadata=[{"name": "a", "value": "b"}], priority=7)
    with account.turn():
        account.engine.jobs.patch(job, {"constraints": {"maxWallClockTime": "P1D"}})
    assert job.doc["constraints"] == {"maxWallClockTime": "P1D", "maxTaskRetryCount": 0}
    assert job.doc["jobManagerTask"]["constraints"]["maxTaskRetryCount"] == 5
    assert (job.doc["priority"], len(job.doc["metadata"])) == (7, 1)
    with account.turn():
        account.engine.jobs.put(job, {"poolInfo": {"poolId": "LOCAL"}})
    assert job.doc["priority"] == 0
    assert "metadata" not in job.doc
    assert job.doc["jobManagerTask"]["id"] == "manager"


def test_ids_are_one_whatever_their_case(account: Account):
    account.create("Mixed")
    with refused("JobExists"):
        account.create("mIXED")
    assert account.engine.jobs.get("MIXED").id == "Mixed"


def test_a_pool_that_is_not_there_is_accepted_and_waited_for(account: Account):
    job = account.managed(poolInfo={"poolId": "later"})
    assert account.task(job).state == "active"


def auto_pool(**pool: object) -> dict[str, object]:
    return {"autoPoolSpecification": {"poolLifetimeOption": "job", "pool": {"vmSize": "s", **pool}}}


def test_a_job_that_moves_to_another_pool_leaves_no_auto_pool_behind(account: Account):
    job = account.create(poolInfo=auto_pool(targetDedicatedNodes=1))
    account.pass_time()
    with account.turn():
        account.engine.jobs.disable(job, {"disableTasks": "requeue"})
    account.pass_time()
    with account.turn():
        account.engine.jobs.patch(job, {"poolInfo": {"poolId": "local"}})
    account.pass_time()
    assert [pool.key for pool in account.engine.store.pools] == ["local"]
    with account.turn():
        account.engine.jobs.terminate(job, None)
    account.pass_time()
    assert (job.state, [pool.key for pool in account.engine.store.pools]) == ("completed", ["local"])


def test_a_schedule_is_over_when_the_pool_of_its_only_job_can_not_be_made(tmp_path: Path):
    account = Account(tmp_path, node_quota=3)
    body = {"id": "s", "schedule": {}, "jobSpecification": {"poolInfo": auto_pool(targetDedicatedNodes=9)}}
    with account.turn():
        schedule = account.engine.schedules.create(body)
    account.pass_time()
    assert (account.engine.jobs.get("s:job-1").state, schedule.state) == ("completed", "completed")


def test_what_breaks_when_it_is_due_breaks_nothing_else(
    account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(engine.log, "handlers", [])
    with account.turn():
        account.engine.at(account.engine.now(), lambda: 1 / 0)
    job = account.create()
    assert job.state == "active"
    assert "division by zero" in caplog.text


def test_the_quota_of_active_jobs(tmp_path: Path):
    account = Account(tmp_path, active_job_quota=1)
    job = account.create("one")
    with refused("ActiveJobAndScheduleQuotaReached"):
        account.create("two")
    with account.turn():
        account.engine.jobs.terminate(job, None)
    account.pass_time()
    account.create("two")
