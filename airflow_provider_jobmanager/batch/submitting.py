"""Submitting a job exactly once: the conversations that create a job, or find the one that is there already.

What can go wrong between "create this job" and knowing that it exists is met in one way: the id is ours to choose, so
whoever is in doubt looks at that id. A job there that carries our mark is the one; a job without it is somebody
else's and is left alone.
"""

from __future__ import annotations

from datetime import timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.flows import VERDICT_SELECT, job_or_none, read_verdict
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor, manager_id_of
from airflow_provider_jobmanager.errors import JobIdUsed, NotOurJob, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from airflow_provider_jobmanager.batch.calls import Flow, Json

QUOTA_REACHED = "ActiveJobAndScheduleQuotaReached"
"""The account has as many active jobs as it may have: https://learn.microsoft.com/azure/batch/batch-quota-limit."""

_SELECT = (*VERDICT_SELECT, "metadata")
_NOT_CARRIED_OUT = 429
_MANAGER_IS_THROUGH = frozenset({"jmcomplete", "alltaskscomplete"})


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

    @property
    def created_at(self) -> str | None:
        """When the service made the job (ISO 8601); with the id it names this job and no later one."""
        return self.job.get("creationTime")


def create(body: Mapping[str, Any], owner: Owner, *, patience: Patience | None = None) -> Flow[Submission]:
    """Create a job of a given id, or find that this very try has created it already.

    Args:
        body: the request body; its metadata must hold the mark of ``owner``.
        owner: who submits.
        patience: how long to put up with a service that gives no usable answer.

    Raises:
        NotOurJob: a job of that id exists and carries no mark of this try. Nothing was done to it.
        ServiceRefused: the service said no, for instance with ``ActiveJobAndScheduleQuotaReached``.
        ServiceUnavailable: no usable answer within the patience. The job may exist.
    """
    submission = yield from _create(body, patience or Patience(), in_doubt=False)
    theirs = Owner.of(submission.job)
    if submission.adopted and (theirs is None or not theirs.same_try(owner)):
        raise NotOurJob(submission.job_id, owner.differences(theirs))
    return submission


def submit(
    body: Mapping[str, Any],
    owner: Owner,
    *,
    since: datetime | None = None,
    in_doubt: bool = False,
    wait_for: WaitFor = "job",
    children_count: bool | None = None,
    final_exit_codes: Collection[int] = (),
    about_to: Callable[[str], object] = str,
    patience: Patience | None = None,
) -> Flow[Submission]:
    """Run a job once in all tries of a round (:mod:`.ownership`).

    The first try creates it. A retry goes on with the job of an earlier try that still runs, takes the verdict of one
    that ended well without anybody collecting it, or so that nothing is to be retried, and creates a new one when it
    ended badly. A Clear begins a new round and finds nothing of the old one.

    Args:
        body: the request body; its metadata must hold the mark of ``owner``. Without an ``id`` a derived one is used.
        owner: who submits.
        since: with an ``id`` in the body: when the round began at the earliest, by the service's clock; a retry looks
            for jobs of its round from then on. Their ids may contain the number of the try.
        in_doubt: whether this try may have submitted before.
        wait_for: the end of the ``"job"`` or of the ``"job_manager"`` alone decides how an earlier job ended.
        children_count: whether failed children make an otherwise succeeded job fail; None as in ``read_verdict``.
        final_exit_codes: exit codes of the manager after which there is nothing to retry.
        about_to: told the id of each job before it is asked for, so that a kill in between knows what to look for.
        patience: how long to put up with a service that gives no usable answer.

    Raises:
        JobIdUsed: the job of the body's ``id`` is one of an earlier try of this task, and over.
        NotOurJob: a job of that id exists and does not belong to this task, or a later try has taken over. Nothing was
            done to it.
        ServiceRefused: the service said no, for instance with ``ActiveJobAndScheduleQuotaReached``.
        ServiceUnavailable: no usable answer within the patience. The job may exist.
    """
    patience = patience or Patience()
    worth_taking = partial(
        _worth_taking,
        wait_for=wait_for,
        children_count=children_count,
        final_exit_codes=final_exit_codes,
        patience=patience,
    )
    retry = owner.try_number > 1
    derived = not body.get("id")
    number = 1
    if retry and derived:
        number = yield from _newest_number(owner, patience)
    if retry and not derived:
        # Only the newest counts: those before it ended badly, or it would not be there.
        newest = next(iter((yield from _jobs_of_round(owner, since, patience))), None)
        if newest is not None:
            taken = yield from worth_taking(newest)
            if taken is not None:
                return taken
    while True:
        job_id = owner.job_id(number) if derived else str(body["id"])
        about_to(job_id)
        submission = yield from _create({**body, "id": job_id}, patience, in_doubt=in_doubt or retry)
        theirs = Owner.of(submission.job)
        if not submission.adopted or (theirs is not None and theirs.same_try(owner)):
            return submission
        if theirs is None or not theirs.same_task(owner):
            raise NotOurJob(job_id, owner.differences(theirs))
        if owner.in_round(theirs):
            if theirs.try_number >= owner.try_number:
                raise NotOurJob(job_id, owner.differences(theirs))
            taken = yield from worth_taking(submission.job)
            if taken is not None:
                return taken
        if not derived:
            raise JobIdUsed(job_id, theirs.try_number, str(submission.job.get("state")))
        number += 1


