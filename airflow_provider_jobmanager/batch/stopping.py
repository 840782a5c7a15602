"""Ending and deleting jobs of ours, and nothing else: every conversation here looks at the job first.

A job is known by its id and the time it was created. The id alone would not do: a user's own job id may have been used
again since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.flows import VERDICT_SELECT, job_or_none, read_verdict, task_or_none
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor, manager_id_of, moment, so_far
from airflow_provider_jobmanager.errors import JobManagerError, NotOurJob, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_jobmanager.batch.calls import Flow

GONE = "gone"
BY_AIRFLOW = "Airflow: "
"""What the reasons of ends begin with that an Airflow task is the cause of."""

DEADLINE = "DeadlineExceeded"
"""Failure code of a verdict that Airflow's own clock made."""

_OVER = frozenset({"JobCompleted", "JobBeingTerminated", "JobBeingDeleted", "JobNotFound"})
_ENDING = frozenset({"terminating", "completed", "deleting", GONE})
_LOOK_AGAIN_SECONDS = 0.3
_SELECT = ("id", "state", "creationTime", "metadata")


def terminate(
    job_id: str,
    reason: str,
    *,
    owner: Owner | None = None,
    created_at: str | None = None,
    may_appear: float = 0.0,
    patience: Patience | None = None,
) -> Flow[str]:
    """End a job and make sure that it is ending.

    Args:
        job_id: the job.
        reason: becomes the job's ``terminateReason``. Never empty: without a body the SDK sends nothing.
        owner: when given, the job must carry a mark of the same task instance, and not of a later try of it.
        created_at: when given, the job must have been created then.
        may_appear: seconds to wait for a job that is not there: a create that is under way may get through yet.
        patience: how long to put up with a service that gives no usable answer.

    Returns:
        The job's state afterwards: ``terminating``, ``completed`` or ``deleting``, and ``gone`` when it is deleted.

    Raises:
        NotOurJob: the job carries another mark, or none, or was created later, or a later try has taken it over.
            Nothing was done to it.
        ServiceError: the request did not get through; the job may still run.
    """
    patience = patience or Patience()
    waited = 0.0
    while True:
        job = yield from job_or_none(job_id, patience, select=_SELECT)
        if job is not None:
            break
        if waited >= may_appear:
            return GONE
        yield calls.Pause(_LOOK_AGAIN_SECONDS)
        waited += _LOOK_AGAIN_SECONDS
    _must_be_meant(job, owner, created_at)
    state = str(job.get("state")).lower()
    while state not in _ENDING:
        try:
            yield from patiently(calls.post("jobs", job_id, "terminate", json={"terminateReason": reason}), patience)
        except ServiceRefused as refusal:
            if refusal.code not in _OVER:
                raise
        job = yield from job_or_none(job_id, patience, select=("id", "state"))
        state = GONE if job is None else str(job.get("state")).lower()
        if state not in _ENDING:
            yield from patience.pause(ServiceUnavailable(f"Job {job_id!r} is still {state} after a terminate request"))
    return state


def end_left_behind(
    owner: Owner, job_id: str, reason: str, *, derived: bool, patience: Patience | None = None
) -> Flow[list[str]]:
    """End what still runs of earlier tries of the task instance, beside the job that is followed now.

    That is one from before a Clear: the trigger of the cleared try ends it, if it was there to be told, and Airflow
    tells nobody when no triggerer had taken it up yet. And one that goes on after its manager, when that failed and
    was waited for alone. A run that had ended before it was cleared has another start: nothing of it is found here,
    since another Airflow's run of the same name could not be told from it.

    Args:
        owner: the try that runs now.
        job_id: the job that it follows.
        reason: becomes the ``terminateReason`` of the jobs.
        derived: whether the ids are derived ones; else all active jobs of the account are looked through.
        patience: how long to put up with a service that gives no usable answer.

    Returns:
        The jobs that were ended.

    Raises:
        ServiceError: a request did not get through.
    """
    patience = patience or Patience()
    stem = f"startswith(id,'{owner.job_id_stem()}') and " if derived else ""
    answer = yield from patiently(calls.rows("jobs", select=_SELECT, filter=f"{stem}state ne 'completed'"), patience)
    ended = []
    for job in answer.data:
        theirs = Owner.of(job)
        # Another Airflow may use the account, with the same DAGs and the same run ids: only this run's jobs, then.
        older = theirs is not None and theirs.same_run(owner) and theirs.try_number < owner.try_number
        found = str(job["id"])
        followed = found.lower() == job_id.lower()
        if theirs is None or not older or followed or str(job.get("state")).lower() in _ENDING:
            continue
        yield from terminate(found, reason, owner=theirs, created_at=job.get("creationTime"), patience=patience)
        ended.append(found)
    return ended


