"""Whatever is asked, in whatever order: the tables of states hold, no slot is given twice, and nothing breaks."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_jobmanager.local import engine_jobs, machines
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.launches import failure
from tests.local.rules import Account

SMALL = {"vmSize": "s", "targetDedicatedNodes": 1, "taskSlotsPerNode": 2}
DISABLING = {"default": {"jobAction": "disable"}}
LENIENT = {"exitCodes": [{"code": 1, "exitOptions": {"dependencyAction": "satisfy"}}]}
OPTIONS = st.sampled_from(["requeue", "terminate", "taskcompletion"])
JOBS = st.sampled_from(["a", "a", "A", "B", "b", "c"])
TASKS = st.sampled_from(["1", "02", "2", "x", "manager"])
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.sampled_from([-1000, 0, 5]),
        "maxParallelTasks": st.sampled_from([-1, 1, 2]),
        "onAllTasksComplete": st.sampled_from(["noaction", "terminatejob"]),
        "onTaskFailure": st.sampled_from(["noaction", "performexitoptionsjobaction"]),
        "constraints": st.fixed_dictionaries(
            {}, optional={"maxWallClockTime": st.just("PT10M"), "maxTaskRetryCount": st.sampled_from([-1, 0, 1])}
        ),
        "jobManagerTask": st.fixed_dictionaries(
            {"id": st.just("manager"), "commandLine": st.just("run")},
            optional={
                "killJobOnCompletion": st.booleans(),
                "runExclusive": st.booleans(),
                "requiredSlots": st.sampled_from([1, 2, 3]),
                "allowLowPriorityNode": st.booleans(),
            },
        ),
        "jobPreparationTask": st.fixed_dictionaries(
            {"commandLine": st.just("run")},
            optional={"waitForSuccess": st.booleans(), "rerunOnNodeRebootAfterSuccess": st.booleans()},
        ),
        "jobReleaseTask": st.just({"commandLine": "run"}),
        "poolInfo": st.one_of(
            st.just({"poolId": "other"}),
            st.just(
                {
                    "autoPoolSpecification": {
                        "poolLifetimeOption": "job",
                        "pool": {"vmSize": "s", "targetDedicatedNodes": 1},
                    }
                }
            ),
        ),
    },
)
TASK = st.fixed_dictionaries(
    {},
    optional={
        "requiredSlots": st.sampled_from([1, 2, 3]),
        "dependsOn": st.sampled_from(
            [{"taskIds": ["x"]}, {"taskIdRanges": [{"start": 1, "end": 1}]}, {"taskIdRanges": [{"start": 1, "end": 2}]}]
        ),
        "constraints": st.just({"maxWallClockTime": "PT1M", "retentionTime": "PT1M"}),
        "exitConditions": st.sampled_from([DISABLING, LENIENT]),
    },
)  # fmt: skip


class Account_(RuleBasedStateMachine):  # noqa: N801 - named as hypothesis prints it
    """One account, asked at random."""

    def __init__(self) -> None:
        super().__init__()
        # Pools are walked through in the order of their ids: a run can be repeated only when those can be, too.
        self.numbers = itertools.count(1)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(engine_jobs.uuid, "uuid4", lambda: uuid.UUID(int=next(self.numbers)))
        self.root = Path(tempfile.mkdtemp(prefix="jobmanager-test-"))
        self.account = Account(self.root, database=self.root / "state", nodes=2, slots_per_node=2)
        self.engine = self.account.engine
        self.terminated: list[Any] = []

    def teardown(self) -> None:
        try:
            self.nothing_stays_where_it_only_passes()
        finally:
            self.tidy()

    def nothing_stays_where_it_only_passes(self) -> None:
        for _ in range(100):
            self.all_commands_end()
            self.account.pass_time(1000)
            if not self.account.commands.running:
                break
        for job in self.engine.store.jobs:
            assert job.state not in machines.JOB.passing
            assert job.state == "completed" or (job.key, job.seq) not in self.terminated
            assert not [task for task in self.engine.store.tasks(job.key) if task.state in ("running", "preparing")]
        for pool in self.engine.store.pools:
            assert (pool.state, pool.doc["allocationState"]) == ("active", "steady")
            for node in self.engine.store.nodes(pool.key):
                assert node.state in ("idle", "offline", "preempted")

    def tidy(self) -> None:
        self.patch.undo()
        self.engine.store.close()
        shutil.rmtree(self.root)

    def ask(self, action: Any, *args: Any, **more: Any) -> None:
        with suppress(BatchError), self.account.turn():
            action(*args, **more)

    def with_job(self, name: str, action: str, *args: Any, **more: Any) -> None:
        self.ask(lambda: getattr(self.engine.jobs, action)(self.engine.jobs.get(name), *args, **more))

    def with_task(self, job: str, task: str, action: str) -> None:
        def act() -> None:
            found = self.engine.tasks.get(self.engine.jobs.get(job), task)
            args = (self.engine.jobs.get(job),) if action == "reactivate" else ()
            getattr(self.engine.tasks, action)(*args, found)
            ended.extend([found] if action == "terminate" else [])

        ended: list[Any] = []
        self.ask(act)
        assert all(found.state == "completed" for found in ended)

    @rule(name=JOBS, settings=SETTINGS)
    def create_job(self, name: str, settings: dict[str, Any]) -> None:
        body = {"id": name, "poolInfo": {"poolId": "local"}, "usesTaskDependencies": True, **settings}
        if "jobPreparationTask" not in body:
            body.pop("jobReleaseTask", None)
        self.ask(self.engine.jobs.create, body)

    @initialize(settings=st.one_of(st.just({}), SETTINGS))
    def there_is_a_job(self, settings: dict[str, Any]) -> None:
        self.create_job("a", settings)

    @rule(job=JOBS, tasks=st.lists(st.tuples(TASKS, TASK), min_size=1, max_size=4))
    def add_tasks(self, job: str, tasks: list[tuple[str, dict[str, Any]]]) -> None:
        for task, more in tasks:
            body = {"id": task, "commandLine": "run", **more}
            self.ask(self.add, job, body)
            self.nothing_waits_that_could_run()

    def add(self, job: str, body: dict[str, Any]) -> None:
        self.engine.tasks.add(self.engine.jobs.changeable(job), body)

    @rule(job=JOBS, force=st.booleans())
    def terminate_job(self, job: str, force: bool) -> None:
        def act() -> None:
            found = self.engine.jobs.get(job)
            self.engine.jobs.terminate(found, None, force=force)
            self.terminated.append((found.key, found.seq))

        self.ask(act)

    @rule(job=JOBS, force=st.booleans())
    def delete_job(self, job: str, force: bool) -> None:
        self.with_job(job, "delete", force=force)

    @rule(job=JOBS, tasks=st.sampled_from(["requeue", "terminate", "wait"]))
    def disable_job(self, job: str, tasks: str) -> None:
        self.with_job(job, "disable", {"disableTasks": tasks})

    @rule(job=JOBS)
    def enable_job(self, job: str) -> None:
        self.with_job(job, "enable")

    @rule(job=JOBS, pool=st.sampled_from(["local", "other"]), settings=SETTINGS)
    def change_job(self, job: str, pool: str, settings: dict[str, Any]) -> None:
        names = ("priority", "maxParallelTasks", "constraints", "onAllTasksComplete")
        self.with_job(job, "patch", {"poolInfo": {"poolId": pool}, **{n: settings[n] for n in names if n in settings}})

    @rule(job=JOBS, task=TASKS, action=st.sampled_from(["terminate", "reactivate", "delete"]))
    def change_task(self, job: str, task: str, action: str) -> None:
        self.with_task(job, task, action)

    @precondition(lambda self: self.account.commands.running)
    @rule(data=st.data(), exit_code=st.sampled_from([0, 0, 1, 2]))
    def a_command_ends(self, data: st.DataObject, exit_code: int) -> None:
        runs = sorted(self.account.commands.running, key=str)
        self.account.commands.end(data.draw(st.sampled_from(runs)), exit_code)

    @rule()
    def all_commands_end(self) -> None:
        for run in sorted(self.account.commands.running, key=str):
            if run in self.account.commands.running:
                self.account.commands.end(run, 0)

    @precondition(lambda self: self.account.commands.running)
    @rule(data=st.data())
    def a_command_does_not_start(self, data: st.DataObject) -> None:
        runs = sorted(self.account.commands.running, key=str)
        info = failure("UserError", "CommandProgramNotFound", "…")
        self.account.commands.end(data.draw(st.sampled_from(runs)), None, failure=info, phase="before")

    @rule(seconds=st.sampled_from([0.01, 0.1, 2, 61, 700]))
    def time_passes(self, seconds: float) -> None:
        self.account.pass_time(seconds)

    @rule(seconds=st.sampled_from([0.1, 2, 61]))
    def time_passes_unseen(self, seconds: float) -> None:
        # As on a busy machine: all that became due meanwhile happens in one turn, with what is asked next.
        self.engine.clock.move_to(self.engine.now() + timedelta(seconds=seconds))

    @rule(place=st.integers(0, 2), action=st.sampled_from(["kill", "preempt", "restore", "enable_scheduling"]))
    def something_happens_to_a_node(self, place: int, action: str) -> None:
        for pool in self.engine.store.pools:
            nodes = list(self.engine.store.nodes(pool.key))
            if place < len(nodes):
                self.ask(getattr(self.engine.nodes, action), nodes[place])

    @rule(
        place=st.integers(0, 2),
        action=st.sampled_from([("reboot", {}), ("disable_scheduling", {"nodeDisableSchedulingOption": "terminate"})]),
    )
    def somebody_does_something_to_a_node(self, place: int, action: tuple[str, dict[str, str]]) -> None:
        nodes = list(self.engine.store.nodes("local"))
        if place < len(nodes):
            self.ask(getattr(self.engine.nodes, action[0]), nodes[place], action[1])

    @rule(
        count=st.integers(0, 3),
        spot=st.integers(0, 1),
        option=OPTIONS,
    )
    def resize(self, count: int, spot: int, option: str) -> None:
        body = {"targetDedicatedNodes": count, "targetLowPriorityNodes": spot, "nodeDeallocationOption": option}
        self.ask(lambda: self.engine.pools.resize(self.engine.pools.get("local"), body))

    @rule()
    def make_the_other_pool(self) -> None:
        self.ask(self.engine.pools.create, {"id": "Other", **SMALL})

    @rule()
    def delete_the_other_pool(self) -> None:
        self.ask(lambda: self.engine.pools.delete(self.engine.pools.get("other")))

    @rule()
    def the_service_is_killed_and_started_again(self) -> None:
        now = self.engine.now()
        self.engine.store._disk.close()
        self.account = Account(self.root, database=self.root / "state", start=now, nodes=2, slots_per_node=2)
        self.engine = self.account.engine

    @invariant()
    def states_are_those_of_the_tables(self) -> None:
        for job in self.engine.store.jobs:
            assert job.state in machines.JOB.states
            assert ("endTime" in job.doc["executionInfo"]) == (job.state == "completed") or job.state == "deleting"
            for task in self.engine.store.tasks(job.key):
                assert task.state in machines.TASK.states
                assert ("result" in task.execution) == (task.state == "completed")
                assert ("startTime" in task.execution) or task.state != "running"

    @invariant()
    def no_slot_is_given_twice(self) -> None:
        for pool in self.engine.store.pools:
            for node in self.engine.store.nodes(pool.key):
                tasks = self.engine.scheduling.on_node(node.id)
                assert sum(task.slots for task in tasks) <= pool.doc["taskSlotsPerNode"]
                assert all(task.state in ("running", "preparing") for task in tasks)
                alone = [task for task in tasks if self.is_exclusive(task)]
                assert not alone or len(tasks) == 1

    @invariant()
    def nothing_waits_that_could_run(self) -> None:
        for job in self.engine.store.jobs:
            pool = self.engine.store.pools.get(job.doc["executionInfo"]["poolId"])
            if job.state != "active" or pool is None:
                continue
            tasks = list(self.engine.store.tasks(job.key))
            holding = [task for task in tasks if task.state in ("running", "preparing")]
            if 0 <= job.doc["maxParallelTasks"] <= len(holding):
                continue
            nodes = list(self.engine.store.nodes(pool.key))
            for task in tasks:
                if task.state == "active" and self.is_free_to_run(task):
                    assert not [node.id for node in nodes if self.has_room(node, pool, job, task)], (job.key, task.key)

    def is_free_to_run(self, task: Any) -> bool:
        tasks = list(self.engine.store.tasks(task.job))
        done = [each for each in tasks if each.state == "completed" and each.dependency]
        ids, numbers = {each.key for each in done}, {int(each.key) for each in done if each.key.isdecimal()}
        depends = task.doc.get("dependsOn", {})
        wanted = {n for each in depends.get("taskIdRanges", ()) for n in range(each["start"], each["end"] + 1)}
        return wanted <= numbers and {name.lower() for name in depends.get("taskIds", ())} <= ids

    def has_room(self, node: Any, pool: Any, job: Any, task: Any) -> bool:
        there = [
            each
            for other in self.engine.store.jobs
            for each in self.engine.store.tasks(other.key)
            if each.node == node.id and each.state in ("running", "preparing")
        ]
        if (self.is_exclusive(task) and there) or any(self.is_exclusive(each) for each in there):
            return False
        manager = job.doc["jobManagerTask"] if task.is_manager else {}
        return (
            node.state in ("idle", "running")
            and node.doc["schedulingState"] == "enabled"
            and (node.dedicated or manager.get("allowLowPriorityNode", True))
            and job.key not in node.ineligible
            and sum(each.slots for each in there) + task.slots <= pool.doc["taskSlotsPerNode"]
        )

    @invariant()
    def what_runs_is_what_the_records_say(self) -> None:
        running = {
            (task.job, task.key, task.attempt)
            for job in self.engine.store.jobs
            for task in self.engine.store.tasks(job.key)
            if task.state == "running"
        }
        begun = [run for run in self.account.commands.running if run.kind == "task"]
        assert {(run.owner, run.name, run.attempt) for run in begun} == running
        assert len(begun) == len(running)

    @invariant()
    def a_completed_job_holds_nothing(self) -> None:
        for job in self.engine.store.jobs:
            if job.state == "completed":
                assert self.engine.scheduling.holding(job) == []

    @invariant()
    def disabled_and_ended_jobs_run_nothing(self) -> None:
        for job in self.engine.store.jobs:
            if job.state in ("disabled", "completed"):
                assert not [task for task in self.engine.store.tasks(job.key) if task.state in ("running", "preparing")]

    def is_exclusive(self, task: Any) -> bool:
        job = self.engine.store.jobs.get(task.job)
        return bool(task.is_manager and job and job.doc["jobManagerTask"]["runExclusive"])


TestAccount = Account_.TestCase
TestAccount.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
