"""How a job ended, and why: the one place that decides.

Start reading here. :func:`judge` is a pure function of what the service says about a job and its job manager task.
Nothing at job level carries success: a job is ``completed`` with ``JMComplete`` whether its manager succeeded or
failed, so the manager's own record decides
(https://learn.microsoft.com/rest/api/batchservice/job, ``killJobOnCompletion`` and ``terminateReason``).

=================================  ==============  ===========================================================
job                                manager task    verdict
=================================  ==============  ===========================================================
completed, ``JMComplete``          success         succeeded
completed, ``JMComplete``          failure         failed
completed, ``AllTasksComplete``    success         succeeded, unless failed children count
completed, ``AllTasksComplete``    failure         failed
completed, ``TaskFailed``          any             failed, naming the task
completed, ``MaxWallClock…``       any             timed out
completed, any other reason        own success     succeeded, where the manager's end ends the job
completed, any other reason        own failure     failed
completed, any other reason        anything else   cancelled, with the reason
completed, scheduling error only   not completed   failed: it never started
completed, neither                 not completed   failed: it ended without a reason
gone (404)                                         lost
anything else                                      not decided yet
=================================  ==============  ===========================================================
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from attrs import asdict, evolve, fields_dict, frozen

from airflow_provider_jobmanager.batch.marks import marked_names
from airflow_provider_jobmanager.batch.printable import one_line
from airflow_provider_jobmanager.batch.secrets import redact, secret_values

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["succeeded", "failed", "timed_out", "cancelled", "lost"]
WaitFor = Literal["job", "job_manager"]

TASK_ENDED = "TaskEnded"
"""Failure code of a task that was ended from outside: by a user, by its job's end or by its wall clock."""


