"""Pools and their nodes, as far as jobs need them: where a task's directory is and what its command sees."""

from __future__ import annotations

import hashlib
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import documents, environment, errors, formats
from airflow_provider_jobmanager.local.launches import Launch, Outcome, Run
from airflow_provider_jobmanager.local.machines import NODE, touch
from airflow_provider_jobmanager.local.preparation import PART
from airflow_provider_jobmanager.local.records import Node, Pool
from airflow_provider_jobmanager.local.settings import DEFAULT_POOL

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Job, Task

SETTLE = timedelta(milliseconds=50)


class Pools:
    """Everything that happens to pools and nodes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

    # -- pools --------------------------------------------------------------------------------------------------------

    def get(self, pool_id: str) -> Pool:
        """A pool by its id, in any case.

        Raises:
            BatchError: 404 ``PoolNotFound``.
        """
        pool = self.store.pools.get(pool_id)
        if pool is None:
            raise errors.refuse("PoolNotFound")
        return pool

    def make_default(self) -> None:
        """The pool that every local account has."""
        wanted = self.engine.settings
        if self.store.pools.get(DEFAULT_POOL) is not None:
            return
        specification = {
            "vmSize": "standard_local",
            "taskSlotsPerNode": wanted.slots_per_node,
            "targetDedicatedNodes": wanted.nodes,
        }
        self.make({"id": DEFAULT_POOL, **documents.pool_specification(specification)})

    def make(self, settings: Doc) -> Pool:
        """A pool of settings that were checked; its nodes are there at once."""
        now = self.engine.now()
        stamp = formats.timestamp(now)
        doc: Doc = dict(settings)
        doc["creationTime"] = stamp
        touch(doc, now)
        doc.update(
            state="active", stateTransitionTime=stamp, allocationState="steady", allocationStateTransitionTime=stamp
        )
        pool = Pool(doc["id"].lower(), doc, self.store.next_seq())
        self.store.save(pool)
        for dedicated, count in ((True, doc["targetDedicatedNodes"]), (False, doc["targetLowPriorityNodes"])):
            for _ in range(count):
                self._make_node(pool, dedicated=dedicated)
        return pool

    def delete(self, pool: Pool) -> None:
        """Take a pool away; its nodes' directories go with it a little later."""
        now = self.engine.now()
        pool.doc.update(state="deleting", stateTransitionTime=formats.timestamp(now))
        self.store.save(pool)
        self.engine.at(now + SETTLE, self._forget, pool)

    def recover(self) -> None:
        """Take nodes up again after a restart: they booted."""
        for pool in self.store.pools:
            for node in self.store.nodes(pool.key):
                if node.state == "running":
                    NODE.move(node.doc, "idle", "tasks finished", self.engine.now())
                node.doc["lastBootTime"] = formats.timestamp(self.engine.now(), 6)
                self.store.save(node)
            if pool.state == "deleting":
                self.engine.at(self.engine.now() + SETTLE, self._forget, pool)

    def _forget(self, pool: Pool) -> None:
        if self.store.pools.get(pool.key) is not pool:
            return
        for node in self.store.nodes(pool.key):
            shutil.rmtree(self.node_root(node), ignore_errors=True)
        self.store.remove(pool)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def node(self, pool: Pool, node_id: str) -> Node:
        """A node of a pool.

        Raises:
            BatchError: 404 ``NodeNotFound``.
        """
        node = self.store.nodes(pool.key).get(node_id)
        if node is None:
            raise errors.refuse("NodeNotFound")
        return node

    def node_by_id(self, pool: str, node_id: str) -> Node | None:
        """A node, when it is still there."""
        return self.store.nodes(pool.lower()).get(node_id)

    def task_placed(self, node: Node) -> None:
        """A task takes slots of a node."""
        if node.state == "idle":
            NODE.move(node.doc, "running", "task started", self.engine.now())
            self.store.save(node)

    def task_gone(self, pool: str, node_id: str) -> None:
        """A task gives its slots back."""
        node = self.node_by_id(pool, node_id)
        if node is not None and node.state == "running" and not self.engine.scheduling.on_node(node.id):
            NODE.move(node.doc, "idle", "tasks finished", self.engine.now())
            self.store.save(node)

    def start_task_over(self, run: Run, outcome: Outcome) -> None:
        """A pool's start task is over on a node."""

    def _make_node(self, pool: Pool, *, dedicated: bool) -> Node:
        now = self.engine.now()
        stamp = formats.timestamp(now, 6)
        pool.made += 1
        digest = hashlib.sha256(f"{pool.key} {pool.doc['creationTime']} {pool.made}".encode()).hexdigest()
        node_id = f"tvmps_{digest}_{'d' if dedicated else 'p'}"
        doc: Doc = {"id": node_id}
        NODE.begin(doc, "idle", now)
        doc.update(
            schedulingState="enabled",
            lastBootTime=stamp,
            allocationTime=stamp,
            ipAddress="127.0.0.1",
            affinityId=f"TVM:{node_id}",
            vmSize=pool.doc["vmSize"],
            isDedicated=dedicated,
        )
        node = Node(node_id.lower(), doc, self.store.next_seq(), pool.key)
        self.store.save(node)
        self.store.save(pool)
        self.engine.scheduling.stir(pool.key)
        return node

    # -- directories --------------------------------------------------------------------------------------------------

    def node_root(self, node: Node) -> Path:
        """Directory of a node, with what stands in it from the start."""
        root = self.engine.root / node.id
        if not root.is_dir():
            for name in environment.NODE_DIRECTORIES:
                (root / name).mkdir(parents=True, exist_ok=True)
        return root

    def task_directory(self, task: Task) -> Path | None:
        """Directory of a task on the node that it runs on or ran on last; None when there is none."""
        job = self.store.jobs.get(task.job)
        node = self.node_by_id(task.pool, task.node) if task.pool and task.node else None
        if job is None or node is None:
            return None
        return self._directory(job, node, task.id)

    def job_directories(self, job: Job) -> list[Path]:
        """Directories of a job on all nodes that there are."""
        pool = self.store.pools.get(job.doc["executionInfo"]["poolId"])
        nodes = self.store.nodes(pool.key) if pool else ()
        return [self.node_root(node).joinpath("workitems", *job.directory) for node in nodes]

    def relative(self, node: Node, directory: Path) -> str:
        """A directory as the wire has it, relative to its node."""
        return directory.relative_to(self.node_root(node)).as_posix()

    def node_info(self, job: Job, task: Task, node: Node) -> Doc:
        """``nodeInfo`` of a task; its URLs are made when it is read."""
        return {
            "affinityId": node.doc["affinityId"],
            "poolId": self._pool_id(node),
            "nodeId": node.id,
            "taskRootDirectory": self.relative(node, self._directory(job, node, task.id)),
        }

    def _directory(self, job: Job, node: Node, task_id: str) -> Path:
        return self.node_root(node).joinpath("workitems", *job.directory, task_id)

    def _pool_id(self, node: Node) -> str:
        pool = self.store.pools.get(node.pool)
        return pool.id if pool else node.pool

    # -- launches -----------------------------------------------------------------------------------------------------

    def launch_of(self, job: Job, task: Task, node: Node) -> Launch:
        """What to run for a task."""
        wants_token = "job" in task.doc.get("authenticationTokenSettings", {}).get("access", ())
        preparation = job.doc.get("jobPreparationTask")
        directory = self._directory(job, node, task.id)
        return self._launch(
            Run("task", job.key, task.key, task.attempt),
            task.doc,
            node,
            directory,
            job=job,
            task_id=task.id,
            preparation=self._directory(job, node, preparation["id"]) if preparation else None,
            token=self.engine.token(job.id) if wants_token else None,
        )

    def launch_of_part(self, kind: str, job: Job, node: Node, attempt: int) -> Launch:
        """What to run for a job preparation or release task."""
        settings = job.doc[PART[kind]]
        preparation = self._directory(job, node, job.doc["jobPreparationTask"]["id"])
        return self._launch(
            Run(kind, job.key, node.id, attempt),
            settings,
            node,
            self._directory(job, node, settings["id"]),
            job=job,
            task_id=settings["id"],
            preparation=preparation if kind == "release" else None,
        )

    def _launch(
        self,
        run: Run,
        settings: Doc,
        node: Node,
        directory: Path,
        *,
        job: Job | None = None,
        task_id: str | None = None,
        **extra: Any,
    ) -> Launch:
        common = job.doc.get("commonEnvironmentSettings", ()) if job else ()
        values = environment.variables(
            account=self.engine.settings.account,
            account_url=self.engine.account_url,
            pool=self._pool_id(node),
            node=node.id,
            dedicated=node.dedicated,
            root=self.node_root(node),
            directory=directory,
            path=self.engine.settings.task_path,
            job=job.id if job else None,
            task=task_id,
            settings=(common, settings.get("environmentSettings", ())),
            **extra,
        )
        return Launch(
            run,
            settings["commandLine"],
            directory,
            values,
            settings.get("resourceFiles", ()),
            settings.get("outputFiles", ()),
            settings.get("containerSettings"),
        )
