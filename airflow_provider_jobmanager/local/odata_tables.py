"""What each list can be filtered by, and how each property can be compared.

The tables of *OData filters in Batch* of the REST reference
(learn.microsoft.com/rest/api/batchservice/odata-filters-in-batch). Names are case-sensitive.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Property:
    """A property that a list can be filtered by.

    Attributes:
        path: where it stands in a row.
        kind: ``text``, ``time``, ``int`` or ``bool``.
        operators: what it can be compared with, ``startswith`` among them.
        values: the only texts it can have, in lower case; empty for any.
    """

    path: tuple[str, ...]
    kind: str
    operators: tuple[str, ...]
    values: tuple[str, ...] = ()


_SIX = ("eq", "ne", "ge", "gt", "le", "lt")
_TEXT = ("startswith", *_SIX)
_EQUAL = ("eq", "ne")

_JOB_STATES = ("active", "disabling", "disabled", "enabling", "terminating", "completed", "deleting")
_TASK_STATES = ("active", "preparing", "running", "completed")
_SCHEDULE_STATES = ("active", "completed", "disabled", "terminating", "deleting")
_NODE_STATES = (
    "idle", "running", "creating", "starting", "waitingforstarttask", "starttaskfailed", "unknown", "leavingpool",
    "offline", "preempted", "unusable", "rebooting", "reimaging", "upgradingos", "deallocated", "deallocating",
)  # fmt: skip
_RESULTS = ("success", "failure")


def _text(name: str, operators: tuple[str, ...] = _TEXT, *values: str) -> tuple[str, Property]:
    return name, Property(tuple(name.split("/")), "text", operators, values)


def _times(*names: str) -> list[tuple[str, Property]]:
    return [(name, Property(tuple(name.split("/")), "time", _SIX)) for name in names]


def _bool(name: str) -> tuple[str, Property]:
    return name, Property((name,), "bool", _EQUAL)


def _int(name: str) -> tuple[str, Property]:
    return name, Property(tuple(name.split("/")), "int", _SIX)


def _run(prefix: str) -> list[tuple[str, Property]]:
    """What a preparation, release or start task says of its run."""
    return [
        _text(f"{prefix}/state", _EQUAL, "running", "completed"),
        _text(f"{prefix}/result", _EQUAL, *_RESULTS),
        _int(f"{prefix}/exitCode"),
        *_times(f"{prefix}/startTime", f"{prefix}/endTime"),
    ]


_CHANGES = ("stateTransitionTime", "creationTime", "lastModified")
_SCHEDULE_JOBS = [
    _text("state", _EQUAL, *_JOB_STATES),
    *_times(*_CHANGES, "executionInfo/startTime", "executionInfo/endTime"),
    _text("executionInfo/poolId"),
]
_FILES = [_text("name", ("startswith",))]

FILTERS: dict[str, dict[str, Property]] = {
    "jobs": dict([_text("id"), *_SCHEDULE_JOBS]),
    "schedule jobs": dict(_SCHEDULE_JOBS),
    "tasks": {
        **dict(
            [
                _text("id"),
                _text("state", _EQUAL, *_TASK_STATES),
                *_times(*_CHANGES, "executionInfo/startTime", "executionInfo/endTime"),
                _int("executionInfo/exitCode"),
                _text("executionInfo/result", _EQUAL, *_RESULTS),
            ]
        ),
        # So the page spells it, though the property of a task is lastModified; both are taken.
        "lastModifiedTime": Property(("lastModified",), "time", _SIX),
    },
    "pools": dict(
        [
            _text("id"),
            _text("state", _EQUAL, "active", "deleting"),
            _text("allocationState", ("eq",), "steady", "resizing", "stopping"),
            *_times(*_CHANGES, "allocationStateTransitionTime"),
            _bool("enableAutoScale"),
            _bool("enableInterNodeCommunication"),
            _text("vmSize", _EQUAL),
        ]
    ),
    "job schedules": dict(
        [
            _text("id"),
            _text("state", _EQUAL, *_SCHEDULE_STATES),
            *_times(*_CHANGES, "executionInfo/endTime", "schedule/doNotRunUntil", "schedule/doNotRunAfter"),
        ]
    ),
    "nodes": dict(
        [
            _text("state", _EQUAL, *_NODE_STATES),
            *_times("stateTransitionTime", "lastBootTime", "allocationTime"),
            *_run("startTaskInfo"),
            _text("startTaskInfo/state", ("eq",), "running", "completed"),
        ]
    ),
    "node counts": dict([_text("poolId", ("eq",))]),
    "task files": dict(_FILES),
    "node files": dict(_FILES),
    "preparation and release status": dict(
        [
            _text("poolId", _EQUAL),
            _text("nodeId", _EQUAL),
            *_run("jobPreparationTaskExecutionInfo"),
            *_run("jobReleaseTaskExecutionInfo"),
        ]
    ),
    "supported images": dict(
        [
            _text("osType", _EQUAL, "linux", "windows"),
            _text("verificationType", _EQUAL, "verified", "unverified"),
            _text("nodeAgentSKUId", _EQUAL),
        ]
    ),
    "usage metrics": dict([_text("poolId", ("eq", "ge", "gt", "le", "lt", "startswith"))]),
}
"""List -> property -> what it can be compared with."""
