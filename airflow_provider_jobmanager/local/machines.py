"""State machines of jobs, tasks, nodes and job schedules, as tables.

Sources: the states and their causes are those of the REST reference (Job, Task, Compute Node, Job Schedule); what a
change does to ``previousState``, ``eTag`` and ``lastModified`` is what recorded traffic of the service shows:

- ``previousState`` names the last state the resource came to rest in, so a completed job was ``active`` before, not
  ``terminating``; a disabled one was ``active``, not ``disabling``.
- ``eTag`` and ``lastModified`` move with what a user asks for, never with what the service does by itself: a job that
  completes keeps the tag of the request that terminated it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_provider_jobmanager.local import formats

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@frozen
class Row:
    """One allowed change of state.

    Attributes:
        before: the state it leaves; None for a new resource.
        after: the state it enters.
        cause: why, one of the words of the table.
        touches: whether eTag and lastModified move.
    """

    before: str | None
    after: str
    cause: str
    touches: bool = False


class Machine:
    """A table of :class:`Row` and the act of walking along one."""

    def __init__(self, name: str, passing: Iterable[str], rows: Iterable[Row]) -> None:
        self.name = name
        self.passing = frozenset(passing)
        self.rows = tuple(rows)
        self._table = {(row.before, row.after, row.cause): row for row in self.rows}
        self.states = frozenset(row.after for row in self.rows)

    def begin(self, doc: dict[str, Any], state: str, now: datetime) -> None:
        """Put a new resource into its first state.

        Raises:
            ValueError: the table has no such first state.
        """
        if (None, state, "create") not in self._table:
            raise ValueError(f"A {self.name} can't begin as {state}.")
        doc["state"] = state
        doc["stateTransitionTime"] = formats.timestamp(now)

    def move(self, doc: dict[str, Any], after: str, cause: str, now: datetime) -> None:
        """Change the state of ``doc`` and what hangs on it.

        Args:
            doc: the resource in wire form; ``state`` and its companions are changed in place.
            after: the state to enter.
            cause: the word of the table.
            now: the service's time.

        Raises:
            ValueError: the table has no such row. That is a bug of the rules, never a user's mistake.
        """
        before = doc["state"]
        row = self._table.get((before, after, cause))
        if row is None:
            raise ValueError(f"A {self.name} can't go from {before} to {after} by {cause}.")
        if before not in self.passing:
            doc["previousState"] = before
            doc["previousStateTransitionTime"] = doc["stateTransitionTime"]
        doc["state"] = after
        doc["stateTransitionTime"] = formats.timestamp(now)
        if row.touches:
            touch(doc, now)


def touch(doc: dict[str, Any], now: datetime) -> None:
    """Stamp a change that a user asked for: one value in two members, and never the one that was there before."""
    if "lastModified" in doc:
        now = max(now, formats.parse_timestamp(doc["lastModified"]) + _MOMENT)
    doc["lastModified"] = formats.timestamp(now)
    doc["eTag"] = formats.etag(now)


def settled(since: str, settle: timedelta, now: datetime) -> bool:
    """Whether a passing state has lasted as long as it must.

    One that began at a moment which is still to come has: an earlier life of the service had its clock ahead.

    Args:
        since: when the state began, as on the wire.
        settle: how long it must last.
        now: the service's time.
    """
    return not timedelta() <= now - formats.parse_timestamp(since) < settle


_MOMENT = timedelta(microseconds=1)
_ENDABLE_JOB = ("active", "disabling", "disabled")

JOB = Machine(
    "job",
    passing=("disabling", "terminating", "deleting"),
    rows=(
        Row(None, "active", "create"),
        Row("active", "disabling", "disable", touches=True),
        # Asking again while it is disabling or disabled changes nothing but the tag; the rules do that themselves.
        Row("disabling", "disabled", "tasks dealt with"),
        # The state `enabling` was never seen in recorded traffic: an enabled job is active at once.
        Row("disabled", "active", "enable", touches=True),
        *(Row(state, "terminating", "terminate", touches=True) for state in _ENDABLE_JOB),
        *(Row(state, "terminating", "service") for state in _ENDABLE_JOB),
        Row("terminating", "completed", "nodes done"),
        Row("active", "completed", "scheduling error"),
        *(Row(state, "deleting", "delete") for state in (*_ENDABLE_JOB, "terminating", "completed")),
    ),
)

TASK = Machine(
    "task",
    passing=(),
    rows=(
        Row(None, "active", "create"),
        Row("active", "preparing", "node chosen"),
        Row("active", "running", "node chosen"),
        Row("preparing", "running", "job prepared"),
        Row("preparing", "active", "preparation failed"),
        Row("preparing", "active", "requeue"),
        Row("preparing", "completed", "ended"),
        Row("running", "active", "retry"),
        Row("running", "active", "requeue"),
        Row("running", "completed", "exit"),
        Row("running", "completed", "ended"),
        Row("active", "completed", "terminate", touches=True),
        Row("completed", "active", "reactivate", touches=True),
    ),
)

POOL = Machine(
    "pool",
    passing=(),
    rows=(
        Row(None, "active", "create"),
        Row("active", "deleting", "delete"),
    ),
)

_UP = ("idle", "running", "offline", "waitingforstarttask", "starttaskfailed")

NODE = Machine(
    "node",
    passing=(),
    rows=(
        Row(None, "starting", "create"),
        *(
            Row(before, after, "started")
            for before in ("starting", "rebooting", "reimaging", "preempted")
            for after in ("idle", "waitingforstarttask")
        ),
        Row("waitingforstarttask", "idle", "start task succeeded"),
        Row("waitingforstarttask", "starttaskfailed", "start task failed"),
        Row("idle", "running", "task started"),
        Row("running", "idle", "tasks finished"),
        Row("idle", "offline", "scheduling disabled"),
        Row("offline", "idle", "scheduling enabled"),
        *(Row(state, "rebooting", "reboot") for state in (*_UP, "starting")),
        *(Row(state, "reimaging", "reimage") for state in _UP),
        *(Row(state, "preempted", "preempt") for state in _UP),
        *(Row(state, "leavingpool", "remove") for state in (*_UP, "starting", "rebooting", "reimaging", "preempted")),
    ),
)

JOB_SCHEDULE = Machine(
    "job schedule",
    passing=("terminating", "deleting"),
    rows=(
        Row(None, "active", "create"),
        Row("active", "disabled", "disable", touches=True),
        Row("disabled", "active", "enable", touches=True),
        *(Row(state, "terminating", "terminate", touches=True) for state in ("active", "disabled")),
        Row("terminating", "completed", "jobs done"),
        Row("active", "completed", "no more recurrences"),
        *(Row(state, "deleting", "delete") for state in ("active", "disabled", "terminating", "completed")),
    ),
)
