"""Job schedules: jobs made again and again.

Rules of the REST reference (Job Schedules operations); ids of jobs, ``executionInfo`` and states as in recorded
traffic. When a run is due is :mod:`.recurrence`'s business.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import bodies, documents, errors, formats
from airflow_provider_jobmanager.local.machines import JOB_SCHEDULE, touch
from airflow_provider_jobmanager.local.records import Schedule
from airflow_provider_jobmanager.local.recurrence import Recurrence, check_schedule

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Job

log = logging.getLogger(__name__)

SETTLE = timedelta(milliseconds=10)
"""How long the end of a schedule takes at least; recorded: 10 ms."""

_MOMENT = timedelta(microseconds=1)
_END_OF_TIME = datetime.max.replace(tzinfo=timezone.utc)
_BUSY = {
    "completed": "JobScheduleCompleted",
    "terminating": "JobScheduleBeingTerminated",
    "deleting": "JobScheduleBeingDeleted",
}


class Schedules:
    """Everything that happens to a job schedule."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

    # -- asked for by users -------------------------------------------------------------------------------------------

    def get(self, schedule_id: str) -> Schedule:
        """A job schedule by its id, in any case.

        Raises:
            BatchError: 404 ``JobScheduleNotFound``.
        """
        schedule = self.store.schedules.get(schedule_id)
        if schedule is None:
            raise errors.refuse("JobScheduleNotFound")
        return schedule

    def create(self, body: Any) -> Schedule:
        """A new job schedule; its first job may be there at once."""
        given = bodies.SCHEDULE(body)
        present = self.store.schedules.get(given["id"])
        if present is not None:
            raise errors.refuse("JobScheduleBeingDeleted" if present.state == "deleting" else "JobScheduleExists")
        if given["id"].lower() in self.store.jobs:
            raise errors.refuse("JobWithSameIdExists")
        documents.check_metadata(given.get("metadata"))
        self.engine.jobs.check_quota()
        now = self.engine.now()
        doc: Doc = {name: given[name] for name in ("id", "displayName", "metadata") if name in given}
        self._set(doc, given)
        doc["creationTime"] = formats.timestamp(now)
        touch(doc, now)
        JOB_SCHEDULE.begin(doc, "active", now)
        doc["executionInfo"] = {}
        schedule = Schedule(doc["id"].lower(), doc, self.store.next_seq(), since=doc["creationTime"])
        self.store.save(schedule)
        self.look(schedule)
        return schedule

    def patch(self, schedule: Schedule, body: Any) -> None:
        """Replace each member that is given, whole; the change reaches the jobs made from now on."""
        self._refuse_busy(schedule)
        given = bodies.SCHEDULE_PATCH(body)
        documents.check_metadata(given.get("metadata"))
        self._set(schedule.doc, given)
        if "metadata" in given:
            schedule.doc["metadata"] = given["metadata"]
        self._changed(schedule)

    def put(self, schedule: Schedule, body: Any) -> None:
        """Replace everything that can be changed; what is not given goes."""
        self._refuse_busy(schedule)
        given = {"schedule": {}, **bodies.SCHEDULE_PUT(body)}
        documents.check_metadata(given.get("metadata"))
        self._set(schedule.doc, given)
        schedule.doc.pop("metadata", None)
        if "metadata" in given:
            schedule.doc["metadata"] = given["metadata"]
        self._changed(schedule)

    def disable(self, schedule: Schedule) -> None:
        """Make no more jobs."""
        self._refuse_busy(schedule)
        if schedule.state == "active":
            JOB_SCHEDULE.move(schedule.doc, "disabled", "disable", self.engine.now())
            schedule.doc["executionInfo"].pop("nextRunTime", None)
            self.store.save(schedule)

    def enable(self, schedule: Schedule) -> None:
        """Make jobs again; runs that were missed are not made up for, and a single run that was had is had."""
        self._refuse_busy(schedule)
        if schedule.state == "disabled":
            now = self.engine.now()
            JOB_SCHEDULE.move(schedule.doc, "active", "enable", now)
            schedule.since = formats.timestamp(now)
            if self._recurrence(schedule).interval is not None:
                schedule.last = None
            self.store.save(schedule)
            self.look(schedule)

    def terminate(self, schedule: Schedule) -> None:
        """End a schedule and its job."""
        self._refuse_busy(schedule)
        now = self.engine.now()
        JOB_SCHEDULE.move(schedule.doc, "terminating", "terminate", now)
        self.store.save(schedule)
        for job in self.jobs(schedule):
            self.engine.jobs.end(job, "TerminateJobSchedule")
        self.engine.at(now + SETTLE, self.progress, schedule)

    def delete(self, schedule: Schedule) -> None:
        """Delete a schedule with all its jobs."""
        if schedule.state == "deleting":
            raise errors.refuse("JobScheduleBeingDeleted")
        now = self.engine.now()
        if schedule.state == "completed":
            # Recorded traffic: what shows its end shows the next run again, though none will be.
            step = self._recurrence(schedule).look(now, self._last(schedule), active=True)
            if step.next_run is not None:
                schedule.doc["executionInfo"] = {"nextRunTime": formats.timestamp(step.next_run)}
        JOB_SCHEDULE.move(schedule.doc, "deleting", "delete", now)
        self.store.save(schedule)
        for job in self.jobs(schedule):
            if job.state != "deleting":
                self.engine.jobs.delete(job)
        self.engine.at(now + SETTLE, self.progress, schedule)

    # -- brought about by the service ---------------------------------------------------------------------------------

    def jobs(self, schedule: Schedule) -> list[Job]:
        """The jobs of a schedule that are there."""
        return [job for job in self.store.jobs if job.schedule == schedule.key]

    def look(self, schedule: Schedule) -> None:
        """Make a job when one is due, and see when the next one is."""
        if self.store.schedules.get(schedule.key) is not schedule or schedule.state != "active":
            return
        now = self.engine.now()
        recurrence = self._recurrence(schedule)
        step = recurrence.look(now, self._last(schedule), active=self._is_active(schedule))
        info = schedule.doc["executionInfo"]
        info.pop("nextRunTime", None)
        if step.next_run is not None:
            schedule.doc["executionInfo"] = {"nextRunTime": formats.timestamp(step.next_run), **info}
        if step.create is not None:
            self._make_job(schedule, step.create)
        self._wake(schedule, step.next_run, recurrence)
        if step.completed:
            JOB_SCHEDULE.move(schedule.doc, "completed", "no more recurrences", now)
            self._end(schedule)
        self.store.save(schedule)

    def job_over(self, key: str) -> None:
        """A job of a schedule is completed or gone."""
        schedule = self.store.schedules.get(key)
        if schedule is not None:
            self.look(schedule)
            self.progress(schedule)

    def progress(self, schedule: Schedule) -> None:
        """Take a schedule out of a passing state once nothing holds it there any more."""
        if self.store.schedules.get(schedule.key) is not schedule:
            return
        jobs = self.jobs(schedule)
        if schedule.state == "deleting" and not jobs:
            self._drop_pool(schedule)
            self.store.remove(schedule)
        elif schedule.state == "terminating" and all(job.state == "completed" for job in jobs):
            JOB_SCHEDULE.move(schedule.doc, "completed", "jobs done", self.engine.now())
            self._end(schedule)

    def recover(self) -> None:
        """Take schedules up again after a restart."""
        for schedule in self.store.schedules:
            try:
                self.look(schedule)
            except Exception:
                # One schedule that this version can't follow must not keep the whole account shut.
                log.exception("The job schedule %s can't be taken up; it makes no job", schedule.id)
            self.engine.at(self.engine.now() + SETTLE, self.progress, schedule)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _refuse_busy(self, schedule: Schedule) -> None:
        if schedule.state in _BUSY:
            raise errors.refuse(_BUSY[schedule.state])

    def _set(self, doc: Doc, given: Doc) -> None:
        """Take over what is given; refused before anything is changed."""
        if "schedule" in given:
            check_schedule(given["schedule"])
        if "jobSpecification" in given:
            self.engine.check_storage(given["jobSpecification"])
            doc["jobSpecification"] = documents.specification(given["jobSpecification"])
        if given.get("schedule"):
            doc["schedule"] = given["schedule"]
        elif "schedule" in given:
            doc.pop("schedule", None)  # an empty one is not shown

    def _changed(self, schedule: Schedule) -> None:
        touch(schedule.doc, self.engine.now())
        self.store.save(schedule)
        self.look(schedule)

    def _recurrence(self, schedule: Schedule) -> Recurrence:
        return Recurrence.of(schedule.doc.get("schedule", {}), formats.parse_timestamp(schedule.since))

    def _last(self, schedule: Schedule) -> datetime | None:
        return formats.parse_timestamp(schedule.last) if schedule.last else None

    def _is_active(self, schedule: Schedule) -> bool:
        recent = self.store.jobs.get(schedule.recent) if schedule.recent else None
        return recent is not None and recent.state != "completed"

    def _make_job(self, schedule: Schedule, run: datetime) -> None:
        schedule.count += 1
        schedule.last = formats.timestamp(run)
        job_id = f"{schedule.id}:job-{schedule.count}"
        settings = documents.job({"id": job_id, **deepcopy(schedule.doc["jobSpecification"])})
        schedule.recent = job_id
        # The service names the job by its URL too; that is made when it is read.
        schedule.doc["executionInfo"]["recentJob"] = {"id": job_id}
        self.engine.jobs.make(settings, [schedule.id, f"job-{schedule.count}"], schedule)

    def _wake(self, schedule: Schedule, next_run: datetime | None, recurrence: Recurrence) -> None:
        moments = [moment for moment in (next_run, recurrence.until) if moment is not None]
        if recurrence.until is not None and recurrence.until < _END_OF_TIME:
            moments.append(recurrence.until + _MOMENT)
        for moment in moments:
            if moment > self.engine.now():
                self.engine.at(moment, self.look, schedule)

    def _end(self, schedule: Schedule) -> None:
        schedule.doc["executionInfo"] = {"endTime": schedule.doc["stateTransitionTime"]}
        self._drop_pool(schedule)
        self.store.save(schedule)

    def _drop_pool(self, schedule: Schedule) -> None:
        pool = self.store.pools.get(schedule.pool) if schedule.pool else None
        keep = schedule.doc["jobSpecification"]["poolInfo"].get("autoPoolSpecification", {}).get("keepAlive", False)
        if pool is not None and pool.state == "active" and not keep:
            self.engine.pools.delete(pool)
