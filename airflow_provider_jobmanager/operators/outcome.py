"""From a verdict to how an Airflow task ends. Shared by operator and sensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_provider_jobmanager.batch.verdict import Verdict
from airflow_provider_jobmanager.errors import (
    ConfigurationError,
    JobCancelled,
    JobFailed,
    JobLost,
    JobOutcomeError,
    JobTimedOut,
    ServiceUnavailable,
)

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.report import Report
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

FOLLOWER = "for"
"""Where a trigger's event says which task instance it is for."""

_ERRORS: Mapping[str, type[JobOutcomeError]] = {
    "failed": JobFailed,
    "timed_out": JobTimedOut,
    "cancelled": JobCancelled,
    "lost": JobLost,
}


@frozen
class ExitCodes:
    """Exit codes of the job manager that mean something to Airflow.

    Attributes:
        skip: these skip the task.
        fail: these fail it without a retry.
    """

    skip: frozenset[int] = frozenset()
    fail: frozenset[int] = frozenset()

    @classmethod
    def of(cls, skip: Any, fail: Any) -> ExitCodes:
        """From the operator's arguments: a code, several, or None.

        Raises:
            ConfigurationError: something is no exit code, is 0, or stands in both.
        """
        codes = cls(_codes("skip_on_exit_code", skip), _codes("fail_without_retry_on_exit_code", fail))
        if both := codes.skip & codes.fail:
            raise ConfigurationError(
                f"Exit code {min(both)} is in both skip_on_exit_code and fail_without_retry_on_exit_code."
            )
        return codes


def is_news_of(event: Any, job_id: str | None, ti: Any = None) -> bool:
    """Whether a trigger's event is for this task.

    Airflow takes a trigger by its number, and may give the number of one that ended to the next (measured with SQLite):
    then another task's last word arrives, of another job or of no job at all. So an event says whom it is for, where
    the trigger knows: that of ``dag.test()`` does not. Else the job decides.

    Args:
        event: what the task is resumed with.
        job_id: the job that the task follows; None when it does not know it.
        ti: the task instance, a new one for each try.
    """
    if not isinstance(event, Mapping) or "status" not in event or "job_id" not in event:
        return False
    follower, own = event.get(FOLLOWER), getattr(ti, "id", None)
    if follower is not None and own is not None:
        return str(follower) == str(own)
    return not job_id or str(event["job_id"]).lower() == str(job_id).lower()


def verdict_of_event(event: Mapping[str, Any]) -> Verdict:
    """The verdict that a trigger's event carries.

    Raises:
        ServiceUnavailable: the trigger lost sight of the job, which was left alone, or of a schedule that had made
            none.
        ConfigurationError: an argument or the connection can't work; nothing was asked.
    """
    if event["status"] == "misconfigured":
        raise ConfigurationError(event["reason"])
    if event["status"] == "out_of_sight" and not event["job_id"]:
        raise ServiceUnavailable(f"Job schedule {event.get('job_schedule_id')!r} is out of sight: {event['reason']}.")
    if event["status"] == "out_of_sight":
        raise ServiceUnavailable(
            f"Job {event['job_id']!r} is out of sight: {event['reason']}. The job was left alone and may still run."
        )
    return Verdict.from_dict(event)


def report_on(
    verdict: Verdict, hook: AzureBatchJobManagerHook, log: Any, *, output_told: bool = False
) -> Report | None:
    """Collect and log what a person needs to know of a job that did not end well.

    Returns:
        The report; None for a job that ended well, and when a defect of ours stands in the report's way. It must not
        stand in the way of the verdict.

    Args:
        verdict: how the job ended.
        hook: where to ask.
        log: the task's log. Its last line is for the error that is raised next, which repeats the facts.
        output_told: the output is in the log already and need not be repeated.
    """
    if verdict.succeeded:
        return None
    from airflow_provider_jobmanager.batch.report import gather  # noqa: PLC0415 - nothing a DAG file needs

    try:
        report = hook.perform(gather(verdict))
        lines = [] if output_told else report.output()
        report.message()  # what is raised next is made of it: tried here, where a defect does no harm
    except Exception:
        # A defect of ours in the telling changes nothing of the verdict.
        log.exception("What else is known of job %s can't be told; how it ended stands.", verdict.job_id)
        return None
    for line in lines:
        log.info("%s", line)
    return report


def raise_unless_succeeded(verdict: Verdict, report: Report | None = None, exit_codes: ExitCodes | None = None) -> None:
    """End the task as its job ended.

    Args:
        verdict: how the job ended.
        report: what else is known of it.
        exit_codes: exit codes that mean something to Airflow.

    Raises:
        JobOutcomeError: the job did not succeed; which subclass tells how.
        AirflowSkipException: it failed with an exit code that skips the task; ``verdict`` and ``report`` as above.
        AirflowFailException: it failed with an exit code that fails the task without a retry; likewise.
    """
    if verdict.succeeded:
        return
    error = _ERRORS[verdict.status](verdict, None if report is None else report.message(), report)
    if exit_codes is not None and verdict.status == "failed" and verdict.failed_task is None:
        from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException  # noqa: PLC0415 - likewise

        ending: Exception | None = None
        if verdict.exit_code in exit_codes.skip:
            ending = AirflowSkipException(f"Skipped because of exit code {verdict.exit_code}. {error}")
        elif verdict.exit_code in exit_codes.fail:
            ending = AirflowFailException(f"No retry because of exit code {verdict.exit_code}. {error}")
        if ending is not None:
            # Who handles the failure finds the same attributes, whatever the exception.
            vars(ending).update(verdict=verdict, report=report)
            raise ending from error
    raise error


def _codes(argument: str, given: Any) -> frozenset[int]:
    if given is None:
        return frozenset()
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    try:
        codes = frozenset(_code(each) for each in several)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{argument} must be an exit code or a list of exit codes (numbers), not {given!r}."
        ) from None
    if 0 in codes:
        raise ConfigurationError(f"{argument}: 0 is the exit code of success and can't stand there.")
    return codes


def _code(given: Any) -> int:
    if isinstance(given, (bool, float)):
        raise TypeError(given)
    return int(given)
