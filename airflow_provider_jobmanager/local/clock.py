"""The service's idea of time: the machine's, or one that a test stops and moves.

Everything in the local service that has to do with time asks one :class:`Clock`: time stamps, wall clocks of jobs and
tasks, recurrences, the age of a signature, the ``Date`` header.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that runs with the machine until told otherwise.

    Args:
        stopped_at: begin stopped at this time, so that a test can be repeated to the microsecond.

    Attributes:
        skew: how far the clock that clients see (``Date`` header, age of signatures) is ahead of the service's own.
    """

    def __init__(self, stopped_at: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._offset = timedelta()
        self._stopped_at = stopped_at
        self._follow: Callable[[datetime], None] | None = None
        self._wake: Callable[[], None] | None = None
        self.skew = timedelta()

    def now(self) -> datetime:
        """The time, UTC, with microseconds."""
        with self._lock:
            return self._now()

    def seen_by_clients(self) -> datetime:
        """The time with the skew that a fault injected."""
        return self.now() + self.skew

    def for_signatures(self) -> datetime:
        """The time that the age of a signature is judged by.

        It is the machine's, with the skew of a fault: clients sign by the machine's clock, so one that a test moved
        would lock all of them out.
        """
        return datetime.now(timezone.utc) + self.skew

    @property
    def stopped(self) -> bool:
        """Whether time moves only by :meth:`advance`."""
        return self._stopped_at is not None

    def stop(self) -> None:
        """Hold the time where it is; nothing becomes due until :meth:`advance`."""
        with self._lock:
            self._stopped_at = self._now()

    def resume(self) -> None:
        """Let the time run on from where it stands."""
        with self._lock:
            if self._stopped_at is not None:
                self._offset = self._stopped_at - datetime.now(timezone.utc)
                self._stopped_at = None
        if self._wake is not None:
            self._wake()

    def advance(self, by: timedelta | float) -> None:
        """Move the time forward, and everything that becomes due on the way happens, in order, before this returns.

        Args:
            by: how far, a number means seconds.

        Raises:
            ValueError: for a negative time: a service's clock does not run backwards.
        """
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta():
            raise ValueError(f"A clock advances; it can't go back by {-step}.")
        target = self.now() + step
        if self._follow is not None:
            self._follow(target)
        self.move_to(target)

    def move_to(self, time: datetime) -> None:
        """Set the time to ``time`` unless it is already past it."""
        with self._lock:
            gap = time - self._now()
            if gap <= timedelta():
                return
            if self._stopped_at is None:
                self._offset += gap
            else:
                self._stopped_at += gap

    def reset(self) -> None:
        """Back to the machine's time, running, without skew."""
        with self._lock:
            self._offset = timedelta()
            self._stopped_at = None
            self.skew = timedelta()

    def follow(self, action: Callable[[datetime], None], wake: Callable[[], None]) -> None:
        """Tell whoever lives by this clock.

        Args:
            action: works through what is due up to a time, before the clock arrives there.
            wake: is called when the time runs again.
        """
        self._follow = action
        self._wake = wake

    def _now(self) -> datetime:
        if self._stopped_at is not None:
            return self._stopped_at
        return datetime.now(timezone.utc) + self._offset
