"""Which task runs when and where, and what the end of a run means."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local import formats
from airflow_provider_jobmanager.local.launches import failure
from tests.local.rules import PREPARED, Account, part, refused

if TYPE_CHECKING:
    from pathlib import Path


def test_a_manager_goes_first_in_its_job(account: Account):
    blocker = account.create("blocker")
    account.add(blocker, "a")
    account.add(blocker, "b")
    job = account.managed()
    account.add(job, "child")
    account.end(account.task(blocker, "a"))
    assert account.running() == ["b", "manager"]


def test_an_exclusive_manager_has_its_node_for_itself(account: Account):
    job = account.managed(manager={"runExclusive": True})
    child = account.add(job, "child")
    assert (account.running(), child.state) == (["manager"], "active")
    account.end(account.task(job))
    account.pass_time()
    assert child.state == "active"


def test_an_exclusive_manager_waits_for_an_empty_node(account: Account):
    other = account.create("other")
    account.add(other, "task")
    job = account.managed(manager={"runExclusive": True})
    assert account.running() == ["task"]
    account.end(account.task(other, "task"))
    assert account.task(job).state == "running"


def test_higher_priorities_first_then_older_jobs(account: Account):
    blocker = account.create("blocker")
    account.add(blocker, "a", requiredSlots=2)
    for name, priority in (("low", -5), ("middle", 0), ("high", 10), ("late", 10)):
        account.add(account.create(name, priority=priority), name)
    account.end(account.task(blocker, "a"))
    assert account.running() == ["high", "late"]


def test_max_parallel_tasks(account: Account):
    job = account.create(maxParallelTasks=1)
    account.add(job, "a")
    account.add(job, "b")
    assert account.running() == ["a"]
    account.end(account.task(job, "a"))
    assert account.running() == ["b"]


def test_slots(account: Account):
    job = account.create()
    account.add(job, "big", requiredSlots=2)
    small = account.add(job, "small")
    assert (account.running(), small.state) == (["big"], "active")


def test_a_task_that_fits_nowhere_does_not_keep_the_others_back(account: Account):
    job = account.create()
    big, small = account.add(job, "big", requiredSlots=3), account.add(job, "small")
    assert (big.state, small.state) == ("active", "running")


def test_a_job_whose_last_waiting_task_was_deleted_runs_its_next_one(account: Account):
    other, job = account.create("other"), account.create()
    busy = account.add(other, "busy", requiredSlots=2)
    waiting = account.add(job, "waiting")
    with account.turn():
        account.engine.tasks.delete(waiting)
    account.end(busy)
    assert account.add(job, "next").state == "running"


def test_retries_are_counted_and_then_it_failed(account: Account):
    job = account.create()
    task = account.add(job, "task", constraints={"maxTaskRetryCount": 2})
    for count in (1, 2):
        account.end(task, 1)
        assert (task.state, task.execution["retryCount"]) == ("running", count)
        assert "lastRetryTime" in task.execution
    account.end(task, 7)
    assert list(task.execution) == [
        "startTime",
        "endTime",
        "exitCode",
        "failureInfo",
        "result",
        "retryCount",
        "lastRetryTime",
        "requeueCount",
    ]
    assert task.execution["failureInfo"]["code"] == "FailureExitCode"
    assert task.doc["previousState"] == "running"


def test_the_retry_count_comes_from_the_job(account: Account):
    job = account.managed(constraints={"maxTaskRetryCount": 3})
    assert job.doc["jobManagerTask"]["constraints"]["maxTaskRetryCount"] == 3
    assert account.add(job, "task").doc["constraints"]["maxTaskRetryCount"] == 3


def test_trouble_before_or_after_the_command_is_not_retried(account: Account):
    job = account.create(constraints={"maxTaskRetryCount": 5})
    before, after = account.add(job, "before"), account.add(job, "after")
    account.end(before, None, failure=failure("UserError", "BlobNotFound", "…"), phase="before")
    account.end(after, 0, failure=failure("UserError", "FileUploadMiscError", "…"), phase="after")
    assert (before.state, before.execution["result"], "exitCode" in before.execution) == ("completed", "failure", False)
    assert (after.state, after.execution["result"], after.execution["exitCode"]) == ("completed", "failure", 0)


def test_the_wall_clock_of_a_task_runs_from_the_start_of_each_try(account: Account):
    job = account.create()
    task = account.add(job, "task", constraints={"maxWallClockTime": "PT30S", "maxTaskRetryCount": 1})
    account.pass_time(20)
    account.end(task, 1)
    account.pass_time(20)
    assert task.state == "running"
    account.pass_time(11)
    assert (task.state, task.execution["failureInfo"]["code"]) == ("completed", "TaskEnded")
    start, end = (formats.parse_timestamp(task.execution[name]) for name in ("startTime", "endTime"))
    assert (end - start).total_seconds() == 30


def test_terminating_a_task_before_it_ran(account: Account):
    job = account.create(poolInfo={"poolId": "none"})
    task = account.add(job, "task")
    tag = task.doc["eTag"]
    account.pass_time()
    with account.turn():
        account.engine.tasks.terminate(task)
    assert (task.state, task.execution["result"], task.doc["nodeInfo"]) == ("completed", "Failure", {})
    assert task.execution["failureInfo"] == {
        "category": "UserError",
        "code": "TaskEnded",
        "message": "Task Was Ended by User Request",
    }
    assert task.doc["eTag"] != tag
    with refused("TaskCompleted"):
        account.engine.tasks.terminate(task)


def test_running_changes_no_tag(account: Account):
    job = account.create()
    task = account.add(job, "task")
    tag = task.doc["eTag"]
    account.pass_time()
    account.end(task, 0)
    assert (task.doc["eTag"], task.state) == (tag, "completed")


def test_reactivate(account: Account):
    job = account.create()
    task, good = account.add(job, "task"), account.add(job, "good")
    with refused("TaskNotCompleted"):
        account.engine.tasks.reactivate(job, task)
    account.end(task, 1)
    account.end(good, 0)
    with refused("TaskSucceeded"):
        account.engine.tasks.reactivate(job, good)
    with account.turn():
        account.engine.tasks.reactivate(job, task)
        assert (task.state, task.doc["previousState"]) == ("active", "completed")
        assert task.execution == {"retryCount": 0, "requeueCount": 0}
    assert task.state == "running"


# -- environment ------------------------------------------------------------------------------------------------------


def test_the_settings_of_the_task_go_over_those_of_the_job_and_under_the_services(account: Account):
    job = account.managed(
        commonEnvironmentSettings=[{"name": "A", "value": "job"}, {"name": "B", "value": "job"}],
        manager={
            "environmentSettings": [
                {"name": "B", "value": "task"},
                {"name": "AZ_BATCH_JOB_ID", "value": "forged"},
                {"name": "EMPTY"},
            ]
        },
    )
    launch = account.commands.begun[-1]
    assert launch.run.owner == job.key
    values = launch.environment
    assert (values["A"], values["B"], values["EMPTY"], values["AZ_BATCH_JOB_ID"]) == ("job", "task", "", "job")
    assert values["AZ_BATCH_TASK_WORKING_DIR"].endswith("/workitems/job/job-1/manager/wd")


# -- limits of collections, retention ---------------------------------------------------------------------------------


def test_a_collection_is_added_as_far_as_it_can_be(account: Account):
    job = account.create()
    account.add(job, "there")
    with account.turn():
        rows = [{"id": "new", "commandLine": "x"}, {"id": "THERE", "commandLine": "x"}, {"commandLine": "x"}]
        results = account.engine.tasks.add_collection(job, {"value": rows})
    assert [getattr(result, "code", "added") for _, result in results] == [
        "added",
        "TaskExists",
        "MissingRequiredProperty",
    ]
    many = [{"id": f"t{n}", "commandLine": "x"} for n in range(101)]
    with refused("InvalidPropertyValue"):
        account.engine.tasks.add_collection(job, {"value": many})


def test_files_go_when_their_retention_time_is_over(account: Account):
    job = account.create()
    task = account.add(job, "task", constraints={"retentionTime": "PT1H"})
    directory = account.commands.begun[-1].directory
    directory.mkdir(parents=True)
    account.end(task)
    account.pass_time(3599)
    assert directory.exists()
    account.pass_time(2)
    assert (directory.exists(), task.cleaned) == (False, True)


def test_counts(account: Account):
    job = account.create()
    for n in range(4):
        account.add(job, f"t{n}")
    account.end(account.task(job, "t0"), 0)
    account.end(account.task(job, "t1"), 1)
    assert account.engine.tasks.counts(job)["taskCounts"] == {
        "active": 0,
        "running": 2,
        "completed": 2,
        "succeeded": 1,
        "failed": 1,
    }


# -- restart ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["preparation", "release"])
def test_a_restart_runs_preparation_and_release_tasks_again(tmp_path: Path, kind: str):
    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path, database=database, nodes=1)
    job = before.managed(**PREPARED)
    if kind == "release":
        before.commands.end(part(before, "preparation"), 0)
        before.end(before.task(job), 0)
        before.pass_time()
    assert [run.kind for run in before.commands.running] == [kind]
    after = Account(tmp_path, database=database, nodes=1)
    job = after.engine.jobs.get("job")
    after.pass_time()
    after.commands.end(part(after, kind), 0)
    if kind == "preparation":
        after.end(after.task(job), 0)
        after.pass_time()
        after.commands.end(part(after, "release"), 0)
    after.pass_time()
    assert (job.state, after.commands.running) == ("completed", {})


def test_a_task_is_over_180_days_after_it_was_added_restart_or_not(tmp_path: Path):
    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path, database=database)
    before.add(before.create(), "task")
    after = Account(tmp_path, database=database, start=before.engine.now() + timedelta(days=1))
    task = after.task(after.engine.jobs.get("job"), "task")
    after.pass_time(178 * 24 * 3600)
    assert task.state == "running"
    after.pass_time(24 * 3600 + 1)
    assert task.state == "completed"


def test_a_restart_is_a_reboot_of_all_nodes(tmp_path: Path):
    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path, database=database)
    job = before.managed(constraints={"maxWallClockTime": "PT1H"})
    before.add(job, "child")
    before.engine.started(before.run_of(before.task(job)), [4711, "then"])
    # No close: what was acknowledged is on disk already.
    after = Account(tmp_path, database=database)
    task = after.task(after.engine.jobs.get("job"))
    assert after.commands.left_over == [[4711, "then"]]
    after.pass_time()
    assert (task.state, task.execution["retryCount"], task.attempt) == ("running", 0, 2)
    assert after.running() == ["child", "manager"]
    after.pass_time(3700)
    assert after.engine.jobs.get("job").doc["executionInfo"]["terminateReason"] == "MaxWallClockTimeExpiry"


def test_nothing_stays_in_a_passing_state_after_a_restart_whose_clock_is_behind(tmp_path: Path):
    def states(account: Account) -> dict[str, list[str]]:
        store = account.engine.store
        return {
            "jobs": [job.state for job in store.jobs],
            "pools": [f"{pool.id} {pool.state} {pool.doc['allocationState']}" for pool in store.pools],
            "nodes": [node.state for pool in store.pools for node in store.nodes(pool.key)],
        }

    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path / "nodes", database=database, nodes=1)
    before.pass_time(3600)
    disabled, released = before.create("disabled"), before.create("released", **PREPARED)
    before.add(disabled, "task")
    task = before.add(released, "task")
    before.commands.end(part(before, "preparation"), 0)
    before.end(task)
    with before.turn():
        for name in ("gone", "resized"):
            before.engine.pools.create({"id": name, "vmSize": "s", "targetDedicatedNodes": 1})
        before.engine.jobs.terminate(released, None)
        before.engine.jobs.disable(disabled, {"disableTasks": "wait"})
    before.pass_time()
    assert part(before, "release")
    with before.turn():
        before.engine.pools.delete(before.engine.pools.get("gone"))
        resized = before.engine.pools.get("resized")
        before.engine.nodes.reboot(next(iter(before.engine.store.nodes("resized"))), {})
        before.engine.pools.resize(resized, {"targetDedicatedNodes": 2})
    assert states(before) == {
        "jobs": ["disabling", "terminating"],
        "pools": ["gone deleting steady", "local active steady", "resized active resizing"],
        "nodes": ["leavingpool", "running", "rebooting"],
    }
    before.engine.store.close()
    after = Account(tmp_path / "nodes", database=database, nodes=1)
    after.pass_time()
    after.commands.end(part(after, "release"), 0)
    after.pass_time()
    assert states(after) == {
        "jobs": ["disabled", "completed"],
        "pools": ["local active steady", "resized active steady"],
        "nodes": ["idle", "idle", "idle"],
    }
    after.engine.store.close()
