"""Nodes that go and come, and pools that grow and shrink, under tasks that run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import engine
from tests.local.rules import Account, node_of, refused

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from airflow_provider_jobmanager.local.launches import Launch, Listener


# -- nodes ------------------------------------------------------------------------------------------------------------


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


def test_the_first_pool_is_made_for_a_new_account_and_after_a_reset_alone(tmp_path: Path):
    def start() -> Account:
        return Account(tmp_path / "nodes", database=tmp_path / "state")

    account = start()
    with account.turn():
        account.engine.pools.delete(account.engine.pools.get("local"))
    account.pass_time()
    account.engine.store.close()
    account = start()
    assert list(account.engine.store.pools) == []
    account.engine.reset()
    assert [pool.id for pool in account.engine.store.pools] == ["local"]
    account.engine.store.close()
    account = start()
    assert [pool.id for pool in account.engine.store.pools] == ["local"]
    account.engine.store.close()


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


def test_a_deleted_task_has_files_on_no_node_that_it_ran_on(tmp_path: Path):
    account = Account(tmp_path, nodes=2)
    job = account.create()
    task = account.add(job, "Task")
    first = account.engine.nodes.find("local", task.node)
    made = [tmp_path / node_of(account, place).id / "workitems" / "job" / "job-1" / "Task" / "wd" for place in (0, 1)]
    for directory in made:
        directory.mkdir(parents=True)
    with account.turn():
        account.engine.nodes.disable_scheduling(first, {"nodeDisableSchedulingOption": "requeue"})
    assert task.node != first.id
    account.end(task)
    with account.turn():
        account.engine.tasks.delete(task)
    assert not [directory for directory in made if directory.parent.exists()]


def test_a_deleted_job_has_files_in_no_pool_that_it_was_in(account: Account, tmp_path: Path):
    job = account.create()
    task = account.add(job, "task")
    directory = account.engine.launches.task_directory(task)
    directory.mkdir(parents=True)
    account.end(task)
    with account.turn():
        account.engine.jobs.disable(job, {"disableTasks": "wait"})
    account.pass_time()
    with account.turn():
        account.engine.jobs.patch(job, {"poolInfo": {"poolId": "other"}})
        account.engine.jobs.delete(job)
    account.pass_time()
    assert not directory.parent.exists()


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
