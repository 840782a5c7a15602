"""What a task's exit conditions say of its job, where ``onTaskFailure`` is ``performExitOptionsJobAction``.

https://learn.microsoft.com/rest/api/batchservice/tasks/create-task (``ExitConditions``): a match of the exit code goes
before an upload error; ``default`` is for all else but exit code 0; a failure ends the job unless its options say not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXIT_CODE = "failureexitcode"


def failure_ends_job(task: Mapping[str, Any]) -> bool:
    """Whether the failure of a task ends its job. What can't be understood is taken for no condition."""
    conditions = _mapping(task.get("exitConditions"))
    options = _matching(conditions, _mapping(task.get("executionInfo")))
    return str(options.get("jobAction") or "terminate").lower() == "terminate"


def _matching(conditions: Mapping[str, Any], execution: Mapping[str, Any]) -> Mapping[str, Any]:
    code = execution.get("exitCode")
    if isinstance(code, int):
        for entry in map(_mapping, conditions.get("exitCodes") or ()):
            if entry.get("code") == code:
                return _mapping(entry.get("exitOptions"))
        for entry in map(_mapping, conditions.get("exitCodeRanges") or ()):
            if _number(entry.get("start")) <= code <= _number(entry.get("end")):
                return _mapping(entry.get("exitOptions"))
    # Without an exit code the command never ran to its end: what comes before it failed. With one, either the code is
    # the failure or what comes after it.
    failure = str(_mapping(execution.get("failureInfo")).get("code") or "").lower()
    special = "preProcessingError" if code is None else "fileUploadError" if failure != _EXIT_CODE else ""
    return _mapping(conditions.get(special) or conditions.get("default"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return value if isinstance(value, int) else float("nan")
