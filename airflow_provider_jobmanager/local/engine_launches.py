"""What to run, where: directories of tasks on their nodes, and commands with their environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import environment
from airflow_provider_jobmanager.local.launches import Launch, Run
from airflow_provider_jobmanager.local.preparation import PART

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Job, Node, Task


def run_of(task: Task) -> Run:
    """The newest run of a task."""
    return Run("task", task.job, task.key, task.attempt, task.seq)


class Launches:
    """Makes launches of records."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

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
        node = self.engine.nodes.find(task.pool, task.node) if task.pool and task.node else None
        if job is None or node is None:
            return None
        return self._directory(job, node, task.id)

    def directories(self, job: Job, *task: str) -> list[Path]:
        """Directories that a job, or a task of it, has on any node there is.

        A task may have run on several nodes before it was over, and a job in several pools.
        """
        roots = [self.engine.root / node.id for pool in self.store.pools for node in self.store.nodes(pool.key)]
        places = [root.joinpath("workitems", *job.directory, *task) for root in roots]
        return [place for place in places if place.is_dir()]

    def part_directory(self, kind: str, job: Job, node: Node) -> Path:
        """Directory of a job preparation or release task on a node."""
        return self._directory(job, node, job.doc[PART[kind]]["id"])

    def relative(self, node: Node, directory: Path) -> str:
        """A directory as the wire has it, relative to its node."""
        return directory.relative_to(self.node_root(node)).as_posix()

    def node_info(self, job: Job, task: Task, node: Node) -> Doc:
        """``nodeInfo`` of a task; its URLs are made when it is read."""
        return {
            "affinityId": node.doc["affinityId"],
            "poolId": self.engine.nodes.pool_id(node),
            "nodeId": node.id,
            "taskRootDirectory": self.relative(node, self._directory(job, node, task.id)),
        }

    def _directory(self, job: Job, node: Node, task_id: str) -> Path:
        return self.node_root(node).joinpath("workitems", *job.directory, task_id)

    # -- launches -----------------------------------------------------------------------------------------------------

    def of_task(self, job: Job, task: Task, node: Node) -> Launch:
        """What to run for a task."""
        wants_token = "job" in task.doc.get("authenticationTokenSettings", {}).get("access", ())
        preparation = job.doc.get("jobPreparationTask")
        directory = self._directory(job, node, task.id)
        return self._launch(
            run_of(task),
            task.doc,
            node,
            directory,
            job=job,
            task_id=task.id,
            preparation=self._directory(job, node, preparation["id"]) if preparation else None,
            token=self.engine.token(job) if wants_token else None,
        )

    def of_start_task(self, node: Node, settings: Doc) -> Launch:
        """What to run when a node starts."""
        directory = self.node_root(node) / "startup"
        return self._launch(Run("start", node.pool, node.id, node.start_attempt, node.seq), settings, node, directory)

    def of_part(self, kind: str, job: Job, node: Node, attempt: int) -> Launch:
        """What to run for a job preparation or release task."""
        settings = job.doc[PART[kind]]
        preparation = self.part_directory("preparation", job, node)
        return self._launch(
            Run(kind, job.key, node.id, attempt, job.seq),
            settings,
            node,
            self.part_directory(kind, job, node),
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
        certificate = self.engine.certificate
        common = job.doc.get("commonEnvironmentSettings", ()) if job else ()
        values = environment.variables(
            account=self.engine.settings.account,
            account_url=self.engine.account_url,
            certificate=certificate,
            pool=self.engine.nodes.pool_id(node),
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
            [certificate] if certificate else (),
        )
