"""Nodes: booted, given work, taken out of service, lost.

States and options of the REST reference (Nodes operations). A node here is a directory and some slots on this machine,
so it boots in no time unless its pool has a start task; everything that happens to tasks on a real node that goes away
happens here too.
"""

from __future__ import annotations

import hashlib
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import bodies, errors, formats, usage
from airflow_provider_jobmanager.local.engine_tasks import EXIT_CODE
from airflow_provider_jobmanager.local.launches import Run
from airflow_provider_jobmanager.local.machines import NODE, settled
from airflow_provider_jobmanager.local.records import Node

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.launches import Outcome
    from airflow_provider_jobmanager.local.records import Doc, Pool

SETTLE = timedelta(milliseconds=50)
"""How long a node takes to boot or to leave, at least."""

_AWAY = ("rebooting", "reimaging", "leavingpool", "preempted")
# What an option of reboot, disable scheduling and removal does to the tasks of a node.
_TASKS = {"requeue": "user requeue", "terminate": "disabled", "taskcompletion": None, "retaineddata": None}


class Nodes:
    """Everything that happens to nodes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

    def get(self, pool: Pool, node_id: str) -> Node:
        """A node of a pool.

        Raises:
            BatchError: 404 ``NodeNotFound``.
        """
        node = self.store.nodes(pool.key).get(node_id)
        if node is None:
            raise errors.refuse("NodeNotFound")
        return node

    def find(self, pool: str, node_id: str) -> Node | None:
        """A node, when it is still there."""
        return self.store.nodes(pool.lower()).get(node_id)

    def pool_id(self, node: Node) -> str:
        """Id of its pool, in its maker's case."""
        pool = self.store.pools.get(node.pool)
        return pool.id if pool else node.pool

    def make(self, pool: Pool, *, dedicated: bool) -> Node:
        """A new node of a pool."""
        now = self.engine.now()
        pool.made += 1
        digest = hashlib.sha256(f"{pool.key} {pool.doc['creationTime']} {pool.made}".encode()).hexdigest()
        node_id = f"tvmps_{digest}_{'d' if dedicated else 'p'}"
        doc: Doc = {"id": node_id}
        NODE.begin(doc, "starting", now)
        doc.update(
            schedulingState="enabled",
            allocationTime=formats.timestamp(now, 6),
            ipAddress="127.0.0.1",
            affinityId=f"TVM:{node_id}",
            vmSize=pool.doc["vmSize"],
            isDedicated=dedicated,
        )
        node = Node(node_id.lower(), doc, self.store.next_seq(), pool.key)
        self.store.save(pool)
        self._boot(pool, node)
        return node

    # -- asked for by users -------------------------------------------------------------------------------------------

    def reboot(self, node: Node, body: Any, *, reimage: bool = False) -> None:
        """Boot a node again; reimaging forgets what is on it as well."""
        shape = bodies.REIMAGE if reimage else bodies.REBOOT
        option = next(iter(shape(body or {}).values()), "requeue")
        if node.state in _AWAY:
            code = {"reimaging": "NodeBeingReimaged", "rebooting": "NodeBeingRebooted"}.get(node.state)
            raise errors.refuse(code or "OperationNotValidOnNode", values={"Reason": f"The node is {node.state}"})
        self._leave(node, "reimaging" if reimage else "rebooting", "reimage" if reimage else "reboot", _TASKS[option])

    def disable_scheduling(self, node: Node, body: Any) -> None:
        """Give a node no more tasks."""
        option = bodies.DISABLE_SCHEDULING(body or {}).get("nodeDisableSchedulingOption", "requeue")
        if node.doc["schedulingState"] == "disabled":
            raise errors.refuse("NodeAlreadyInTargetSchedulingState")
        node.doc["schedulingState"] = "disabled"
        self.store.save(node)
        self._end_tasks(node, _TASKS[option])
        self.progress(node)

    def enable_scheduling(self, node: Node) -> None:
        """Give a node tasks again."""
        if node.doc["schedulingState"] == "enabled":
            raise errors.refuse("NodeAlreadyInTargetSchedulingState")
        node.doc["schedulingState"] = "enabled"
        if node.state == "offline":
            NODE.move(node.doc, "idle", "scheduling enabled", self.engine.now())
        self.store.save(node)
        self.engine.scheduling.stir(node.pool)

    def remove(self, node: Node, option: str) -> None:
        """Take a node out of its pool once its tasks are dealt with."""
        if node.state != "leavingpool":
            self._leave(node, "leavingpool", "remove", _TASKS[option])

    # -- trouble on purpose -------------------------------------------------------------------------------------------

    def kill(self, node: Node) -> None:
        """Let the machine under a node fail: its tasks run again, no counter tells, and the node boots."""
        if node.state not in _AWAY:
            self._leave(node, "rebooting", "reboot", "requeue")

    def preempt(self, node: Node) -> None:
        """Take a Spot node away, as Azure does when it wants the machine back.

        Raises:
            BatchError: 409, the node is a dedicated one.
        """
        if node.dedicated:
            raise errors.refuse("OperationNotValidOnNode", values={"Reason": "Only Spot nodes are preempted"})
        if node.state not in _AWAY:
            self._leave(node, "preempted", "preempt", "requeue")

    def restore(self, node: Node) -> None:
        """Give a preempted node back."""
        pool = self.store.pools.get(node.pool)
        if node.state == "preempted" and pool is not None:
            self._boot(pool, node)

    # -- brought about by the service ---------------------------------------------------------------------------------

    def task_placed(self, node: Node) -> None:
        """A task takes slots of a node."""
        node.run += 1
        if node.state == "idle":
            NODE.move(node.doc, "running", "task started", self.engine.now())
        self.store.save(node)

    def task_gone(self, pool: str, node_id: str) -> None:
        """A task gives its slots back."""
        node = self.find(pool, node_id)
        if node is not None:
            self.progress(node)

    def task_succeeded(self, pool: str, node_id: str) -> None:
        """A task that ran here succeeded."""
        node = self.find(pool, node_id)
        if node is not None:
            node.succeeded += 1
            self.store.save(node)

    def progress(self, node: Node) -> None:
        """Take a node on to the state that its tasks no longer keep it from."""
        pool = self.store.pools.get(node.pool)
        if pool is None or self.find(node.pool, node.id) is not node or self.engine.scheduling.on_node(node.id):
            return
        now = self.engine.now()
        if node.state == "running":
            NODE.move(node.doc, "idle", "tasks finished", now)
            self.store.save(node)
        if node.state == "idle" and node.doc["schedulingState"] == "disabled":
            NODE.move(node.doc, "offline", "scheduling disabled", now)
            self.store.save(node)
        if node.state not in ("rebooting", "reimaging", "leavingpool"):
            return
        if not settled(node.doc["stateTransitionTime"], SETTLE, now):
            return  # its own timer will come
        if node.state == "leavingpool":
            self._forget(pool, node)
            return
        if node.state == "reimaging":
            node.ineligible.clear()
            shutil.rmtree(self.engine.launches.node_root(node), ignore_errors=True)
        self._boot(pool, node)

    def start_task_over(self, run: Run, outcome: Outcome) -> None:
        """A pool's start task is over on a node."""
        node = self.find(run.owner, run.name)
        pool = self.store.pools.get(run.owner)
        if (
            node is None
            or pool is None
            or (node.start_attempt, node.seq) != (run.attempt, run.seq)
            or "startTask" not in pool.doc
        ):
            return
        settings, info, now = pool.doc["startTask"], node.doc["startTaskInfo"], self.engine.now()
        failed = outcome.failure or (EXIT_CODE if outcome.exit_code != 0 else None)
        most = settings["maxTaskRetryCount"]
        if failed is EXIT_CODE and not 0 <= most <= info["retryCount"]:
            info.update(retryCount=info["retryCount"] + 1, lastRetryTime=formats.timestamp(now, 6))
            self._run_start_task(node, settings)
            return
        info.update(state="completed", endTime=formats.timestamp(now, 6))
        outcome.write(info, failed)
        if node.state == "waitingforstarttask":
            after, cause = (
                ("idle", "start task succeeded") if failed is None else ("starttaskfailed", "start task failed")
            )
            NODE.move(node.doc, after, cause, now)
        self.store.save(node)
        self.progress(node)
        self.engine.scheduling.stir(node.pool)

    def recover(self, pool: Pool) -> None:
        """Take the nodes of a pool up again after a restart: they booted, those that were away are on their way."""
        for node in self.store.nodes(pool.key):
            if node.state in ("rebooting", "reimaging", "leavingpool"):
                self.engine.at(self.engine.now() + SETTLE, self.progress, node)
            elif node.state not in ("preempted", "offline"):
                NODE.move(node.doc, "rebooting", "reboot", self.engine.now())
                self._boot(pool, node)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _leave(self, node: Node, state: str, cause: str, tasks: str | None) -> None:
        NODE.move(node.doc, state, cause, self.engine.now())
        node.start_attempt += 1
        self.engine.kill(Run("start", node.pool, node.id, node.start_attempt - 1, node.seq))
        self.store.save(node)
        self._end_tasks(node, tasks)
        for task in self.engine.scheduling.on_node(node.id):
            if task.state == "preparing":
                # There is nothing to be completed yet, and the preparation that it waits for ends with the node.
                self.engine.scheduling.end(task, "user requeue")
        for job in self.store.jobs:
            if node.id in job.prepared:
                self.engine.scheduling.preparation.node_gone(job, node.id, reimaged=state == "reimaging")
        self.engine.at(self.engine.now() + SETTLE, self.progress, node)

    def _end_tasks(self, node: Node, why: str | None) -> None:
        if why is not None:
            for task in self.engine.scheduling.on_node(node.id):
                self.engine.scheduling.end(task, why)

    def _boot(self, pool: Pool, node: Node) -> None:
        now = self.engine.now()
        node.doc["lastBootTime"] = formats.timestamp(now, 6)
        settings = pool.doc.get("startTask")
        waits = settings is not None and settings["waitForSuccess"]
        NODE.move(node.doc, "waitingforstarttask" if waits else "idle", "started", now)
        self.store.save(node)
        if settings is not None:
            node.doc["startTaskInfo"] = {"retryCount": 0}
            self._run_start_task(node, settings)
        self.progress(node)
        self.engine.scheduling.stir(node.pool)

    def _run_start_task(self, node: Node, settings: Doc) -> None:
        node.start_attempt += 1
        info = node.doc["startTaskInfo"]
        node.doc["startTaskInfo"] = {
            "state": "running",
            "startTime": formats.timestamp(self.engine.now(), 6),
            **{name: info[name] for name in ("retryCount", "lastRetryTime") if name in info},
        }
        self.store.save(node)
        self.engine.launch(self.engine.launches.of_start_task(node, settings))

    def _forget(self, pool: Pool, node: Node) -> None:
        shutil.rmtree(self.engine.launches.node_root(node), ignore_errors=True)
        pool.core_seconds += usage.core_seconds(node, self.engine.now())
        self.store.save(pool)
        self.store.remove(node)
        self.engine.pools.progress(pool)
