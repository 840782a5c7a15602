"""What an answer must look like before a verdict is read from it: the one place that checks.

JSON with HTTP 200 may be a proxy's or a broken gateway's. What is odd in it is trouble, which is waited out: never a
verdict, and never the end of who reads it. Members that nobody reads may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.errors import ServiceUnavailable

_TEXT = "a text"
_TIME = "a time"
_NUMBER = "a whole number"
_FLAG = "true or false"

_FAILURE = {"code": _TEXT, "message": _TEXT}
_LISTED = {"id": _TEXT, "state": _TEXT, "creationTime": _TIME, "stateTransitionTime": _TIME}
_JOB = _LISTED | {
    "executionInfo": {
        "startTime": _TIME,
        "endTime": _TIME,
        "poolId": _TEXT,
        "terminateReason": _TEXT,
        "schedulingError": _FAILURE,
    },
    "jobManagerTask": {"id": _TEXT, "killJobOnCompletion": _FLAG},
}
_TASK = _LISTED | {
    "executionInfo": {
        "startTime": _TIME,
        "endTime": _TIME,
        "exitCode": _NUMBER,
        "result": _TEXT,
        "retryCount": _NUMBER,
        "requeueCount": _NUMBER,
        "failureInfo": _FAILURE,
    },
    "nodeInfo": {},
}
_SCHEDULE = {"executionInfo": {"recentJob": {"id": _TEXT}}}


def check_listed(job: Any) -> None:
    """See that a row of a list is a job of Batch, and no more of it: most rows are of jobs that nobody waits for.

    Raises:
        ServiceUnavailable: it is not.
    """
    if not isinstance(job, dict) or not isinstance(job.get("id"), str) or not isinstance(job.get("state"), str):
        raise ServiceUnavailable("The answer does not describe a job of Batch")
    for name in ("creationTime", "stateTransitionTime"):
        if not _is(_TIME, job.get(name)):
            raise ServiceUnavailable(f"The answer does not describe a job of Batch: its {name} is not a time")


def check_job(job: Any) -> None:
    """See that all that a verdict needs of a job is what it should be, or is not there.

    Raises:
        ServiceUnavailable: it is not.
    """
    _check("job", job, _JOB, ("id",))


def check_task(task: Any) -> None:
    """Likewise for a task.

    Raises:
        ServiceUnavailable: it is not.
    """
    _check("task", task, _TASK, ("id",))


def check_manager(task: Any) -> None:
    """Likewise for a job manager task that was asked for its state.

    Raises:
        ServiceUnavailable: it is not.
    """
    _check("task", task, _TASK, ("id", "state"))


def check_schedule(schedule: Any) -> None:
    """Likewise for a job schedule.

    Raises:
        ServiceUnavailable: it is not.
    """
    _check("job schedule", schedule, _SCHEDULE, ())


def _check(kind: str, data: Any, shape: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    wrong = _wrong(data, shape, "it")
    if not wrong and (missing := [name for name in needed if data.get(name) is None]):
        wrong = f"it has no {missing[0]}"
    if wrong:
        raise ServiceUnavailable(f"The answer does not describe a {kind} of Batch: {wrong}")


def _wrong(data: Any, shape: Mapping[str, Any], whole: str) -> str:
    """What is wrong with a mapping; empty for nothing. A member that is null is not there."""
    if not isinstance(data, Mapping):
        return f"{whole} is not a mapping"
    for name, wanted in shape.items():
        value, path = data.get(name), f"its {name}" if whole == "it" else f"{whole}.{name}"
        if value is None:
            continue
        if isinstance(wanted, Mapping):
            if said := _wrong(value, wanted, path):
                return said
        elif not _is(wanted, value):
            return f"{path} is not {wanted}"
    return ""


def _is(wanted: str, value: Any) -> bool:
    if wanted == _TIME:
        try:
            moment(value)
        except (ValueError, AttributeError, TypeError):
            return False
        return True
    if wanted == _NUMBER:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, {_TEXT: str, _FLAG: bool}[wanted])
