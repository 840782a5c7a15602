"""From a verdict to how an Airflow task ends. Shared by operator and sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    from collections.abc import Mapping

_ERRORS: Mapping[str, type[JobOutcomeError]] = {
    "failed": JobFailed,
    "timed_out": JobTimedOut,
    "cancelled": JobCancelled,
    "lost": JobLost,
}


def verdict_of_event(event: Mapping[str, Any]) -> Verdict:
    """The verdict that a trigger's event carries.

    Raises:
        ServiceUnavailable: the trigger lost sight of the job; it was left alone.
        ConfigurationError: an argument or the connection can't work; nothing was asked.
    """
    if event["status"] == "misconfigured":
        raise ConfigurationError(event["reason"])
    if event["status"] == "out_of_sight":
        raise ServiceUnavailable(
            f"Job {event['job_id']!r} is out of sight: {event['reason']}. The job was left alone and may still run."
        )
    return Verdict.from_dict(event)


def raise_unless_succeeded(verdict: Verdict) -> None:
    """End the task as its job ended.

    Raises:
        JobOutcomeError: the job did not succeed; which subclass tells how.
    """
    if not verdict.succeeded:
        raise _ERRORS[verdict.status](verdict)
