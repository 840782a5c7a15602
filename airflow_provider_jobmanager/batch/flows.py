"""Conversations with the Batch service, each written once.

A flow is a generator: it yields a :class:`~.calls.Call` or a :class:`~.calls.Pause`, is sent the
:class:`~.calls.Answer`, or is thrown the :class:`~airflow_provider_jobmanager.errors.ServiceError` that came
instead. :mod:`airflow_provider_jobmanager.account` drives it on the synchronous or the asynchronous client.

Flows decide on the service's error code, never on the status alone: a 409 may be "exists", "completed", "quota" and
more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor, judge, manager_id_of
from airflow_provider_jobmanager.errors import NotOurJob, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_jobmanager.batch.calls import Answer, Call, Flow, Json

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

_OVER = frozenset({"JobCompleted", "JobBeingTerminated", "JobBeingDeleted", "JobNotFound"})
_ENDING = frozenset({"terminating", "completed", "deleting"})


@frozen
class Submission:
    """What became of a request to run a job.

    Attributes:
        job: the job as the service describes it.
        adopted: the job was there already: from an earlier attempt of this try whose answer was lost, or from an
            earlier try.
        verdict: set when the adopted job is over already.
    """

    job: Json
    adopted: bool = False
    verdict: Verdict | None = None

    @property
    def job_id(self) -> str:
        """The job."""
        return str(self.job["id"])


def create(body: Mapping[str, Any], owner: Owner, *, patience: Patience | None = None) -> Flow[Submission]:
    """Create a job, or find that this very try has created it already.

    A create whose answer was lost is sent again: the id is ours to choose, so the second one meets ``JobExists`` and
    finds our mark.

    Args:
        body: the request body; its metadata must hold the mark of ``owner``.
        owner: who submits.
        patience: how long to put up with a service that gives no usable answer.

    Raises:
        NotOurJob: a job of that id exists and carries no mark of this try. Nothing was done to it.
        ServiceRefused: the service said no, for instance with ``ActiveJobAndScheduleQuotaReached``.
        ServiceUnavailable: no usable answer within the patience. The job may exist.
    """
    job_id = str(body["id"])
    patience = patience or Patience()
    while True:
        try:
            yield from patiently(calls.post("jobs", json=dict(body)), patience)
        except ServiceRefused as refusal:
            if refusal.code == "JobBeingDeleted":
                # The id is free again once the deletion is through (seen: 5 to 35 s).
                yield from patience.pause(refusal)
                continue
            if refusal.code != "JobExists":
                raise
            job = yield from _job_or_none(job_id, patience)
            if job is None:
                yield from patience.pause(refusal)
                continue
            _must_be_ours(job, owner)
            return Submission(job, adopted=True)
        job = yield from _job_or_none(job_id, patience)
        return Submission(job or {"id": job_id, "state": "active"})


def earlier_tries(owner: Owner, *, patience: Patience | None = None) -> Flow[list[Json]]:
    """Jobs of earlier tries of the same task instance, newest try first."""
    mine = calls.rows("jobs", filter=f"startswith(id,'{owner.job_id_prefix()}')")
    answer = yield from patiently(mine, patience or Patience())
    found = [(Owner.of(job), job) for job in answer.data]
    earlier = [
        (theirs.try_number, job)
        for theirs, job in found
        if theirs is not None and theirs.same_task(owner) and not theirs.same_try(owner)
    ]
    return [job for _, job in sorted(earlier, key=lambda pair: pair[0], reverse=True)]


def take_over(
    owner: Owner, *, wait_for: WaitFor = "job", children_count: bool = False, patience: Patience | None = None
) -> Flow[Submission | None]:
    """On an automatic retry: the previous try's job when it still runs or ended well, else None (submit anew).

    A user's Clear is no retry: the task instance's ``max_tries`` has grown since the earlier job was made, and nothing
    is taken over.
    """
    patience = patience or Patience()
    for job in (yield from earlier_tries(owner, patience=patience)):
        theirs = Owner.of(job)
        if theirs is None or theirs.max_tries != owner.max_tries or theirs.try_number >= owner.try_number:
            return None
        if str(job.get("state")).lower() == "deleting":
            return None
        verdict = yield from read_verdict(
            str(job["id"]), wait_for=wait_for, children_count=children_count, patience=patience
        )
        if verdict is None:
            if str(job.get("state")).lower() in _ENDING:
                return None
            return Submission(job, adopted=True)
        return Submission(job, adopted=True, verdict=verdict) if verdict.succeeded else None
    return None


def terminate(job_id: str, reason: str, *, owner: Owner | None = None, patience: Patience | None = None) -> Flow[str]:
    """End a job and make sure that it is ending.

    Args:
        job_id: the job.
        reason: becomes the job's ``terminateReason``. Never empty: without a body the SDK sends nothing.
        owner: when given, the job must carry a mark of the same task instance.
        patience: how long to put up with a service that gives no usable answer.

    Returns:
        The job's state afterwards: ``terminating``, ``completed`` or ``deleting``, and ``gone`` when it is deleted.

    Raises:
        NotOurJob: the job carries another mark, or none. Nothing was done to it.
        ServiceError: the request did not get through; the job may still run.
    """
    patience = patience or Patience()
    if owner is not None:
        job = yield from _job_or_none(job_id, patience, select=("id", "state", "metadata"))
        if job is None:
            return "gone"
        _must_be_of_task(job, owner)
    request = calls.post("jobs", job_id, "terminate", json={"terminateReason": reason})
    while True:
        try:
            yield from patiently(request, patience)
        except ServiceRefused as refusal:
            if refusal.code not in _OVER:
                raise
        job = yield from _job_or_none(job_id, patience, select=("id", "state"))
        state = "gone" if job is None else str(job.get("state")).lower()
        if state in _ENDING or state == "gone":
            return state
        yield from patience.pause(ServiceUnavailable(f"Job {job_id!r} is still {state} after a terminate request"))


def remove(job_id: str, *, owner: Owner, patience: Patience | None = None) -> Flow[None]:
    """Delete a job of ours with its tasks and their files. A job that is gone already is fine.

    Raises:
        NotOurJob: the job carries another mark, or none. Nothing was done to it.
        ServiceError: the request did not get through.
    """
    patience = patience or Patience()
    job = yield from _job_or_none(job_id, patience, select=("id", "state", "metadata"))
    if job is None:
        return
    _must_be_of_task(job, owner)
    try:
        yield from patiently(calls.delete("jobs", job_id), patience)
    except ServiceRefused as refusal:
        if refusal.code not in ("JobNotFound", "JobBeingDeleted"):
            raise


def read_verdict(
    job_id: str,
    *,
    wait_for: WaitFor = "job",
    children_count: bool = False,
    job: Mapping[str, Any] | None = None,
    manager_id: str = "",
    patience: Patience | None = None,
    settle: Iterable[float] = (0.5, 1, 2, 4, 8, 15, 30, 60),
) -> Flow[Verdict | None]:
    """Look at a job and judge it.

    Args:
        job_id: the job.
        wait_for: the end of the ``"job"`` or of the ``"job_manager"`` alone.
        children_count: whether failed children make an otherwise succeeded job fail.
        job: what a list said of the job a moment ago, to save a request.
        manager_id: the manager's id when known, to save another.
        patience: how long to put up with a service that gives no usable answer.
        settle: pauses in seconds between looks at a manager whose record lags its completed job.

    Returns:
        The verdict, or None while the job goes on.
    """
    patience = patience or Patience()
    if job is None:
        job = yield from _job_or_none(job_id, patience, select=VERDICT_SELECT)
        if job is None:
            return judge(None, None, job_id=job_id)
    state = str(job.get("state")).lower()
    if state != "completed" and wait_for == "job":
        return None
    manager_id = manager_id or manager_id_of(job)
    pauses = iter(settle)
    while True:
        manager = (yield from _task_or_none(job_id, manager_id, patience)) if manager_id else None
        failed = culprit = None
        try:
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
            children_count=children_count,
            failed_task=culprit,
            settled=pause is None,
        )
        if verdict is not None or pause is None:
            return verdict
        yield calls.Pause(pause)


def find_job(job_id: str, *, patience: Patience | None = None) -> Flow[Json | None]:
    """What a verdict needs to know of a job; None when there is no job of that id."""
    return (yield from _job_or_none(job_id, patience or Patience(), select=VERDICT_SELECT))


def task_is_over(job_id: str, task_id: str, *, patience: Patience | None = None) -> Flow[bool]:
    """Whether a task is completed; False when it is not there."""
    task = yield from _task_or_none(job_id, task_id, patience or Patience())
    return str((task or {}).get("state")).lower() == "completed"


def newest_job(job_schedule_id: str, *, patience: Patience | None = None) -> Flow[str | None]:
    """Id of the job that a job schedule made last; None while it has made none.

    The service names it as ``executionInfo.recentJob``
    (https://learn.microsoft.com/rest/api/batchservice/job-schedules/get-job-schedule).

    Raises:
        ServiceRefused: with code ``JobScheduleNotFound`` when there is no such schedule.
    """
    request = calls.get("jobschedules", job_schedule_id, select=("id", "state", "executionInfo"))
    answer = yield from patiently(request, patience or Patience())
    recent = (answer.data.get("executionInfo") or {}).get("recentJob") or {}
    return str(recent["id"]) if recent.get("id") else None


def failed_children(
    job_id: str, manager_id: str, *, limit: int | None = None, patience: Patience | None = None
) -> Flow[list[Json]]:
    """Tasks other than the manager that failed by themselves: those that their job's end ended are left out."""
    request = calls.rows(
        "jobs",
        job_id,
        "tasks",
        filter="executionInfo/result eq 'failure'",
        select=("id", "executionInfo"),
        limit=limit,
    )
    answer = yield from patiently(request, patience or Patience())
    return [
        task
        for task in answer.data
        if str(task.get("id")).lower() != manager_id.lower() and _failure_code(task) != "taskended"
    ]


def _culprit(job_id: str, patience: Patience) -> Flow[Json | None]:
    tasks = yield from failed_children(job_id, "", patience=patience)
    return min(tasks, key=lambda task: str((task.get("executionInfo") or {}).get("endTime") or "~"), default=None)


def _failure_code(task: Mapping[str, Any]) -> str:
    failure = (task.get("executionInfo") or {}).get("failureInfo") or {}
    return str(failure.get("code") or "").lower()


def _job_or_none(job_id: str, patience: Patience, select: tuple[str, ...] = ()) -> Flow[Json | None]:
    return (yield from _or_none(calls.get("jobs", job_id, select=select), "JobNotFound", patience))


def _task_or_none(job_id: str, task_id: str, patience: Patience) -> Flow[Json | None]:
    request = calls.get("jobs", job_id, "tasks", task_id, select=MANAGER_SELECT)
    return (yield from _or_none(request, "TaskNotFound", patience))


def _or_none(request: Call, gone: str, patience: Patience) -> Flow[Json | None]:
    while True:
        try:
            answer: Answer = yield from patiently(request, patience)
        except ServiceRefused as refusal:
            if refusal.code in (gone, "JobNotFound"):
                return None
            raise
        if isinstance(answer.data, dict) and isinstance(answer.data.get("id"), str):
            return answer.data
        # JSON, but of a proxy or a broken gateway: nothing to judge a job by.
        yield from patience.pause(ServiceUnavailable(f"{request}: the answer is not one of Batch"))


def _must_be_ours(job: Mapping[str, Any], owner: Owner) -> None:
    theirs = Owner.of(job)
    if theirs is None or not theirs.same_try(owner):
        raise NotOurJob(str(job.get("id")), owner.differences(theirs))


def _must_be_of_task(job: Mapping[str, Any], owner: Owner) -> None:
    theirs = Owner.of(job)
    if theirs is None or not theirs.same_task(owner):
        raise NotOurJob(str(job.get("id")), owner.differences(theirs))
