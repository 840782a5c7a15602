"""Conversations with the Batch service, each written once.

A flow is a generator: it yields a :class:`~.calls.Call` or a :class:`~.calls.Pause`, is sent the
:class:`~.calls.Answer`, or is thrown the :class:`~airflow_provider_jobmanager.errors.ServiceError` that came
instead. :mod:`airflow_provider_jobmanager.account` drives it on the synchronous or the asynchronous client.

This module reads; :mod:`.submitting` and :mod:`.stopping` act. Flows decide on the service's error code, never on the
status alone: a 409 may be "exists", "completed", "quota" and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch import calls, shapes
from airflow_provider_jobmanager.batch.exit_options import failure_ends_job
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.verdict import (
    TASK_ENDED,
    Verdict,
    WaitFor,
    children_count_in,
    judge,
    manager_id_of,
    moment,
)
from airflow_provider_jobmanager.errors import ServiceRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from airflow_provider_jobmanager.batch.calls import Call, Flow, Json

VERDICT_SELECT = (
    "id",
    "state",
    "stateTransitionTime",
    "creationTime",
    "executionInfo",
    "jobManagerTask",
    "onAllTasksComplete",
)
"""Job members that a verdict needs; not the payload around them."""

MANAGER_SELECT = ("id", "state", "stateTransitionTime", "executionInfo", "nodeInfo")
"""Task members that a verdict needs."""

CHILDREN_READ = 10_000
"""Failed children that are read: ten pages. Their number alone matters, and beyond this only that it is large."""


def read_verdict(
    job_id: str,
    *,
    wait_for: WaitFor = "job",
    children_count: bool | None = None,
    job: Mapping[str, Any] | None = None,
    manager_id: str = "",
    created_at: datetime | None = None,
    patience: Patience | None = None,
    settle: Iterable[float] = (0.5, 1, 2, 4, 8, 15, 30, 60),
) -> Flow[Verdict | None]:
    """Look at a job and judge it.

    Args:
        job_id: the job.
        wait_for: the end of the ``"job"`` or of the ``"job_manager"`` alone.
        children_count: whether failed children make an otherwise succeeded job fail; None for when the job outlives
            its manager.
        job: what a list said of the job a moment ago, to save a request.
        manager_id: the manager's id when known, to save another.
        created_at: when the job was created, where that is known: a later job of the same id is another one.
        patience: how long to put up with a service that gives no usable answer.
        settle: pauses in seconds between looks at a manager whose record lags its completed job.

    Returns:
        The verdict, or None while the job goes on.
    """
    patience = patience or Patience()
    if job is None:
        job = yield from job_or_none(job_id, patience, select=VERDICT_SELECT)
        if job is None:
            return judge(None, None, job_id=job_id)
    created = moment(job.get("creationTime"))
    if created_at is not None and created is not None and created != created_at:
        # The job was deleted and its id used again. (An earlier one can only be an old answer.)
        return judge(None, None, job_id=job_id) if created > created_at else None
    state = str(job.get("state")).lower()
    if state != "completed" and wait_for == "job":
        return None
    manager_id = manager_id or manager_id_of(job)
    if children_count is None:
        children_count = children_count_in(job)
    pauses = iter(settle)
    while True:
        manager = failed = culprit = None
        try:
            if manager_id:
                manager = yield from task_or_none(job_id, manager_id, patience)
            if children_count and state == "completed":
                failed = yield from failed_children(job_id, manager_id, patience=patience)
            if str((job.get("executionInfo") or {}).get("terminateReason")).lower() == "taskfailed":
                culprit = yield from _culprit(job_id, patience)
        except ServiceRefused as refusal:
            if refusal.code != "JobNotFound":
                raise
            return judge(None, None, job_id=job_id)  # deleted before its tasks could be asked for
        pause = None if state != "completed" else next(pauses, None)
        verdict = judge(
            job,
            manager,
            job_id=job_id,
            wait_for=wait_for,
            failed_children=None if failed is None else len(failed),
            more_failed_children=failed is not None and len(failed) >= CHILDREN_READ,
            children_count=children_count,
            failed_task=culprit,
            settled=pause is None,
        )
        if verdict is not None or pause is None:
            return verdict
        yield calls.Pause(pause)


def find_job(job_id: str, *, patience: Patience | None = None) -> Flow[Json | None]:
    """What a verdict needs to know of a job; None when there is no job of that id."""
    return (yield from job_or_none(job_id, patience or Patience(), select=VERDICT_SELECT))


def task_is_over(job_id: str, task_id: str, *, patience: Patience | None = None) -> Flow[bool]:
    """Whether a task is completed; False when it is not there."""
    try:
        task = yield from task_or_none(job_id, task_id, patience or Patience())
    except ServiceRefused as refusal:
        if refusal.code != "JobNotFound":
            raise
        return False
    return str((task or {}).get("state")).lower() == "completed"


def newest_job(job_schedule_id: str, *, patience: Patience | None = None) -> Flow[str | None]:
    """Id of the job that a job schedule made last; None while it has made none.

    The service names it as ``executionInfo.recentJob``
    (https://learn.microsoft.com/rest/api/batchservice/job-schedules/get-job-schedule).

    Raises:
        ServiceRefused: with code ``JobScheduleNotFound`` when there is no such schedule.
    """
    request = calls.get("jobschedules", job_schedule_id, select=("id", "state", "executionInfo"))
    answer = yield from patiently(request, patience or Patience(), shapes.check_schedule)
    recent = (answer.data.get("executionInfo") or {}).get("recentJob") or {}
    return str(recent["id"]) if recent.get("id") else None


def failed_children(
    job_id: str, manager_id: str, *, limit: int = CHILDREN_READ, patience: Patience | None = None
) -> Flow[list[Json]]:
    """Tasks other than the manager that failed by themselves: those that their job's end ended are left out.

    Args:
        job_id: the job.
        manager_id: its manager.
        limit: how many at most; there may be more then.
        patience: how long to put up with a service that gives no usable answer.
    """
    return (yield from _failed(job_id, manager_id, ("id", "executionInfo"), limit, patience or Patience()))


def _culprit(job_id: str, patience: Patience) -> Flow[Json | None]:
    """The task that ended a job by its failure: the first that failed of those whose failure ends it."""
    members = ("id", "executionInfo", "exitConditions")
    tasks = yield from _failed(job_id, "", members, CHILDREN_READ, patience)
    guilty = [task for task in tasks if failure_ends_job(task)] or tasks
    return min(guilty, key=lambda task: str((task.get("executionInfo") or {}).get("endTime") or "~"), default=None)


def _failed(job_id: str, but: str, select: tuple[str, ...], limit: int, patience: Patience) -> Flow[list[Json]]:
    def by_itself(task: Json) -> bool:
        shapes.check_task(task)
        return str(task["id"]).lower() != but.lower() and _failure_code(task) != TASK_ENDED.lower()

    failed = "executionInfo/result eq 'failure'"
    request = calls.rows("jobs", job_id, "tasks", filter=failed, select=select, limit=limit, keep=by_itself)
    answer = yield from patiently(request, patience)
    return list(answer.data)


def _failure_code(task: Mapping[str, Any]) -> str:
    failure = (task.get("executionInfo") or {}).get("failureInfo") or {}
    return str(failure.get("code") or "").lower()


def job_or_none(job_id: str, patience: Patience, select: tuple[str, ...] = ()) -> Flow[Json | None]:
    """The job, only the members of ``select`` when given; None when it does not exist."""
    request = calls.get("jobs", job_id, select=select)
    return (yield from _or_none(request, "JobNotFound", patience, shapes.check_job))


def task_or_none(job_id: str, task_id: str, patience: Patience) -> Flow[Json | None]:
    """What a verdict needs to know of a task; None when the job has none of that id."""
    request = calls.get("jobs", job_id, "tasks", task_id, select=MANAGER_SELECT)
    return (yield from _or_none(request, "TaskNotFound", patience, shapes.check_manager))


def _or_none(request: Call, gone: str, patience: Patience, check: Callable[[Any], None]) -> Flow[Json | None]:
    try:
        answer = yield from patiently(request, patience, check)
    except ServiceRefused as refusal:
        if refusal.code == gone:
            return None
        raise
    return dict(answer.data)
