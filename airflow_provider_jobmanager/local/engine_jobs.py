"""Jobs: made, changed, disabled, ended, deleted.

Rules of the REST reference (Job operations) with what recorded traffic shows of states, tags and reasons; see
:mod:`.machines`. ``terminateReason`` stands on a job from the moment that it is terminating.
"""

from __future__ import annotations

import shutil
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import autoscale, bodies, documents, errors, formats
from airflow_provider_jobmanager.local.launches import failure
from airflow_provider_jobmanager.local.machines import JOB, settled, touch
from airflow_provider_jobmanager.local.records import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Schedule, Task

SETTLE = timedelta(milliseconds=50)
"""How long a passing state (disabling, terminating, deleting) lasts at least; recorded: 0.05 to 0.5 s."""
ALL_COMPLETE_DELAY = timedelta(seconds=1)
"""onAllTasksComplete is looked at later, not when it is written; recorded: not within 0.5 s."""

_BUSY = {
    "completed": "JobCompleted",
    "terminating": "JobBeingTerminated",
    "deleting": "JobBeingDeleted",
}


class Jobs:
    """Everything that happens to a job as a whole."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

    # -- asked for by users -------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """A job by its id, in any case.

        Raises:
            BatchError: 404 ``JobNotFound``.
        """
        job = self.store.jobs.get(job_id)
        if job is None:
            raise errors.refuse("JobNotFound")
        return job

    def changeable(self, job_id: str) -> Job:
        """A job that still takes tasks and changes.

        Raises:
            BatchError: 404, or 409 that names the state in the way.
        """
        job = self.get(job_id)
        if job.state in _BUSY:
            raise errors.refuse(_BUSY[job.state])
        return job

    def create(self, body: Any) -> Job:
        """A new job, with its manager as its first task."""
        settings = documents.job(bodies.JOB(body))
        self.engine.check_storage(settings)
        present = self.store.jobs.get(settings["id"])
        if present is not None:
            raise errors.refuse("JobBeingDeleted" if present.state == "deleting" else "JobExists")
        if self.store.schedules.get(settings["id"]) is not None:
            raise errors.refuse("JobScheduleWithSameIdExists")
        self.check_quota()
        return self.make(settings, [settings["id"], "job-1"])

    def make(self, settings: Doc, directory: list[str], schedule: Schedule | None = None) -> Job:
        """A job of settings that were checked."""
        now = self.engine.now()
        stamp = formats.timestamp(now)
        doc: Doc = dict(settings)
        doc["creationTime"] = stamp
        touch(doc, now)
        JOB.begin(doc, "active", now)
        doc["executionInfo"] = {"startTime": stamp}
        job = Job(doc["id"].lower(), doc, self.store.next_seq(), directory=directory)
        job.schedule = schedule.key if schedule else None
        self._give_pool(job, schedule)
        self.store.save(job)
        if "jobManagerTask" in doc:
            self.engine.tasks.make_manager(job)
        self._watch(job)
        return job

    def patch(self, job: Job, body: Any) -> None:
        """Replace each member that is given, whole; keep the others."""
        self._update(job, bodies.JOB_PATCH(body))

    def put(self, job: Job, body: Any) -> None:
        """Replace everything that can be changed; what is not given goes back to its default."""
        given = bodies.JOB_PUT(body)
        settings = {name: given[name] for name in bodies.JOB_PATCH.members if name in given}
        defaults: Doc = {"priority": 0, "maxParallelTasks": -1, "allowTaskPreemption": False, "constraints": {}}
        # Documented as one-way, so leaving it out can't mean going back.
        defaults["onAllTasksComplete"] = job.doc["onAllTasksComplete"]
        self._update(job, {**defaults, **settings})
        if "metadata" not in settings:
            job.doc.pop("metadata", None)

    def disable(self, job: Job, body: Any) -> None:
        """Stop scheduling; running tasks are requeued, ended or waited for."""
        self.disable_with(job, bodies.DISABLE(body)["disableTasks"], by_user=True)

    def disable_with(self, job: Job, tasks: str, *, by_user: bool = False) -> None:
        """Disable for a user, or for an exit condition that says so."""
        now = self.engine.now()
        if by_user:
            if job.state in _BUSY:
                raise errors.refuse(_BUSY[job.state])
            if job.state != "active":
                touch(job.doc, now)
        if job.state == "active":
            JOB.move(job.doc, "disabling", "disable", now)
            self.engine.scheduling.suspend(job)
            self.engine.at(now + SETTLE, self.progress, job)
        if tasks != "wait":
            self.engine.scheduling.end_tasks(job, "user requeue" if tasks == "requeue" else "disabled")
        self.store.save(job)

    def enable(self, job: Job) -> None:
        """Let a disabled job go on."""
        if job.state in _BUSY:
            raise errors.refuse(_BUSY[job.state])
        if job.state != "disabled":
            raise errors.refuse("OperationInvalidForCurrentState", values={"Reason": f"The job is {job.state}"})
        JOB.move(job.doc, "active", "enable", self.engine.now())
        self.engine.scheduling.resume(job)
        self.watch_all_complete(job)
        self.store.save(job)

    def terminate(self, job: Job, body: Any, *, force: bool = False) -> None:
        """End a job for a user."""
        reason = (bodies.TERMINATE(body) if body is not None else {}).get("terminateReason") or "UserTerminate"
        if job.state in _BUSY:
            raise errors.refuse(_BUSY[job.state])
        job.force = force
        self.end(job, reason, by_user=True)

    def delete(self, job: Job, *, force: bool = False) -> None:
        """Delete a job with its tasks and their directories; it is gone a little later."""
        if job.state == "deleting":
            raise errors.refuse("JobBeingDeleted")
        now = self.engine.now()
        job.force = force or job.force
        JOB.move(job.doc, "deleting", "delete", now)
        self.engine.scheduling.suspend(job)
        self.engine.scheduling.end_tasks(job, "job")
        self.engine.at(now + SETTLE, self.progress, job)
        self.store.save(job)

    # -- brought about by the service ---------------------------------------------------------------------------------

    def end(self, job: Job, reason: str, *, by_user: bool = False) -> None:
        """Terminate a job: running tasks are ended, active ones stay active and never run.

        Nothing happens to a job that is already on its way out: the first reason stands.
        """
        if job.state in _BUSY:
            return
        now = self.engine.now()
        JOB.move(job.doc, "terminating", "terminate" if by_user else "service", now)
        job.doc["executionInfo"]["terminateReason"] = reason
        self.engine.scheduling.suspend(job)
        self.engine.scheduling.end_tasks(job, "job")
        self.engine.at(now + SETTLE, self.progress, job)
        self.store.save(job)

    def progress(self, job: Job) -> None:
        """Take a job out of a passing state once nothing holds it there any more."""
        now = self.engine.now()
        if self.store.jobs.get(job.key) is not job or job.state not in JOB.passing:
            return
        if not settled(job.doc["stateTransitionTime"], SETTLE, now):
            return  # its own timer will come
        waiting = self.engine.scheduling.holding(job)
        if job.state == "disabling":
            if not waiting:
                JOB.move(job.doc, "disabled", "tasks dealt with", now)
                self.store.save(job)
            return
        if not job.force and not waiting:
            waiting = self.engine.scheduling.release(job)
            if self.store.jobs.get(job.key) is not job or job.state not in JOB.passing:
                return  # the last run ended as it was told to, and that took the job on
        if waiting and not job.force:
            self._await_nodes(job, waiting)
        elif job.state == "terminating":
            self._complete(job)
        else:
            self._forget(job)

    def all_tasks_complete(self, job: Job) -> None:
        """End a job whose tasks are all completed, when it wants that; one without tasks counts as such."""
        if (
            self.store.jobs.get(job.key) is job
            and job.state not in _BUSY
            and job.doc["onAllTasksComplete"] == "terminatejob"
            and all(task.state == "completed" for task in self.store.tasks(job.key))
        ):
            self.end(job, "AllTasksComplete")

    def task_completed(self, job: Job, task: Task, action: str) -> None:
        """What the completion of a task means for its job.

        Args:
            job: the job.
            task: the task that is completed now.
            action: the job action of its exit condition: none, disable or terminate.
        """
        if action == "terminate":
            self.end(job, "TaskFailed")
        if task.is_manager and job.doc["jobManagerTask"]["killJobOnCompletion"]:
            # Whether it succeeded or failed: the job's reason does not tell.
            self.end(job, "JMComplete")
        if action == "disable" and job.state == "active":
            self.disable_with(job, "requeue")
        self.watch_all_complete(job)
        self.progress(job)

    def recover(self) -> None:
        """Take jobs up again after a restart."""
        for job in self.store.jobs:
            if job.state == "completed":
                continue
            self._watch(job)
            self.engine.at(self.engine.now() + SETTLE, self.progress, job)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _update(self, job: Job, settings: Doc) -> None:
        if job.state in _BUSY:
            raise errors.refuse(_BUSY[job.state])
        documents.check_metadata(settings.get("metadata"))
        if settings.get("maxParallelTasks") == 0:
            raise errors.invalid_property("maxParallelTasks", "0", "The value must be -1 or greater than 0")
        after = settings.get("onAllTasksComplete", job.doc["onAllTasksComplete"])
        if after == "noaction" != job.doc["onAllTasksComplete"]:
            raise errors.invalid_property(
                "onAllTasksComplete", after, "Once it is terminatejob it can't be changed back to noaction"
            )
        if "poolInfo" in settings:
            self._update_pool(job, settings.pop("poolInfo"))
        if "constraints" in settings:
            settings["constraints"] = documents.job_constraints(settings["constraints"])
        job.doc.update(settings)
        touch(job.doc, self.engine.now())
        self.engine.scheduling.reorder(job)
        self._watch(job)
        self.store.save(job)

    def _update_pool(self, job: Job, info: Doc) -> None:
        documents.check_pool_info(info)
        if "autoPoolSpecification" in info:
            auto = job.doc["poolInfo"].get("autoPoolSpecification")
            if auto is None:
                raise errors.invalid_property("poolInfo", None, "A job can't be moved to an auto pool")
            auto["keepAlive"] = info["autoPoolSpecification"].get("keepAlive", False)
            return
        if info["poolId"].lower() == job.doc["poolInfo"].get("poolId", "").lower():
            return  # the service takes an unchanged pool id in any state
        if job.state != "disabled":
            raise errors.invalid_property(
                "poolInfo", info["poolId"], "The pool of a job can be changed only while the job is disabled"
            )
        self._drop_auto_pool(job)
        job.auto_pool = False
        job.doc["poolInfo"] = info
        job.doc["executionInfo"]["poolId"] = info["poolId"]

    def _give_pool(self, job: Job, schedule: Schedule | None) -> None:
        info = job.doc["poolInfo"]
        if "poolId" in info:
            job.doc["executionInfo"]["poolId"] = info["poolId"]
            return
        auto = info["autoPoolSpecification"]
        of_schedule = auto["poolLifetimeOption"] == "jobschedule"
        if of_schedule and schedule is None:
            raise errors.invalid_property(
                "poolLifetimeOption", "jobschedule", "Only the pool of a job schedule can live as long as one"
            )
        shared = self.store.pools.get(schedule.pool) if of_schedule and schedule and schedule.pool else None
        if shared is not None:
            job.doc["executionInfo"]["poolId"] = shared.id
            return
        guid = str(uuid.uuid4()).upper()
        prefix = auto.get("autoPoolIdPrefix")
        pool_id = f"{prefix}_{guid}" if prefix else guid
        job.doc["executionInfo"]["poolId"] = pool_id
        if of_schedule and schedule is not None:
            schedule.pool = pool_id.lower()
        job.auto_pool = not of_schedule
        pool = auto["pool"]
        if pool["targetDedicatedNodes"] + pool["targetLowPriorityNodes"] > self.engine.settings.node_quota:
            message = f"The local account has a quota of {self.engine.settings.node_quota} nodes (node_quota)"
            self._fail(job, failure("UserError", "AutoPoolCreationFailedWithQuotaReached", message))
            return
        try:
            autoscale.check_formula(pool.get("autoScaleFormula", ""))
        except errors.BatchError as error:
            said = "; ".join(str(value) for _, value in error.values)
            self._fail(job, failure("UserError", "InvalidAutoScaleFormulaInAutoPool", f"{error.message} {said}"))
            return
        self.engine.pools.make({"id": pool_id, **pool})

    def _fail(self, job: Job, error: Doc) -> None:
        """Complete a job that can't be scheduled; it has no reason then, only the error."""
        now = self.engine.now()
        JOB.move(job.doc, "completed", "scheduling error", now)
        info = job.doc["executionInfo"]
        job.doc["executionInfo"] = {
            "startTime": info["startTime"],
            "endTime": formats.timestamp(now),
            "poolId": info["poolId"],
            "schedulingError": error,
        }
        if job.schedule is not None:
            self.engine.at(now + SETTLE, self.engine.schedules.job_over, job.schedule)

    def check_quota(self) -> None:
        """Room for one more active job or schedule.

        Raises:
            BatchError: 409 ``ActiveJobAndScheduleQuotaReached``.
        """
        quota = self.engine.settings.active_job_quota
        if quota is None:
            return
        active = sum(job.state != "completed" for job in self.store.jobs)
        active += sum(schedule.state != "completed" for schedule in self.store.schedules)
        if active >= quota:
            raise errors.refuse("ActiveJobAndScheduleQuotaReached")

    def _watch(self, job: Job) -> None:
        """See to its wall clock, counted from creation, and to the completion of all its tasks."""
        created = formats.parse_timestamp(job.doc["creationTime"])
        limit = job.doc["constraints"]["maxWallClockTime"]
        self.engine.after(formats.seconds_of(limit), created, self._wall_clock, job, limit)
        self.watch_all_complete(job)

    def _wall_clock(self, job: Job, limit: str) -> None:
        if self.store.jobs.get(job.key) is job and job.doc["constraints"]["maxWallClockTime"] == limit:
            self.end(job, "MaxWallClockTimeExpiry")

    def watch_all_complete(self, job: Job) -> None:
        """See to the completion of all tasks, a little later."""
        if job.doc["onAllTasksComplete"] == "terminatejob" and job.state not in _BUSY:
            self.engine.at(self.engine.now() + ALL_COMPLETE_DELAY, self.all_tasks_complete, job)

    def _await_nodes(self, job: Job, nodes: Iterable[str]) -> None:
        code = f"Job{'Termination' if job.state == 'terminating' else 'Deletion'}AwaitingNodeProcessing"
        message = "The job is waiting for nodes to finish processing it"
        info = failure("ServerError", code, message, **{"Number of nodes awaiting processing": str(len(set(nodes)))})
        job.doc["executionInfo"]["schedulingError"] = info
        self.store.save(job)

    def _complete(self, job: Job) -> None:
        now = self.engine.now()
        JOB.move(job.doc, "completed", "nodes done", now)
        info = job.doc["executionInfo"]
        info.pop("schedulingError", None)
        ordered = {"startTime": info["startTime"], "endTime": job.doc["stateTransitionTime"], **info}
        job.doc["executionInfo"] = ordered
        self.store.save(job)
        self._over(job)

    def _forget(self, job: Job) -> None:
        self.engine.scheduling.forget(job)
        for directory in self.engine.launches.directories(job):
            shutil.rmtree(directory, ignore_errors=True)
        self.engine.scheduling.preparation.forget(job)
        self.store.remove(job)
        self._over(job)

    def _over(self, job: Job) -> None:
        self.engine.scheduling.preparation.give_up(job)
        if job.schedule is not None:
            self.engine.schedules.job_over(job.schedule)
        self._drop_auto_pool(job)

    def _drop_auto_pool(self, job: Job) -> None:
        if job.auto_pool and not job.doc["poolInfo"]["autoPoolSpecification"]["keepAlive"]:
            pool = self.store.pools.get(job.doc["executionInfo"]["poolId"])
            if pool is not None and pool.state == "active":
                self.engine.pools.delete(pool)
