"""Which task runs when and where, and what the end of a run means."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import engine, formats
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.launches import Outcome, failure
from tests.local.rules import Account

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local.launches import Launch, Listener


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """One node with two slots, so that who goes first can be seen."""
    return Account(tmp_path, nodes=1, slots_per_node=2)


def refused(code: str):
    return pytest.raises(BatchError, match=rf"\d {code}:")


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


# -- nodes ------------------------------------------------------------------------------------------------------------


def node_of(account: Account, place: int = 0):
    return list(account.engine.store.nodes("local"))[place]


def test_a_lost_node_runs_its_tasks_again_and_counts_nothing(account: Account):
    job = account.managed(constraints={"maxTaskRetryCount": 0})
    task = account.task(job)
    with account.turn():
        account.engine.nodes.kill(node_of(account))
    assert (task.state, node_of(account).state) == ("active", "rebooting")
    account.pass_time()
    assert (task.state, task.execution["retryCount"], task.execution["requeueCount"]) == ("running", 0, 0)
    assert task.attempt == 2


def test_a_reboot_that_a_user_asks_for_is_counted(account: Account):
    task = account.task(account.managed())
    with account.turn():
        account.engine.nodes.reboot(node_of(account), None)
    account.pass_time()
    assert (task.state, task.execution["requeueCount"]) == ("running", 1)


def test_a_preempted_spot_node_gives_its_tasks_to_others(tmp_path: Path):
    account = Account(tmp_path, nodes=0)
    with account.turn():
        pool = account.engine.pools.create({"id": "spot", "vmSize": "SMALL", "targetLowPriorityNodes": 2})
    account.pass_time()
    job = account.managed(poolInfo={"poolId": "spot"})
    task = account.task(job)
    first = account.engine.nodes.find("spot", task.node)
    with account.turn():
        account.engine.nodes.preempt(first)
    assert (first.state, task.state, task.node != first.id) == ("preempted", "running", True)
    assert (task.execution["retryCount"], task.execution["requeueCount"]) == (0, 0)
    with account.turn():
        account.engine.nodes.restore(first)
    assert first.state == "idle"
    assert pool.doc["vmSize"] == "small"


def test_a_manager_can_be_kept_off_spot_nodes(tmp_path: Path):
    account = Account(tmp_path, nodes=0)
    with account.turn():
        account.engine.pools.create({"id": "spot", "vmSize": "s", "targetLowPriorityNodes": 1})
    account.pass_time()
    task = account.task(account.managed(poolInfo={"poolId": "spot"}, manager={"allowLowPriorityNode": False}))
    assert task.state == "active"


def test_a_restarted_manager_displaces_a_task(account: Account):
    job = account.managed(constraints={"maxTaskRetryCount": 1}, manager={"runExclusive": True, "requiredSlots": 2})
    children = [account.add(job, f"child{n}") for n in range(2)]
    manager = account.task(job)
    with account.turn():
        account.engine.jobs.disable(job, {"disableTasks": "requeue"})
    account.pass_time()
    other = account.create("other")
    strangers = [account.add(other, f"other{n}") for n in range(2)]
    assert account.running() == ["other0", "other1"]
    with account.turn():
        account.engine.jobs.enable(job)
    assert manager.state == "running"
    assert [task.state for task in strangers] == ["active", "active"]
    assert [task.execution["requeueCount"] for task in strangers] == [0, 0]
    assert [task.state for task in children] == ["active", "active"]


def test_a_task_of_the_same_turn_is_not_started_before_a_manager_that_runs_again(tmp_path: Path):
    account = Account(tmp_path, nodes=1, slots_per_node=1)
    job = account.managed(constraints={"maxTaskRetryCount": 1})
    other = account.create("other", priority=500)
    stranger = account.add(other, "stranger")
    account.end(account.task(job), 1)
    assert (account.running(), stranger.state, stranger.attempt) == (["manager"], "active", 0)
    account.end(account.task(job), 0)
    account.end(stranger, 0)
    assert (stranger.state, stranger.attempt) == ("completed", 1)


def test_a_task_that_has_to_go_before_it_began_never_begins(tmp_path: Path):
    account = Account(tmp_path, nodes=1, slots_per_node=1)
    job = account.create()
    with account.turn():
        task = account.engine.tasks.add(job, {"id": "task", "commandLine": "run"})
        account.engine.scheduling.place()
        assert task.state == "running"
        account.engine.tasks.terminate(task)
    assert (task.state, account.commands.begun) == ("completed", [])


def test_a_manager_that_waits_no_longer_displaces_nothing(tmp_path: Path):
    account = Account(tmp_path, nodes=1, slots_per_node=1)
    job = account.managed(constraints={"maxTaskRetryCount": 1}, manager={"killJobOnCompletion": False})
    account.add(job, "child")
    with account.turn():
        account.engine.jobs.disable(job, {"disableTasks": "requeue"})
    account.pass_time()
    stranger = account.add(account.create("other"), "stranger")
    with account.turn():
        account.engine.jobs.enable(job)
        account.engine.tasks.terminate(account.task(job))
    assert (account.running(), stranger.attempt) == (["stranger"], 1)
    account.end(stranger, 0)
    assert (stranger.state, account.running()) == ("completed", ["child"])


def test_a_start_task_of_a_node_that_is_gone_already_never_begins(account: Account):
    with account.turn():
        settings = {"vmSize": "s", "targetDedicatedNodes": 1, "startTask": {"commandLine": "run"}}
        pool = account.engine.pools.create({"id": "brief", **settings})
    account.engine.clock.move_to(account.engine.now() + timedelta(seconds=1))
    with account.turn():
        account.engine.pools.delete(pool)
    account.pass_time()
    assert ("brief" in account.engine.store.pools, account.commands.begun) == (False, [])


def test_a_run_that_can_not_begin_fails_alone(
    account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    begin = account.commands.begin

    def breaks(launch: Launch, listener: Listener) -> None:
        if launch.run.name == "bad":
            raise RuntimeError("can't start new thread")
        begin(launch, listener)

    monkeypatch.setattr(account.commands, "begin", breaks)
    monkeypatch.setattr(engine.log, "handlers", [])  # it is to be logged here
    job = account.create()
    with account.turn():
        bad, good = (account.engine.tasks.add(job, {"id": name, "commandLine": "run"}) for name in ("bad", "good"))
    assert (account.running(), "A run of bad in job" in caplog.text) == (["good"], True)
    account.pass_time()
    assert (bad.state, bad.execution["failureInfo"]["code"]) == ("completed", "Unknown")
    account.end(good)
    assert (good.state, good.execution["exitCode"]) == ("completed", 0)


def test_disabled_scheduling(account: Account):
    job = account.create()
    task = account.add(job, "task")
    node = node_of(account)
    with account.turn():
        account.engine.nodes.disable_scheduling(node, {"nodeDisableSchedulingOption": "taskcompletion"})
    assert (node.state, task.state) == ("running", "running")
    account.end(task)
    assert node.state == "offline"
    later = account.add(job, "later")
    assert later.state == "active"
    with account.turn():
        account.engine.nodes.enable_scheduling(node)
    assert (later.state, node.state) == ("running", "running")


# -- pools ------------------------------------------------------------------------------------------------------------


def test_a_pool_that_appears_later_takes_what_waits(account: Account):
    task = account.task(account.managed(poolInfo={"poolId": "Later"}))
    with account.turn():
        account.engine.pools.create({"id": "LATER", "vmSize": "s", "targetDedicatedNodes": 1})
    account.pass_time()
    assert (task.state, task.doc["nodeInfo"]["poolId"]) == ("running", "LATER")


def test_resize_requeues_and_deallocates_idle_nodes_first(tmp_path: Path):
    account = Account(tmp_path, nodes=3)
    pool = account.engine.pools.get("local")
    task = account.task(account.managed())
    with account.turn():
        account.engine.pools.resize(pool, {"targetDedicatedNodes": 1})
    assert pool.doc["allocationState"] == "resizing"
    with refused("PoolBeingResized"):
        account.engine.pools.resize(pool, {"targetDedicatedNodes": 5})
    account.pass_time()
    assert (pool.doc["allocationState"], len(account.engine.store.nodes("local")), task.state) == (
        "steady",
        1,
        "running",
    )
    with account.turn():
        account.engine.pools.resize(pool, {"targetDedicatedNodes": 0})
    account.pass_time()
    assert (task.state, task.execution["requeueCount"]) == ("active", 1)


def test_an_auto_pool_lives_as_long_as_its_job(account: Account):
    auto = {"poolLifetimeOption": "job", "autoPoolIdPrefix": "mine", "pool": {"vmSize": "S", "targetDedicatedNodes": 1}}
    job = account.managed(poolInfo={"autoPoolSpecification": auto})
    pool_id = job.doc["executionInfo"]["poolId"]
    assert pool_id.startswith("mine_")
    assert pool_id[5:] == pool_id[5:].upper()
    account.pass_time()
    account.end(account.task(job))
    account.pass_time()
    assert (job.state, pool_id.lower() in account.engine.store.pools) == ("completed", False)


def test_an_auto_pool_that_can_not_be_made_completes_the_job(tmp_path: Path):
    account = Account(tmp_path, node_quota=3)
    auto = {"poolLifetimeOption": "job", "pool": {"vmSize": "S", "targetDedicatedNodes": 10}}
    job = account.managed(poolInfo={"autoPoolSpecification": auto})
    info = job.doc["executionInfo"]
    assert (job.state, info["schedulingError"]["code"]) == ("completed", "AutoPoolCreationFailedWithQuotaReached")
    assert "terminateReason" not in info


def test_a_formula_scales(tmp_path: Path):
    account = Account(tmp_path, nodes=1)
    pool = account.engine.pools.get("local")
    with account.turn():
        formula = "$TargetDedicatedNodes = max(1, $PendingTasks.GetSample(1));"
        account.engine.scaling.enable(pool, {"autoScaleFormula": formula, "autoScaleEvaluationInterval": "PT5M"})
    job = account.create()
    for n in range(7):
        account.add(job, f"t{n}")
    account.pass_time(301)
    assert len(account.engine.store.nodes("local")) == 7
    with refused("AutoScalingFormulaSyntaxError"):
        account.engine.scaling.enable(pool, {"autoScaleFormula": "$TargetDedicatedNodes = ;"})


def formula_pool(account: Account):
    formula = "$TargetDedicatedNodes = 1; n = $ActiveTasks.Count();"
    settings = {"vmSize": "s", "enableAutoScale": True, "autoScaleEvaluationInterval": "PT5M"}
    with account.turn():
        return account.engine.pools.create({"id": "scaled", "autoScaleFormula": formula, **settings})


def test_a_pool_made_again_is_watched_again(account: Account):
    pool = formula_pool(account)
    account.pass_time(95)
    with account.turn():
        account.engine.pools.delete(pool)
    account.pass_time(2)
    assert "scaled" not in account.engine.store.pools
    pool = formula_pool(account)
    account.pass_time(601)
    assert pool.doc["autoScaleRun"]["results"].endswith("n=20")


def test_a_formula_that_is_enabled_again_is_evaluated_no_more_often(account: Account, monkeypatch: pytest.MonkeyPatch):
    pool = formula_pool(account)
    account.pass_time(2)
    for _ in range(5):
        with account.turn():
            account.engine.scaling.enable(pool, {"autoScaleFormula": pool.doc["autoScaleFormula"]})
        account.pass_time(2)
    runs, run = [], account.engine.scaling._run
    monkeypatch.setattr(account.engine.scaling, "_run", lambda *args: runs.append(args) or run(*args))
    account.pass_time(301)
    assert len(runs) == 1
    with account.turn():
        account.engine.scaling.disable(pool)
    account.pass_time(1000)
    assert len(runs) == 1


# -- preparation and release ------------------------------------------------------------------------------------------

PREPARED = {"jobPreparationTask": {"commandLine": "prepare"}, "jobReleaseTask": {"commandLine": "release"}}


def part(account: Account, kind: str):
    return next(run for run in account.commands.running if run.kind == kind)


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
