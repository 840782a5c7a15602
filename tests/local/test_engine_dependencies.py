"""What waits for what, and what a bad end does to the job."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local.rules import Account, refused

# -- dependencies -----------------------------------------------------------------------------------------------------


def test_dependencies_by_id_and_range(account: Account):
    job = account.create(usesTaskDependencies=True)
    both = account.add(job, "both", dependsOn={"taskIds": ["FIRST"], "taskIdRanges": [{"start": 3, "end": 4}]})
    first, three = account.add(job, "first"), account.add(job, "003")
    assert account.running() == ["003", "first"]
    account.end(first)
    account.end(three)
    assert both.state == "active"
    four = account.add(job, "4")
    assert both.state == "active"
    account.end(four)
    assert both.state == "running"


def test_a_failed_task_blocks_unless_it_says_otherwise(account: Account):
    job = account.create(usesTaskDependencies=True)
    lenient = {"exitConditions": {"exitCodes": [{"code": 3, "exitOptions": {"dependencyAction": "satisfy"}}]}}
    strict, kind = account.add(job, "strict"), account.add(job, "kind", **lenient)
    after_strict = account.add(job, "afterStrict", dependsOn={"taskIds": ["strict"]})
    after_kind = account.add(job, "afterKind", dependsOn={"taskIds": ["kind"]})
    account.end(strict, 3)
    account.end(kind, 3)
    account.pass_time(100)
    assert (after_strict.state, after_kind.state) == ("active", "running")


@pytest.mark.parametrize("depends", [{"taskIds": ["1"]}, {"taskIdRanges": [{"start": 1, "end": 1}]}])
def test_a_dependency_that_is_satisfied_before_runs_its_task_once(account: Account, depends: dict[str, Any]):
    job = account.create(usesTaskDependencies=True)
    account.end(account.add(job, "1"))
    dependant, other = account.add(job, "dependant", dependsOn=depends), account.add(job, "other")
    account.end(other)
    assert (account.running(), dependant.attempt) == (["dependant"], 1)
    with account.turn():
        account.engine.tasks.terminate(dependant)
    assert (dependant.state, account.running()) == ("completed", [])


def test_a_dependant_that_waited_for_room_does_not_run_again(account: Account):
    job = account.create(usesTaskDependencies=True, maxParallelTasks=1)
    account.end(account.add(job, "1"))
    busy = account.add(job, "busy")
    dependant = account.add(job, "dependant", dependsOn={"taskIdRanges": [{"start": 1, "end": 1}]})
    account.end(busy)
    account.end(dependant)
    assert (dependant.state, dependant.attempt, account.running()) == ("completed", 1, [])


def test_a_deleted_task_satisfies_no_range(account: Account):
    job = account.create(usesTaskDependencies=True)
    three, also_three = account.add(job, "3"), account.add(job, "03")
    account.end(three)
    account.end(also_three)
    depends = {"dependsOn": {"taskIdRanges": [{"start": 3, "end": 3}]}}
    with account.turn():
        account.engine.tasks.delete(three)
    assert account.add(job, "early", **depends).state == "running"
    with account.turn():
        account.engine.tasks.delete(also_three)
    late = account.add(job, "late", **depends)
    assert late.state == "active"
    account.end(account.add(job, "003"))
    assert late.state == "running"


def test_a_retry_does_not_ask_for_its_dependencies_again(account: Account):
    job = account.create(usesTaskDependencies=True)
    first = account.add(job, "first")
    account.end(first)
    depends = {"dependsOn": {"taskIds": ["first"]}, "constraints": {"maxTaskRetryCount": 1}}
    dependant = account.add(job, "dependant", **depends)
    with account.turn():
        account.engine.tasks.delete(first)
    account.end(dependant, 1)
    assert (dependant.state, dependant.attempt) == ("running", 2)


def test_dependencies_need_a_job_that_uses_them(account: Account):
    with refused("TaskDependenciesNotSpecifiedOnJob"):
        account.add(account.create(), "task", dependsOn={"taskIds": ["a"]})


# -- exit conditions --------------------------------------------------------------------------------------------------


def test_a_failed_task_ends_a_job_that_wants_that(account: Account):
    job = account.create(onTaskFailure="performexitoptionsjobaction")
    spared = {
        "default": {"jobAction": "none"},
        "exitCodeRanges": [{"start": 5, "end": 9, "exitOptions": {"jobAction": "disable"}}],
    }
    task = account.add(job, "spared", exitConditions=spared)
    account.end(task, 1)
    assert job.state == "active"
    task = account.add(job, "disabling", exitConditions=spared)
    account.end(task, 9)
    account.pass_time()
    assert job.state == "disabled"
    with account.turn():
        account.engine.jobs.enable(job)
    account.end(account.add(job, "ending"), 1)
    account.pass_time()
    assert (job.state, job.doc["executionInfo"]["terminateReason"]) == ("completed", "TaskFailed")


def test_a_job_action_needs_a_job_that_performs_it(account: Account):
    with refused("InvalidPropertyValue"):
        account.add(account.create(), "task", exitConditions={"default": {"jobAction": "none"}})