def _create(body: Mapping[str, Any], patience: Patience, *, in_doubt: bool) -> Flow[Submission]:
    """Create a job, or find one of that id, whoever made it.

    While in doubt whether the job is there the flow looks before it asks: a full account may answer a second create
    with its quota although the first one was carried out.
    """
    job_id = str(body["id"])
    cause: ServiceRefused | ServiceUnavailable
    while True:
        if in_doubt:
            found = yield from _found(job_id, patience)
            if found is not None:
                return found
        try:
            yield calls.post("jobs", json=dict(body))
        except ServiceUnavailable as trouble:
            in_doubt = in_doubt or trouble.status != _NOT_CARRIED_OUT
            cause = trouble
        except ServiceRefused as refusal:
            # A deleted job's id is free again once the deletion is through (seen: 5 to 35 s).
            if refusal.code not in ("JobExists", "JobBeingDeleted"):
                # An attempt that was given up as lost may have got through after the look.
                found = (yield from _found(job_id, patience)) if in_doubt else None
                if found is not None:
                    return found
                raise
            if not in_doubt:
                in_doubt = True
                continue
            cause = refusal
        else:
            job = yield from job_or_none(job_id, patience, select=_SELECT)
            return Submission(job or {"id": job_id, "state": "active"})
        yield from patience.pause(cause)


def _found(job_id: str, patience: Patience) -> Flow[Submission | None]:
    job = yield from job_or_none(job_id, patience, select=_SELECT)
    if job is None or str(job.get("state")).lower() == "deleting":
        return None
    return Submission(job, adopted=True)


def _worth_taking(
    job: Json,
    *,
    wait_for: WaitFor,
    children_count: bool | None,
    final_exit_codes: Collection[int],
    patience: Patience,
) -> Flow[Submission | None]:
    """An earlier try's job, when it still runs or its end is one to keep; None when the work has to be done anew."""
    state = str(job.get("state")).lower()
    if state == "deleting":
        return None
    verdict = yield from read_verdict(
        str(job["id"]), job=job, wait_for=wait_for, children_count=children_count, patience=patience
    )
    if verdict is not None:
        by_manager = verdict.status == "failed" and verdict.failed_task is None
        final = verdict.succeeded or (by_manager and verdict.exit_code in final_exit_codes)
        return Submission(job, adopted=True, verdict=verdict) if final else None
    if state != "terminating":
        return Submission(job, adopted=True)
    # On its way out, perhaps for minutes while release tasks run. If its manager is what ended it, and did well,
    # the end is worth waiting for.
    reason = str((job.get("executionInfo") or {}).get("terminateReason") or "").lower()
    if reason in _MANAGER_IS_THROUGH and manager_id_of(job):
        early = yield from read_verdict(str(job["id"]), job=job, wait_for="job_manager", patience=patience)
        if early is not None and early.succeeded:
            return Submission(job, adopted=True)
    return None


def _newest_number(owner: Owner, patience: Patience) -> Flow[int]:
    """The number of the round's newest job, 1 when there is none."""
    request = calls.rows("jobs", filter=f"startswith(id,'{owner.job_id_prefix()}')", select=("id",))
    answer = yield from patiently(request, patience)
    return max((owner.number_of(str(job.get("id"))) or 1 for job in answer.data), default=1)


def _jobs_of_round(owner: Owner, since: datetime | None, patience: Patience) -> Flow[list[Json]]:
    """Jobs of earlier tries of the round under ids of the user's own, the newest first.

    Metadata can't be filtered by, so all jobs of the account since then are looked through.
    """
    request = calls.rows("jobs", select=_SELECT)
    if since is not None:
        start = since.astimezone(timezone.utc)
        request = calls.rows("jobs", select=_SELECT, filter=f"creationTime ge DateTime'{start:%Y-%m-%dT%H:%M:%SZ}'")
    answer = yield from patiently(request, patience)
    marked = [(Owner.of(job), job) for job in answer.data]
    earlier = [
        (theirs.try_number, str(job.get("creationTime")), job)
        for theirs, job in marked
        if theirs is not None and owner.in_round(theirs) and theirs.try_number < owner.try_number
    ]
    return [job for *_, job in sorted(earlier, key=lambda found: found[:2], reverse=True)]