@frozen
class Verdict:
    """How a job ended. Travels from the triggerer to the worker as JSON.

    Attributes:
        job_id: the job.
        status: what it comes to.
        reason: the job's ``terminateReason``, or the code of its scheduling error; empty when there was none.
        manager_id: id of the job manager task; empty when the job has none.
        exit_code: exit code of the manager's process; None when it never ended by itself.
        failure: the manager's ``failureInfo``, the failed child's, or the job's ``schedulingError``; without secrets
            (the service tells the URL of a file that it could not read, signature and all).
        failed_task: the task that ``failure`` speaks of, when that is not the manager.
        created_at: when the job was created (ISO 8601 UTC), and likewise the following.
        started_at: when the manager last started.
        ended_at: when the job ended, or the manager where only that was waited for.
        retries: how often the manager was started again after a non-zero exit.
        requeues: how often the manager was put back on a user's request: a node was taken away, the job was disabled.
        recoveries: how often the manager was seen, by whoever waited, to start anew because its node was lost or
            preempted; the service counts that nowhere.
        failed_children: how many other tasks failed, None when nobody counted.
        pool_id: the pool the job ran on.
        more_failed_children: whether there may be more failed children than were counted.
        never_seen: of a job that is lost, whether it was not there from the beginning of the wait on.
    """

    job_id: str
    status: Status
    reason: str = ""
    manager_id: str = ""
    exit_code: int | None = None
    failure: Mapping[str, Any] | None = None
    failed_task: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    retries: int = 0
    requeues: int = 0
    recoveries: int = 0
    failed_children: int | None = None
    pool_id: str | None = None
    more_failed_children: bool = False
    never_seen: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the work was done."""
        return self.status == "succeeded"

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON data."""
        return asdict(self, recurse=False) | {"failure": None if self.failure is None else dict(self.failure)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """The verdict back from :meth:`as_dict`; members that a newer version added are passed over."""
        known = fields_dict(cls)
        return cls(**{name: value for name, value in data.items() if name in known})

    def evolve(self, **changes: Any) -> Verdict:
        """A copy with some attributes changed."""
        return evolve(self, **changes)

    def summary(self) -> str:
        """One line for a person."""
        ended = {
            "succeeded": "succeeded",
            "failed": "failed",
            "timed_out": "ran out of time",
            "cancelled": "was cancelled",
            "lost": "is not there" if self.never_seen else "is gone: it was deleted while it was followed",
        }[self.status]
        # A schedule may have made no job until the deadline.
        parts = [f"Job {self.job_id!r} {ended}" if self.job_id else f"The wait {ended}"]
        if self.reason:
            parts.append(f" ({self.reason})")
        cause = self._cause()
        if cause and not self.succeeded:
            parts.append(f": {cause}")
        if self.retries:
            parts.append(f" [{_times(self.retries, 'retry', 'retries')}]")
        if self.requeues:
            parts.append(f" [{_times(self.requeues, 'requeue', 'requeues')}]")
        if self.recoveries:
            parts.append(f" [{_times(self.recoveries, 'recovery', 'recoveries')} from a lost or preempted node]")
        return one_line("".join(parts) + ".")

    def _cause(self) -> str:
        who = f"task {self.failed_task!r}" if self.failed_task else f"job manager {self.manager_id!r}"
        said = ""
        if self.failure:
            code, message = self.failure.get("code") or "", str(self.failure.get("message") or "").rstrip(".")
            if message == self.reason.rstrip("."):
                message = ""  # the summary has said it
            said = f"{code}: {message}" if code and message else code or message
        if self.exit_code is not None and not self.failed_task and self.exit_code != 0:
            return f"{who} exited with code {self.exit_code}" + (f" ({said})" if said else "")
        if said:
            return f"{who}: {said}" if self.manager_id or self.failed_task else said
        if self.failed_children:
            least = "at least " if self.more_failed_children else ""
            return least + _times(self.failed_children, "child task failed", "child tasks failed")
        return ""


def judge(
    job: Mapping[str, Any] | None,
    manager: Mapping[str, Any] | None,
    *,
    job_id: str = "",
    wait_for: WaitFor = "job",
    failed_children: int | None = None,
    more_failed_children: bool = False,
    children_count: bool | None = None,
    failed_task: Mapping[str, Any] | None = None,
    settled: bool = False,
) -> Verdict | None:
    """Decide how a job ended.

    Args:
        job: the job as the service describes it (wire names); None when it answered 404 ``JobNotFound``.
        manager: its job manager task likewise; None when there is none, or none any more.
        job_id: id to use when the job is gone.
        wait_for: ``"job"`` for the end of the whole job, ``"job_manager"`` for the manager's alone.
        failed_children: number of other tasks that failed by themselves, None when not counted.
        more_failed_children: whether there may be more.
        children_count: whether failed children make an otherwise succeeded job fail; None as in
            :func:`children_count_in`.
        failed_task: the task that ended a job with ``TaskFailed``, when it was found.
        settled: the manager's record had time to catch up with the job's. Until then a completed job whose manager
            is not completed is left undecided: task records were seen to lag by a minute or two.

    Returns:
        The verdict, or None while nothing is decided. A state that nobody knew counts as not decided.
    """
    if job is None:
        return Verdict(job_id=job_id, status="lost", failed_children=failed_children)
    facts = _facts(job, manager, failed_children).evolve(more_failed_children=more_failed_children)
    manager_done = _text(manager, "state") == "completed"
    if wait_for == "job_manager" and manager is not None and manager_done:
        return _judge_manager(facts, manager)
    if _text(job, "state") != "completed":
        return None
    execution = job.get("executionInfo") or {}
    reason = (execution.get("terminateReason") or "").lower()
    if reason in ("jmcomplete", "alltaskscomplete") and manager is not None and not manager_done:
        # The service says that the manager is through, its record does not yet.
        return _unsettled(facts) if settled else None
    if reason == "maxwallclocktimeexpiry":
        return facts.evolve(status="timed_out")
    if reason == "taskfailed":
        return _task_failed(facts, failed_task, job)
    if reason in ("jmcomplete", "alltaskscomplete"):
        if children_count is None:
            children_count = children_count_in(job)
        return _by_result(facts, manager, children_count=children_count)
    if manager is not None and manager_done and _ended_by_itself(manager):
        if not _succeeded(manager):
            return facts.evolve(status="failed")
        if _kills_job(job):
            return facts.evolve(status="succeeded")
    if reason:
        return facts.evolve(status="cancelled")
    error = execution.get("schedulingError")
    if error:
        return facts.evolve(status="failed", reason=str(error.get("code") or ""), failure=_shown(error, job))
    return facts.evolve(status="failed", failure=facts.failure or _said("NoReason", "The job ended without a reason"))


def so_far(verdict: Verdict, job: Mapping[str, Any], manager: Mapping[str, Any] | None) -> Verdict:
    """A verdict on a job that was not waited for any longer, with what the job and its manager did until then."""
    facts = _facts(job, manager, None)
    return verdict.evolve(
        manager_id=facts.manager_id,
        created_at=facts.created_at,
        started_at=facts.started_at,
        ended_at=facts.ended_at,
        retries=facts.retries,
        requeues=facts.requeues,
        pool_id=facts.pool_id,
    )


def children_count_in(job: Mapping[str, Any]) -> bool:
    """Whether failed children make a job fail where nobody says: if its manager's end does not end it, its tasks do.

    A manager whose end does end the job answers for its children; a job without a manager is taken at its word.
    """
    return not _kills_job(job)


def manager_id_of(job: Mapping[str, Any]) -> str:
    """Id of the job's manager task; empty when it has none."""
    return str((job.get("jobManagerTask") or {}).get("id") or "")


def moment(text: str | None) -> datetime | None:
    """A timestamp of the service (0 to 7 fraction digits, trailing zeros trimmed) as an aware datetime."""
    if not text:
        return None
    whole, _, fraction = text.rstrip("Zz").partition(".")
    parsed = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return parsed.replace(microsecond=int(fraction.ljust(6, "0")[:6])) if fraction else parsed


def _judge_manager(facts: Verdict, manager: Mapping[str, Any]) -> Verdict:
    execution = manager.get("executionInfo") or {}
    facts = facts.evolve(ended_at=execution.get("endTime") or facts.ended_at)
    if _succeeded(manager):
        return facts.evolve(status="succeeded")
    if not _ended_by_itself(manager) and facts.reason:
        # Ended with its job: the job's reason is the cause, and stands there from `terminating` on.
        reason = facts.reason.lower()
        if reason == "maxwallclocktimeexpiry":
            return facts.evolve(status="timed_out")
        if reason not in ("jmcomplete", "alltaskscomplete", "taskfailed"):
            return facts.evolve(status="cancelled")
    return facts.evolve(status="failed")


def _facts(job: Mapping[str, Any], manager: Mapping[str, Any] | None, failed_children: int | None) -> Verdict:
    execution = job.get("executionInfo") or {}
    task = (manager or {}).get("executionInfo") or {}
    return Verdict(
        job_id=str(job.get("id") or ""),
        status="failed",
        reason=str(execution.get("terminateReason") or ""),
        manager_id=str((manager or {}).get("id") or manager_id_of(job)),
        exit_code=task.get("exitCode"),
        failure=_shown(task.get("failureInfo"), job),
        created_at=job.get("creationTime"),
        started_at=task.get("startTime"),
        ended_at=execution.get("endTime"),
        retries=int(task.get("retryCount") or 0),
        requeues=int(task.get("requeueCount") or 0),
        failed_children=failed_children,
        pool_id=execution.get("poolId"),
    )


def _shown(failure: Any, job: Mapping[str, Any]) -> Any:
    """What the service says of a failure, without the secrets that it repeats of the job."""
    if not failure:
        return failure
    holders = {name: job[name] for name in ("jobManagerTask", "commonEnvironmentSettings") if name in job}
    return redact(failure, known=secret_values(holders, named=marked_names(job)))


def _by_result(facts: Verdict, manager: Mapping[str, Any] | None, *, children_count: bool) -> Verdict:
    if manager is None:
        if facts.manager_id or facts.reason.lower() == "jmcomplete":
            return facts.evolve(
                status="failed", failure=_said("ManagerNotFound", "The record of the job manager task is gone")
            )
        # A job without a manager (a sensor may follow any job): its tasks are all there is to judge.
        return facts.evolve(status="failed" if facts.failed_children and children_count else "succeeded")
    if not _succeeded(manager):
        return facts.evolve(status="failed")
    if children_count and facts.failed_children:
        return facts.evolve(status="failed")
    return facts.evolve(status="succeeded")


def _task_failed(facts: Verdict, task: Mapping[str, Any] | None, job: Mapping[str, Any]) -> Verdict:
    if task is None or task.get("id") == facts.manager_id:
        return facts.evolve(status="failed")
    failure = _shown((task.get("executionInfo") or {}).get("failureInfo"), job)
    return facts.evolve(status="failed", failed_task=str(task.get("id")), failure=failure)


def _unsettled(facts: Verdict) -> Verdict:
    return facts.evolve(
        status="failed",
        failure=_said(
            "ManagerRecordIncomplete", "The job ended with its manager, but the manager's record never said how"
        ),
    )


def _succeeded(task: Mapping[str, Any]) -> bool:
    execution = task.get("executionInfo") or {}
    result = execution.get("result")
    if result is not None:
        return str(result).lower() == "success"
    return execution.get("exitCode") == 0 and not execution.get("failureInfo")


def _ended_by_itself(task: Mapping[str, Any]) -> bool:
    failure = (task.get("executionInfo") or {}).get("failureInfo") or {}
    return str(failure.get("code") or "").lower() != TASK_ENDED.lower()


def _kills_job(job: Mapping[str, Any]) -> bool:
    return bool((job.get("jobManagerTask") or {}).get("killJobOnCompletion", True))


def _text(resource: Mapping[str, Any] | None, name: str) -> str:
    return str((resource or {}).get(name) or "").lower()


def _said(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}


def _times(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
