"""Preparation and release tasks: before the first task of a job on a node, and after its last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local.launches import Outcome
from tests.local.rules import PREPARED, Account, node_of, part, refused

if TYPE_CHECKING:
    from pathlib import Path


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


def test_force_waits_for_no_node(account: Account):
    job = account.managed(**PREPARED)
    account.commands.end(part(account, "preparation"), 0)
    with account.turn():
        account.engine.jobs.terminate(job, None, force=True)
    account.pass_time()
    assert job.state == "completed"
    assert not [run for run in account.commands.running if run.kind == "release"]
