"""When a job schedule makes its next job.

Follows the REST reference of ``Schedule`` (learn.microsoft.com/rest/api/batchservice/job-schedules): a first run at the
schedule's creation or at ``doNotRunUntil``, one more every ``recurrenceInterval``, each lost when no job could be made
within ``startWindow`` of it, and at most one job of the schedule active at a time. Pure: time is handed in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_provider_jobmanager.local.errors import invalid_property
from airflow_provider_jobmanager.local.formats import TICKS, UNLIMITED_TICKS, parse_duration, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST = timedelta(minutes=1)
"""The shortest ``startWindow`` and ``recurrenceInterval``."""

_LONGEST_SECONDS = timedelta.max.total_seconds() / 2


@frozen
class Step:
    """What is to be done about a schedule now.

    Attributes:
        create: the run whose job is to be made now; hand it back as ``last`` once the job is made.
        next_run: the ``nextRunTime`` to show, None when there is none to come.
        completed: the schedule is over.
    """

    create: datetime | None = None
    next_run: datetime | None = None
    completed: bool = False


@frozen
class Recurrence:
    """A schedule's runs.

    Attributes:
        first: the first run.
        until: no job is made after it; None for no end.
        window: how long a run waits for its job; None for as long as it takes.
        interval: from one run to the next; None for a single run.
    """

    first: datetime
    until: datetime | None = None
    window: timedelta | None = None
    interval: timedelta | None = None

    @classmethod
    def of(cls, schedule: Mapping[str, Any], created: datetime) -> Recurrence:
        """The runs of a ``schedule`` that :func:`check_schedule` found good.

        Args:
            schedule: the property as the client sent it; empty for a single run at once.
            created: when the job schedule was created, or last enabled.
        """
        first = parse_timestamp(schedule["doNotRunUntil"]) if schedule.get("doNotRunUntil") else created
        return cls(
            max(first, created),
            parse_timestamp(schedule["doNotRunAfter"]) if schedule.get("doNotRunAfter") else None,
            _span(schedule.get("startWindow")),
            _span(schedule.get("recurrenceInterval")),
        )

    def look(self, now: datetime, last: datetime | None, *, active: bool) -> Step:
        """What is to be done now.

        Args:
            now: the service's time.
            last: the run whose job was made last, None for none yet.
            active: that job is not completed.
        """
        over = self.until is not None and now > self.until
        if over or (self.interval is None and last is not None):
            return Step(completed=not active)
        if now < self.first:
            return Step(next_run=self._unless_over(self.first))
        run = self._run_at(now)
        following = self._following(run)
        if last is not None and run <= last:
            return Step(next_run=following)
        if self.window is not None and now - run > self.window:  # too late for this one
            return Step(next_run=following, completed=self.interval is None and not active)
        if active:  # it waits for the job before it, and no time that has passed is shown for it
            return Step(next_run=following)
        return Step(create=run, next_run=following)

    def _run_at(self, now: datetime) -> datetime:
        """The newest run that is not in the future."""
        return self.first + (now - self.first) // self.interval * self.interval if self.interval else self.first

    def _following(self, run: datetime) -> datetime | None:
        if self.interval is None:
            return None
        try:
            return self._unless_over(run + self.interval)
        except OverflowError:  # beyond the end of the calendar: there is none to come
            return None

    def _unless_over(self, run: datetime) -> datetime | None:
        return None if self.until is not None and run > self.until else run


def check_schedule(schedule: Mapping[str, Any], name: str = "schedule") -> None:
    """Nothing, when a job schedule may have this ``schedule``.

    Raises:
        BatchError: 400 ``InvalidPropertyValue``.
    """
    for part in ("doNotRunUntil", "doNotRunAfter"):
        if schedule.get(part) is not None:
            try:
                parse_timestamp(schedule[part])
            except (ValueError, AttributeError) as error:
                raise invalid_property(f"{name}.{part}", str(schedule[part]), str(error)) from None
    for part in ("startWindow", "recurrenceInterval"):
        if schedule.get(part) is not None:
            try:
                span = _span(schedule[part])
            except (ValueError, AttributeError) as error:
                raise invalid_property(f"{name}.{part}", str(schedule[part]), str(error)) from None
            if span is not None and span < SHORTEST:
                raise invalid_property(f"{name}.{part}", schedule[part], f"{part} is at least one minute")


def _span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    ticks = parse_duration(text)
    if ticks == UNLIMITED_TICKS or ticks / TICKS > _LONGEST_SECONDS:
        return None
    return timedelta(microseconds=ticks // 10)
