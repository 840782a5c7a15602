"""Which task runs when and where, and what the end of a run means.

A job's manager goes first in its job; jobs of a pool go by priority, then by age. A task takes its slots on a node; a
manager with ``runExclusive`` wants the node for itself. A job preparation task runs on a node before the first task of
its job there, a release task wherever one ran when the job ends (REST reference: Job, Job Manager Task, Job
Preparation Task; learn.microsoft.com/azure/batch/batch-job-prep-release).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import formats
from airflow_provider_jobmanager.local.displacement import Displacement
from airflow_provider_jobmanager.local.engine_launches import run_of
from airflow_provider_jobmanager.local.engine_tasks import ENDED, TIMED_OUT
from airflow_provider_jobmanager.local.launches import Outcome, Run
from airflow_provider_jobmanager.local.machines import TASK
from airflow_provider_jobmanager.local.preparation import Preparation

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Job, Node, Task

Place = tuple[int, int, str]
Wants = tuple[int, bool, bool, str]


class Scheduling:
    """Queues of jobs and tasks, and the slots of nodes.

    All of it can be worked out from the records, so none of it is one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self.preparation = Preparation(engine)
        self.displacement = Displacement(self)
        self._jobs: defaultdict[str, list[Place]] = defaultdict(list)  # pool -> jobs with ready tasks, first first
        self._ready: defaultdict[str, list[Place]] = defaultdict(list)  # job -> ready tasks, first first
        self._on_node: defaultdict[str, dict[tuple[str, str], Task]] = defaultdict(dict)
        self._of_job: defaultdict[str, dict[str, Task]] = defaultdict(dict)  # job -> its tasks that hold slots
        self._where: dict[str, tuple[str, Place]] = {}  # job -> the pool's list it stands in, and its place there
        self._stirred: set[str] = set()

    # -- queues -------------------------------------------------------------------------------------------------------

    def enqueue(self, job: Job, task: Task) -> None:
        """Let an active task wait for a node, as soon as nothing it depends on holds it back.

        One that ran before was free to: whatever became of the tasks it depends on, it is not asked again.
        """
        dependencies = self.engine.tasks.dependencies
        if not task.restarted and not dependencies.satisfied(task):
            dependencies.wait(task)
            return
        dependencies.forget(task)
        if not self.is_ready(task):
            insort(self._ready[job.key], _place_of(task))
        if task.is_manager and task.restarted:
            self.displacement.wait(job)
        self.resume(job)

    def dequeue(self, task: Task) -> None:
        """An active task waits no longer."""
        if not self.is_ready(task):
            return
        ready = self._ready[task.job]
        ready.remove(_place_of(task))
        job = self.store.jobs.get(task.job)
        if not ready and job is not None:
            self.suspend(job)
        if task.is_manager:
            self.displacement.over(task.job)

    def suspend(self, job: Job) -> None:
        """A job's tasks wait, but none is started."""
        found = self._where.pop(job.key, None)
        if found is not None:
            pool, place = found
            self._jobs[pool].remove(place)

    def resume(self, job: Job) -> None:
        """A job's ready tasks may start."""
        if job.state != "active" or not self._ready[job.key]:
            return
        if job.key not in self._where:
            pool = job.doc["executionInfo"]["poolId"].lower()
            place = (-job.doc["priority"], job.seq, job.key)
            insort(self._jobs[pool], place)
            self._where[job.key] = pool, place
        self.stir(self._where[job.key][0])

    def reorder(self, job: Job) -> None:
        """The priority or the pool of a job changed."""
        self.suspend(job)
        self.resume(job)

    def stir(self, pool: str) -> None:
        """Something changed in a pool: see at the end of the turn what can start there."""
        self._stirred.add(pool)

    # -- placing ------------------------------------------------------------------------------------------------------

    def place(self) -> None:
        """Start whatever has room."""
        while self._stirred:
            pool = self._stirred.pop()
            if pool in self.store.pools:
                self._place_in(pool)

    def _place_in(self, pool: str) -> None:
        nodes = [
            node
            for node in self.store.nodes(pool)
            if node.state in ("idle", "running") and node.doc["schedulingState"] == "enabled"
        ]
        for node in nodes:
            self.displacement.fill(node)
        room = {node.id: 0 if self.displacement.is_reserved(node) else self.free_slots(node) for node in nodes}
        for job, manager in self.displacement.waiting(pool):
            self._place_task(job, manager, self.wants(job, manager), nodes, room)
        hopeless: set[tuple[Any, ...]] = set()
        for _, _, key in list(self._jobs[pool]):
            if not any(room.values()):
                break
            found = self.store.jobs.get(key)
            if found is not None:
                self._place_job(found, nodes, room, hopeless)
        self.displacement.make_room(pool, nodes)

    def _place_job(self, job: Job, nodes: list[Node], room: dict[str, int], hopeless: set[tuple[Any, ...]]) -> None:
        prepared = job.key if "jobPreparationTask" in job.doc else None
        for place in list(self._ready[job.key]):
            if self.is_full(job) or not any(room.values()):
                break
            task = self.store.tasks(job.key).get(place[2])
            if task is None:
                continue
            wants = self.wants(job, task)
            if (wants, prepared) in hopeless:
                continue
            if not self._place_task(job, task, wants, nodes, room):
                hopeless.add((wants, prepared))

    def _place_task(self, job: Job, task: Task, wants: Wants, nodes: list[Node], room: dict[str, int]) -> bool:
        node = self._choose(job, wants, nodes, room)
        if node is None:
            return False
        self.start(job, task, node)
        room[node.id] = self.free_slots(node)
        return True

    def wants(self, job: Job, task: Task) -> Wants:
        """Slots, a node for itself, Spot nodes allowed, and the node it would like."""
        manager = job.doc["jobManagerTask"] if task.is_manager else {}
        affinity = task.doc.get("affinityInfo", {}).get("affinityId", "")
        return task.slots, manager.get("runExclusive", False), manager.get("allowLowPriorityNode", True), affinity

    def _choose(self, job: Job, wants: Wants, nodes: list[Node], room: dict[str, int]) -> Node | None:
        slots, exclusive, spot, affinity = wants
        fitting = [
            node
            for node in nodes
            if room[node.id] >= slots
            and (spot or node.dedicated)
            and not (exclusive and self._on_node[node.id])
            and job.key not in node.ineligible
        ]
        if not fitting:
            return None
        pool = self.store.pools.get(nodes[0].pool)
        pack = pool is not None and pool.doc["taskSchedulingPolicy"]["nodeFillType"] == "Pack"
        return min(
            fitting,
            key=lambda node: (
                node.doc["affinityId"] != affinity,
                room[node.id] if pack else -room[node.id],
                node.seq,
            ),
        )

    def free_slots(self, node: Node) -> int:
        """Slots that a new task could have on a node."""
        tasks = self._on_node[node.id].values()
        if any(self._is_exclusive(task) for task in tasks):
            return 0
        return max(0, self.slots_of(node) - sum(task.slots for task in tasks))

    def slots_of(self, node: Node) -> int:
        """Slots that a node has, in use or not."""
        pool = self.store.pools.get(node.pool)
        return int(pool.doc["taskSlotsPerNode"]) if pool else 0

    def is_ready(self, task: Task) -> bool:
        """Whether nothing but a node is missing for a task."""
        ready, place = self._ready[task.job], _place_of(task)
        found = bisect_left(ready, place)
        return found < len(ready) and ready[found] == place

    def is_full(self, job: Job) -> bool:
        """Whether a job runs as many tasks as it may."""
        return 0 <= int(job.doc["maxParallelTasks"]) <= len(self._of_job[job.key])

    def stands_in(self, job: Job, pool: str) -> bool:
        """Whether a job has tasks that may start in a pool."""
        return job.key in self._where and self._where[job.key][0] == pool

    def on_node(self, node_id: str) -> list[Task]:
        """Tasks that hold slots of a node."""
        return list(self._on_node[node_id].values())

    def _is_exclusive(self, task: Task) -> bool:
        if not task.is_manager:
            return False
        job = self.store.jobs.get(task.job)
        return job is not None and bool(job.doc["jobManagerTask"]["runExclusive"])

    def start(self, job: Job, task: Task, node: Node) -> None:
        """Give a ready task its slots on a node, and run it once its job is prepared there."""
        prepares = self.preparation.needed(job, node)
        self.dequeue(task)
        TASK.move(task.doc, "preparing" if prepares else "running", "node chosen", self.engine.now())
        task.node, task.pool, task.ending = node.id, node.pool, None
        task.attempt += 1
        self._on_node[node.id][task.job, task.key] = task
        self._of_job[job.key][task.key] = task
        self.engine.nodes.task_placed(node)
        if prepares:
            self.preparation.begin(job, node)
        else:
            self._run(job, task, node)
        self.store.save(task)

    def _run(self, job: Job, task: Task, node: Node) -> None:
        start = formats.timestamp(self.engine.now(), 6)
        task.doc["executionInfo"] = {"startTime": start, **_counters(task.execution)}
        task.doc["nodeInfo"] = self.engine.launches.node_info(job, task, node)
        self.watch(task)
        self.store.save(task)
        self.engine.launch(self.engine.launches.of_task(job, task, node))

    def watch(self, task: Task) -> None:
        """See to the wall clock of a running task, counted from the start of this run."""
        start = task.execution.get("startTime")
        if task.state == "running" and start:
            limit = task.doc["constraints"]["maxWallClockTime"]
            self.engine.after(
                formats.seconds_of(limit), formats.parse_timestamp(start), self._wall_clock, task, task.attempt, limit
            )

    def _wall_clock(self, task: Task, attempt: int, limit: str) -> None:
        same = task.attempt == attempt and task.doc["constraints"]["maxWallClockTime"] == limit
        if same and task.state == "running" and self._holds(task):
            self.end(task, "timeout")

    # -- ending -------------------------------------------------------------------------------------------------------

    def end(self, task: Task, why: str) -> None:
        """End the run of a task; what that means is decided when it is over. The first cause stands."""
        if task.ending is None or (why in _FINAL and task.ending not in _FINAL):
            task.ending = why
            self.store.save(task)
        if task.state == "preparing":
            # Nothing of its own runs yet; the preparation goes on for whoever comes next.
            self._over(task, Outcome())
            return
        self.engine.kill(run_of(task))

    def end_tasks(self, job: Job, why: str) -> None:
        """End the runs of all tasks of a job."""
        for task in list(self._of_job[job.key].values()):
            self.end(task, why)

    def drop(self, task: Task) -> None:
        """A task is deleted: end its run, expect nothing from it."""
        self.dequeue(task)
        if self._holds(task):
            self._free(task)
            if task.state == "running":
                self.engine.kill(run_of(task))

    def lost(self, task: Task) -> None:
        """The node of a task went away under it, or this service did: it runs again and no counter tells."""
        if task.ending in _FINAL:
            self._over(task, Outcome())
            return
        task.ending = "requeue"
        self._over(task, Outcome())

    def started(self, run: Run, process: list[Any]) -> None:
        """Remember the process of a run."""
        if run.kind == "task":
            task = self._task_of(run)
            if task is not None:
                task.process = process
                self.store.save(task)

    def exited(self, run: Run, outcome: Outcome) -> None:
        """A run is over."""
        if run.kind == "start":
            self.engine.nodes.start_task_over(run, outcome)
        elif run.kind != "task":
            self.preparation.over(run, outcome)
        else:
            task = self._task_of(run)
            if task is not None:
                started = formats.parse_timestamp(task.execution["startTime"])
                task.ran += max(0.0, (self.engine.now() - started).total_seconds())
                self._over(task, outcome)

    def prepared(self, job: Job, node: Node, *, ready: bool) -> None:
        """A job preparation task is over on a node: its tasks there run, or go elsewhere."""
        for task in self.on_node(node.id):
            if task.job != job.key or task.state != "preparing":
                continue
            if ready:
                TASK.move(task.doc, "running", "job prepared", self.engine.now())
                self._run(job, task, node)
            else:
                self._free(task)
                self.engine.tasks.send_back(task, "preparation failed")

    def holding(self, job: Job) -> list[str]:
        """Nodes that still have a task of a job."""
        return [task.node or "" for task in self._of_job[job.key].values()]

    def release(self, job: Job) -> list[str]:
        """Run the release task wherever the job was prepared; gives the nodes that are not through."""
        return self.preparation.release(job)

    def forget(self, job: Job) -> None:
        """A job is gone."""
        for task in list(self._of_job[job.key].values()):
            self.drop(task)
        self.suspend(job)
        self.displacement.over(job.key)
        self._ready.pop(job.key, None)
        self._of_job.pop(job.key, None)
        self.engine.tasks.dependencies.forget_job(job.key)

    def _over(self, task: Task, outcome: Outcome) -> None:
        job = self.store.jobs.get(task.job)
        self._free(task)
        task.process = None
        why, task.ending = task.ending, None
        going = job is not None and job.state in ("active", "disabling", "disabled")
        if why in ("requeue", "user requeue") and going:
            self.engine.tasks.send_back(task, why)
        elif why == "timeout":
            self.engine.tasks.complete(task, outcome, TIMED_OUT)
        elif why is not None:
            self.engine.tasks.complete(task, outcome, ENDED)
        elif outcome.failure is None and outcome.exit_code != 0 and _retries_left(task) and going:
            self.engine.tasks.send_back(task, "retry")
        else:
            self.engine.tasks.complete(task, outcome, None)
        if job is not None:
            self.engine.jobs.progress(job)

    def _free(self, task: Task) -> None:
        if task.node is not None:
            self._on_node[task.node].pop((task.job, task.key), None)
        self._of_job[task.job].pop(task.key, None)
        if task.pool is not None:
            self.stir(task.pool)
            self.engine.nodes.task_gone(task.pool, task.node or "")

    def _holds(self, task: Task) -> bool:
        return self._of_job[task.job].get(task.key) is task

    def _task_of(self, run: Run) -> Task | None:
        task = self._of_job[run.owner].get(run.name)
        return task if task is not None and task.state == "running" and run_of(task) == run else None


_FINAL = ("user", "job", "disabled", "timeout")


def _place_of(task: Task) -> Place:
    return 0 if task.is_manager else 1, task.seq, task.key


def _counters(info: Doc) -> Doc:
    names = ("retryCount", "lastRetryTime", "requeueCount", "lastRequeueTime")
    return {name: info[name] for name in names if name in info}


def _retries_left(task: Task) -> bool:
    most = int(task.doc["constraints"]["maxTaskRetryCount"])
    return most < 0 or task.execution["retryCount"] < most
