"""Preparation and release tasks: before the first task of a job on a node, and after its last."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local.launches import Outcome
from tests.local.rules import PREPARED, Account, node_of, part, refused

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local.records import Job


# -- preparation and release ------------------------------------------------------------------------------------------


def test_preparation_comes_first_and_release_last(account: Account):
    job = account.managed(**PREPARED)
    task = account.task(job)
    assert (task.state, len(account.commands.running)) == ("preparing", 1)
    account.commands.end(part(account, "preparation"), 0)
    assert (task.state, task.doc["previousState"]) == ("running", "preparing")
    account.end(task, 0)
    account.pass_time()
    assert job.state == "terminating"
    error = job.doc["executionInfo"]["schedulingError"]
    assert (error["category"], error["code"]) == ("ServerError", "JobTerminationAwaitingNodeProcessing")
    account.commands.end(part(account, "release"), 1)
    assert job.state == "completed"
    assert "schedulingError" not in job.doc["executionInfo"]


@pytest.mark.parametrize("way", ["resize", "reboot"])
def test_a_task_in_preparation_does_not_wait_for_a_node_that_leaves(tmp_path: Path, way: str):
    account = Account(tmp_path, nodes=2)
    task = account.task(account.managed(**PREPARED))
    node = account.engine.nodes.find("local", task.node)
    with account.turn():
        if way == "resize":
            body = {"targetDedicatedNodes": 0, "nodeDeallocationOption": "taskcompletion"}
            account.engine.pools.resize(account.engine.pools.get("local"), body)
        else:
            account.engine.nodes.reboot(node, {"nodeRebootOption": "taskcompletion"})
    account.pass_time()
    if way == "resize":
        assert (task.state, task.execution["requeueCount"]) == ("active", 1)
        assert len(account.engine.store.nodes("local")) == 0
    else:
        assert (task.state, task.node != node.id, node.state) == ("preparing", True, "idle")


def test_a_late_word_of_a_release_whose_node_went_away_changes_nothing(account: Account):
    job = account.managed(**PREPARED)
    account.commands.end(part(account, "preparation"), 0)
    account.end(account.task(job), 0)
    account.pass_time()
    release = part(account, "release")
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    account.engine.exited(release, Outcome(-9))
    account.pass_time()
    assert (job.state, "jobReleaseTaskExecutionInfo" in job.prepared[node_of(account).id]) == ("completed", False)


def test_a_late_word_of_a_preparation_is_not_taken_for_that_after_the_boot(account: Account):
    job = account.managed(**PREPARED)
    before = part(account, "preparation")
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    account.pass_time()
    account.engine.exited(before, Outcome(-9))
    account.commands.end(part(account, "preparation"), 0)
    assert account.task(job).state == "running"


def test_a_failed_preparation_keeps_the_job_off_that_node(account: Account):
    job = account.managed(**PREPARED)
    account.commands.end(part(account, "preparation"), 1)
    assert account.task(job).state == "active"
    account.pass_time(1000)
    assert (account.task(job).state, account.commands.running) == ("active", {})


def test_a_new_job_may_run_where_the_preparation_of_an_old_one_failed(account: Account):
    job = account.managed(**PREPARED)
    account.commands.end(part(account, "preparation"), 1)
    with account.turn():
        account.engine.jobs.delete(job)
    account.pass_time()
    account.commands.end(part(account, "release"), 0)
    assert account.task(account.managed()).state == "running"


def test_a_release_task_is_ended_after_its_wall_clock(account: Account):
    job = account.managed(**PREPARED)
    account.commands.end(part(account, "preparation"), 0)
    account.end(account.task(job), 0)
    account.pass_time(14 * 60)
    assert job.state == "terminating"
    account.pass_time(2 * 60)
    assert job.state == "completed"


def test_a_release_task_longer_than_15_minutes_is_refused(account: Account):
    with refused("InvalidPropertyValue"):
        account.managed(
            jobPreparationTask={"commandLine": "a"}, jobReleaseTask={"commandLine": "b", "maxWallClockTime": "PT16M"}
        )


@pytest.mark.parametrize("way", ["task", "job"])
def test_a_task_that_is_ended_in_preparation_reads_as_one_that_never_ran(account: Account, way: str):
    job = account.create(**PREPARED)
    task = account.add(job, "task")
    tag = task.doc["eTag"]
    account.pass_time()
    with account.turn():
        if way == "task":
            account.engine.tasks.terminate(task)
        else:
            account.engine.jobs.terminate(job, None)
    assert (task.state, task.doc["nodeInfo"]) == ("completed", {})
    assert task.execution == {
        "endTime": task.doc["stateTransitionTime"],
        "failureInfo": {"category": "UserError", "code": "TaskEnded", "message": "Task Was Ended by User Request"},
        "result": "Failure",
        "retryCount": 0,
        "requeueCount": 0,
    }
    assert (task.doc["eTag"] != tag) == (way == "task")


@pytest.mark.parametrize("way", ["delete", "terminate"])
def test_a_preparation_that_ends_as_soon_as_it_is_told_to_takes_its_job_on(account: Account, way: str):
    """It is told to when the job would go on without it, so that within one look at the job another has its way."""
    job = account.managed(jobPreparationTask={"commandLine": "run"})
    with account.turn():
        getattr(account.engine.jobs, way)(job, *([None] if way == "terminate" else []))
        account.engine.clock.move_to(account.engine.now() + timedelta(seconds=1))
    account.pass_time()
    assert "schedulingError" not in job.doc["executionInfo"]
    assert account.engine.store.jobs.get(job.key) is (None if way == "delete" else job)
    assert job.state == ("deleting" if way == "delete" else "completed")


def test_force_waits_for_no_node(account: Account):
    job = account.managed(**PREPARED)
    account.commands.end(part(account, "preparation"), 0)
    with account.turn():
        account.engine.jobs.terminate(job, None, force=True)
    account.pass_time()
    assert job.state == "completed"
    assert not [run for run in account.commands.running if run.kind == "release"]


@pytest.mark.parametrize(
    ("kind", "way"), [("preparation", "terminate"), ("preparation", "delete"), ("release", "delete")]
)
def test_force_leaves_nothing_running_and_begins_nothing_more(account: Account, kind: str, way: str):
    again = {"commandLine": "prepare", "constraints": {"maxTaskRetryCount": -1}}
    job = account.managed(jobPreparationTask=again, jobReleaseTask={"commandLine": "release"})
    if kind == "release":
        account.commands.end(part(account, "preparation"), 0)
        account.end(account.task(job), 0)
        account.pass_time()
    run, begun = part(account, kind), len(account.commands.begun)
    with account.turn():
        if way == "terminate":
            account.engine.jobs.terminate(job, None, force=True)
        else:
            account.engine.jobs.delete(job, force=True)
    account.pass_time()
    assert (account.commands.running, len(account.commands.begun)) == ({}, begun)
    assert job.prepared[run.name]["jobPreparationTaskExecutionInfo"]["retryCount"] == 0
    preparation = account.engine.scheduling.preparation
    assert (preparation._given_up, preparation._timed_out) == (set(), set())


# -- nodes that boot or go --------------------------------------------------------------------------------------------


def prepared(account: Account, job_id: str = "job", **settings: Any) -> Job:
    """A job whose first task ran on the one node, after its preparation."""
    body = {**PREPARED, **settings}
    job = account.create(job_id, **body)
    task = account.add(job, "first")
    account.commands.end(part(account, "preparation"), 0)
    account.end(task, 0)
    return job


def rows(job: Job) -> list[tuple[str, str]]:
    infos = [entry["jobPreparationTaskExecutionInfo"] for entry in job.prepared.values()]
    return [(info["state"], info["result"]) for info in infos]


def test_a_preparation_is_remembered_over_a_reboot_runs_again_before_the_next_task_and_is_released(account: Account):
    job = prepared(account)
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    account.pass_time()
    assert rows(job) == [("completed", "success")]
    task = account.add(job, "second")
    assert task.state == "preparing"
    account.commands.end(part(account, "preparation"), 0)
    account.end(task, 0)
    with account.turn():
        account.engine.jobs.terminate(job, None)
    account.pass_time()
    account.commands.end(part(account, "release"), 0)
    assert job.state == "completed"


def test_a_node_that_booted_is_released_though_no_task_came_after(account: Account):
    job = prepared(account)
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    account.pass_time()
    with account.turn():
        account.engine.jobs.terminate(job, None)
    account.pass_time()
    assert part(account, "release").name == node_of(account).id


@pytest.mark.parametrize(("reimage", "state"), [(False, "running"), (True, "preparing")])
def test_a_preparation_that_is_not_to_run_again_after_a_boot_does_so_after_a_reimage(
    account: Account, reimage: bool, state: str
):
    body = {"commandLine": "prepare", "rerunOnNodeRebootAfterSuccess": False}
    job = prepared(account, jobPreparationTask=body)
    with account.turn():
        account.engine.nodes.reboot(node_of(account), {}, reimage=reimage)
    account.pass_time()
    assert account.add(job, "second").state == state


def test_a_preparation_that_need_not_succeed_runs_again_beside_the_next_task(account: Account):
    job = prepared(account, jobPreparationTask={"commandLine": "prepare", "waitForSuccess": False})
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    account.pass_time()
    assert account.add(job, "second").state == "running"
    assert part(account, "preparation")


def test_the_rows_of_nodes_that_are_gone_stay(tmp_path: Path):
    account = Account(tmp_path, nodes=1)
    running, over = prepared(account, "running"), prepared(account, "over")
    with account.turn():
        account.engine.jobs.terminate(over, None)
    account.pass_time()
    account.commands.end(part(account, "release"), 0)
    assert over.state == "completed"
    before = dict(over.prepared)
    with account.turn():
        body = {"nodeList": [node_of(account).id]}
        account.engine.pools.remove_nodes(account.engine.pools.get("local"), body)
    account.pass_time()
    assert len(account.engine.store.nodes("local")) == 0
    assert (rows(running), over.prepared) == ([("completed", "success")], before)
    assert "jobReleaseTaskExecutionInfo" in next(iter(over.prepared.values()))


def test_a_preparation_that_a_reboot_cuts_short_says_so_and_runs_again(account: Account):
    job = account.create(**PREPARED)
    account.add(job, "first")
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    assert rows(job) == [("completed", "failure")]
    account.pass_time()
    assert account.task(job, "first").state == "preparing"
    account.commands.end(part(account, "preparation"), 0)
    assert rows(job) == [("completed", "success")]


def test_what_was_prepared_is_released_after_a_restart(tmp_path: Path):
    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path / "nodes", database=database, nodes=1)
    prepared(before)
    before.engine.store.close()
    account = Account(tmp_path / "nodes", database=database, nodes=1, start=before.engine.now())
    account.pass_time()
    job = account.engine.jobs.get("job")
    assert rows(job) == [("completed", "success")]
    with account.turn():
        account.engine.jobs.terminate(job, None)
    account.pass_time()
    account.commands.end(part(account, "release"), 0)
    assert job.state == "completed"
    account.engine.store.close()


def test_nothing_of_a_completed_job_is_left_running_in_its_rows_after_a_restart(tmp_path: Path):
    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path / "nodes", database=database, nodes=1)
    job = before.create(**PREPARED)
    before.add(job, "first")
    with before.turn():
        before.engine.jobs.terminate(job, None, force=True)
    before.pass_time()
    assert job.state == "completed"
    before.engine.store.close()
    account = Account(tmp_path / "nodes", database=database, nodes=1, start=before.engine.now())
    assert rows(account.engine.jobs.get("job")) == [("completed", "failure")]
    account.engine.store.close()


@pytest.mark.parametrize("restart", [False, True])
def test_directories_of_preparation_and_release_tasks_go_when_their_retention_time_is_over(
    tmp_path: Path, restart: bool
):
    database = tmp_path / "state.sqlite3"
    account = Account(tmp_path / "nodes", database=database, nodes=1)
    job = prepared(
        account,
        jobPreparationTask={"commandLine": "prepare", "constraints": {"retentionTime": "PT1H"}},
        jobReleaseTask={"commandLine": "release", "retentionTime": "PT2H"},
    )
    with account.turn():
        account.engine.jobs.terminate(job, None)
    account.pass_time()
    account.commands.end(part(account, "release"), 0)
    node = node_of(account)
    made = [account.engine.launches.part_directory(kind, job, node) for kind in ("preparation", "release")]
    for directory in made:
        (directory / "wd").mkdir(parents=True)
    if restart:
        account.engine.store.close()
        account = Account(tmp_path / "nodes", database=database, nodes=1, start=account.engine.now())
    account.pass_time(3590)
    assert [directory.exists() for directory in made] == [True, True]
    account.pass_time(20)
    assert [directory.exists() for directory in made] == [False, True]
    account.pass_time(3600)
    assert [directory.exists() for directory in made] == [False, False]
    account.engine.store.close()


def test_a_preparation_that_ran_again_is_kept_from_then_on(account: Account):
    body = {"commandLine": "prepare", "constraints": {"retentionTime": "PT1H"}}
    job = prepared(account, jobPreparationTask=body)
    directory = account.engine.launches.part_directory("preparation", job, node_of(account))
    directory.mkdir(parents=True)
    account.pass_time(3000)
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    account.pass_time()
    account.add(job, "second")
    account.commands.end(part(account, "preparation"), 0)
    account.pass_time(3000)
    assert directory.exists()
    account.pass_time(600)
    assert not directory.exists()
