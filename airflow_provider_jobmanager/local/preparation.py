"""Job preparation and release tasks: once per node and job, before the first task there and after the last.

Rules of learn.microsoft.com/azure/batch/batch-job-prep-release and the REST reference (Job Preparation Task, Job
Release Task): a node whose preparation failed takes no task of that job; a release task runs only where a preparation
ran, is capped by its own wall clock, takes no slot, and its failure holds nothing up. What ran on a node stays on the
list of the job, whatever becomes of the node.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import formats
from airflow_provider_jobmanager.local.engine_tasks import ENDED, EXIT_CODE, TIMED_OUT
from airflow_provider_jobmanager.local.launches import Outcome, Run

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Job, Node

PART = {"preparation": "jobPreparationTask", "release": "jobReleaseTask"}


class Preparation:
    """What ran, per job and node. It is kept in the job's record, in the wire form of the status list.

    Beside that an entry has ``attempt``, the number of the newest run there, and ``rerun``, when the preparation is to
    run again before the next task.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self._timed_out: set[Run] = set()
        self._given_up: set[Run] = set()

    def needed(self, job: Job, node: Node) -> bool:
        """Whether a task has to wait for the preparation of its job on a node. Starts it when it may run beside."""
        if "jobPreparationTask" not in job.doc:
            return False
        info = self._info(job, node.id, "preparation")
        missing = info is None or job.prepared[node.id].get("rerun", False)
        if not job.doc["jobPreparationTask"]["waitForSuccess"]:
            if missing:
                self.begin(job, node)
            return False
        return missing or info is None or info["state"] == "running" or info.get("result") != "success"

    def begin(self, job: Job, node: Node) -> None:
        """Start the preparation on a node, unless it runs there."""
        info = self._info(job, node.id, "preparation")
        if info is None or info["state"] != "running":
            self._run("preparation", job, node, retry_count=0)

    def release(self, job: Job) -> list[str]:
        """End preparations, start release tasks; gives the nodes that are not through."""
        busy = []
        for node_id, entry in list(job.prepared.items()):
            node = self.engine.nodes.find(entry["poolId"], node_id)
            if node is None or node.state not in ("idle", "running", "offline"):
                continue
            preparation = self._info(job, node_id, "preparation")
            release = self._info(job, node_id, "release")
            if preparation is not None and preparation["state"] == "running":
                run = Run("preparation", job.key, node_id, entry["attempt"], job.seq)
                self._give_up(run)
                busy.append(node_id)
            elif "jobReleaseTask" in job.doc and release is None:
                self._run("release", job, node, retry_count=0)
                busy.append(node_id)
            elif release is not None and release["state"] == "running":
                busy.append(node_id)
        return busy

    def give_up(self, job: Job) -> None:
        """End what still runs for a job that is over: one that was ended by force waited for no node."""
        for node_id, entry in list(job.prepared.items()):
            for kind in PART:
                info = self._info(job, node_id, kind)
                if info is not None and info["state"] == "running":
                    self._give_up(Run(kind, job.key, node_id, entry["attempt"], job.seq))

    def over(self, run: Run, outcome: Outcome) -> None:
        """A preparation or a release is over on a node."""
        job = self.store.jobs.get(run.owner)
        entry = job.prepared.get(run.name) if job else None
        if job is None or entry is None or (entry["attempt"], job.seq) != (run.attempt, run.seq):
            self._let_go(run)
            return
        info = entry[f"{PART[run.kind]}ExecutionInfo"]
        node = self.engine.nodes.find(entry["poolId"], run.name)
        timed_out = run in self._timed_out
        failed = TIMED_OUT if timed_out else outcome.failure
        if failed is None and outcome.exit_code != 0:
            failed = EXIT_CODE
        if failed is EXIT_CODE and node is not None and run not in self._given_up and self._retry(run, job, node, info):
            return
        self._let_go(run)
        self._conclude(job, run.name, run.kind, outcome, failed)
        self.store.save(job)
        if run.kind == "preparation" and node is not None:
            ready = failed is None
            if not ready and job.doc["jobPreparationTask"]["waitForSuccess"] and job.key not in node.ineligible:
                node.ineligible.append(job.key)
                self.store.save(node)
            self.engine.scheduling.prepared(job, node, ready=ready)
        self.engine.jobs.progress(job)

    def node_gone(self, job: Job, node_id: str, *, reimaged: bool = False) -> None:
        """A node went away or boots again: what ran there runs no longer, and runs again when it has to.

        A preparation that was cut short always does, and every one of a reimaged node (REST reference,
        ``rerunOnNodeRebootAfterSuccess``).
        """
        entry = job.prepared[node_id]
        preparation = entry.get("jobPreparationTaskExecutionInfo", {})
        release = entry.get("jobReleaseTaskExecutionInfo", {})
        runs = [Run(kind, job.key, node_id, entry["attempt"], job.seq) for kind in PART]
        if "running" in (preparation.get("state"), release.get("state")):
            entry["attempt"] = self.store.next_seq()  # the end of those says nothing any more
        elif job.state == "completed":
            return
        if preparation.get("state") == "running":
            self._conclude(job, node_id, "preparation", Outcome(), ENDED)
            entry["rerun"] = True
        elif reimaged or job.doc["jobPreparationTask"]["rerunOnNodeRebootAfterSuccess"]:
            entry["rerun"] = True
        if release.get("state") == "running":
            del entry["jobReleaseTaskExecutionInfo"]
        for run in runs:
            self._let_go(run)
            self.engine.kill(run)
        self.store.save(job)
        self.engine.at(self.engine.now(), self.engine.jobs.progress, job)

    def forget(self, job: Job) -> None:
        """A job is gone: a new one of its id may run where this one's preparation failed."""
        for pool in self.store.pools:
            for node in self.store.nodes(pool.key):
                if job.key in node.ineligible:
                    node.ineligible.remove(job.key)
                    self.store.save(node)

    def recover(self) -> None:
        """Take jobs up again after a restart: all nodes booted."""
        for job in self.store.jobs:
            for node_id in job.prepared:
                for kind in PART:
                    self._watch_retention(job, node_id, kind)
                self.node_gone(job, node_id)

    def _run(self, kind: str, job: Job, node: Node, *, retry_count: int) -> None:
        settings = job.doc[PART[kind]]
        now = self.engine.now()
        entry: dict[str, Any] = job.prepared.setdefault(
            node.id, {"poolId": self.engine.nodes.pool_id(node), "nodeId": node.id}
        )
        if kind == "preparation":
            entry.pop("rerun", None)
        # Never the same twice: the run before it may speak late.
        entry["attempt"] = self.store.next_seq()
        launch = self.engine.launches.of_part(kind, job, node, entry["attempt"])
        root = self.engine.launches.relative(node, launch.directory)
        info: Doc = {"startTime": formats.timestamp(now, 6), "state": "running", "taskRootDirectory": root}
        if kind == "preparation":
            info["retryCount"] = retry_count
        entry[f"{PART[kind]}ExecutionInfo"] = info
        self.store.save(job)
        limit = settings["constraints"]["maxWallClockTime"] if kind == "preparation" else settings["maxWallClockTime"]
        self.engine.after(formats.seconds_of(limit), now, self._wall_clock, launch.run)
        self.engine.launch(launch)

    def _conclude(self, job: Job, node_id: str, kind: str, outcome: Outcome, failed: Doc | None) -> None:
        info = job.prepared[node_id][f"{PART[kind]}ExecutionInfo"]
        info["state"] = "completed"
        info["endTime"] = formats.timestamp(self.engine.now(), 6)
        outcome.write(info, failed)
        self._watch_retention(job, node_id, kind)

    def _watch_retention(self, job: Job, node_id: str, kind: str) -> None:
        info = self._info(job, node_id, kind)
        if info is None or info["state"] != "completed":
            return
        settings = job.doc[PART[kind]]
        kept = settings["constraints"]["retentionTime"] if kind == "preparation" else settings["retentionTime"]
        ended = formats.parse_timestamp(info["endTime"])
        self.engine.after(formats.seconds_of(kept), ended, self._retention_over, job, node_id, kind, info["endTime"])

    def _retention_over(self, job: Job, node_id: str, kind: str, ended: str) -> None:
        info = self._info(job, node_id, kind) or {}
        node = self.engine.nodes.find(job.prepared[node_id]["poolId"], node_id)
        if self.store.jobs.get(job.key) is job and info.get("endTime") == ended and node is not None:
            shutil.rmtree(self.engine.launches.part_directory(kind, job, node), ignore_errors=True)

    def _retry(self, run: Run, job: Job, node: Node, info: Doc) -> bool:
        if run.kind != "preparation" or job.state in ("terminating", "deleting"):
            return False
        most = job.doc["jobPreparationTask"]["constraints"]["maxTaskRetryCount"]
        if 0 <= most <= info["retryCount"]:
            return False
        self._run("preparation", job, node, retry_count=info["retryCount"] + 1)
        return True

    def _wall_clock(self, run: Run) -> None:
        job = self.store.jobs.get(run.owner)
        entry = job.prepared.get(run.name) if job else None
        info = (entry or {}).get(f"{PART[run.kind]}ExecutionInfo", {})
        if entry is not None and entry["attempt"] == run.attempt and info.get("state") == "running":
            self._timed_out.add(run)
            self.engine.kill(run)

    def _give_up(self, run: Run) -> None:
        self._given_up.add(run)
        self.engine.kill(run)

    def _let_go(self, run: Run) -> None:
        self._timed_out.discard(run)
        self._given_up.discard(run)

    @staticmethod
    def _info(job: Job, node_id: str, kind: str) -> Doc | None:
        info: Doc | None = job.prepared.get(node_id, {}).get(f"{PART[kind]}ExecutionInfo")
        return info