def stop_at_deadline(
    job_id: str,
    owner: Owner,
    *,
    created_at: str | None = None,
    wait_for: WaitFor = "job",
    children_count: bool | None = None,
    manager_id: str = "",
    patience: Patience | None = None,
) -> Flow[Verdict]:
    """End a job because its task is out of time, unless it has just ended by itself: then its own end counts.

    Raises:
        NotOurJob: the job is not this task's. Nothing was done to it.
        ServiceError: the request did not get through; the job may still run.
    """
    patience = patience or Patience()
    reason = f"Airflow: deadline of {owner} passed"
    state = yield from terminate(job_id, reason, owner=owner, created_at=created_at, patience=patience)
    if state == "completed" or wait_for == "job_manager":
        verdict = yield from read_verdict(
            job_id,
            wait_for=wait_for,
            children_count=children_count,
            manager_id=manager_id,
            created_at=moment(created_at),
            patience=patience,
            settle=(0.5, 1.0, 2.0),
        )
        if verdict is not None and verdict.status in ("succeeded", "failed"):
            return verdict
    return out_of_time(job_id, f"{reason}; the job is {state}", manager_id)


def out_of_time(job_id: str, reason: str, manager_id: str = "") -> Verdict:
    """The verdict on a task whose own deadline passed; :func:`read_so_far` adds what the job did until then."""
    return Verdict(
        job_id=job_id,
        status="timed_out",
        reason=reason,
        manager_id=manager_id,
        failure={"code": DEADLINE, "message": reason},
    )


def read_so_far(
    verdict: Verdict, *, created_at: datetime | None = None, patience: Patience | None = None
) -> Flow[Verdict]:
    """A verdict that Airflow's own clock made, with what the service says of job and manager: what a report needs.

    Raises no JobManagerError: what can't be read is left out, as is a later job of the same id.

    Args:
        verdict: the verdict; one of another kind is returned as it is.
        created_at: when the job was created, where that is known.
        patience: how long to put up with a service that gives no usable answer.
    """
    if (verdict.failure or {}).get("code") != DEADLINE:
        return verdict
    patience = patience or Patience(seconds=2, longest=1)
    try:
        job = yield from job_or_none(verdict.job_id, patience, select=VERDICT_SELECT)
        if job is None or (created_at is not None and moment(job.get("creationTime")) != created_at):
            return verdict
        manager_id = verdict.manager_id or manager_id_of(job)
        manager = (yield from task_or_none(verdict.job_id, manager_id, patience)) if manager_id else None
    except JobManagerError:
        return verdict
    return so_far(verdict, job, manager)


def remove(
    job_id: str,
    *,
    owner: Owner,
    created_at: str | None = None,
    patience: Patience | None = None,
) -> Flow[str]:
    """Delete a job of ours that is over, with its tasks and their files.

    Returns:
        ``gone`` when it is deleted or about to be, else the state of a job that goes on and was left alone.

    Raises:
        NotOurJob: the job carries another mark, or none, or was created later. Nothing was done to it.
        ServiceError: the request did not get through.
    """
    patience = patience or Patience()
    job = yield from job_or_none(job_id, patience, select=_SELECT)
    if job is None:
        return GONE
    _must_be_meant(job, owner, created_at)
    state = str(job.get("state")).lower()
    if state not in _ENDING:
        return state
    try:
        yield from patiently(calls.delete("jobs", job_id), patience)
    except ServiceRefused as refusal:
        if refusal.code not in ("JobNotFound", "JobBeingDeleted"):
            raise
    return GONE


def _must_be_meant(job: Mapping[str, Any], owner: Owner | None, created_at: str | None) -> None:
    if owner is not None:
        theirs = Owner.of(job)
        # A worker that was stalled, and whose try was given up meanwhile, must not end what the next try goes on with.
        if theirs is None or not theirs.same_task(owner) or theirs.try_number > owner.try_number:
            raise NotOurJob(str(job.get("id")), owner.differences(theirs))
    if created_at is not None and moment(job.get("creationTime")) != moment(created_at):
        raise NotOurJob(str(job.get("id")), [("creationTime", created_at, job.get("creationTime"))])
