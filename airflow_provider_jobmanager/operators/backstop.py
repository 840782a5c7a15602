"""The limit that the service itself holds a job to, in case nobody else gets to end it in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.verdict import WaitFor

_SECONDS = 300.0


def backstop(seconds: float) -> str:
    """The limit of a job that has so many seconds left: some minutes more, as an ISO 8601 duration."""
    return f"PT{int(seconds + _SECONDS)}S"


def bound(body: dict[str, Any], seconds: float | None, *, may_stop: bool, wait_for: WaitFor) -> bool:
    """Put the limit into the request body of a job.

    Args:
        body: the request body.
        seconds: how long the task may take; None for ever.
        may_stop: whether a task that is out of time ends its job.
        wait_for: what the task waits for.

    Returns:
        Whether that is ours to say: not without a deadline, nor when the user has set a limit.
    """
    given = body.get("constraints") or {}
    if seconds is None or not may_stop or wait_for == "job_manager":
        return False
    if not isinstance(given, dict) or "maxWallClockTime" in given:  # a template may set one
        return False
    body["constraints"] = given | {"maxWallClockTime": backstop(seconds)}
    return True
