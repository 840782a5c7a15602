"""What goes on beside a trigger's wait, and ends with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.meanwhile import Meanwhile
from airflow_provider_jobmanager.sight import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Coroutine


@define(eq=False)
class Beside(Meanwhile):
    """What is told meanwhile, and whatever else was begun here: all of it is over after :meth:`end`."""

    _tasks: tuple[asyncio.Task[None], ...] = field(default=(), init=False)
    _alarm: asyncio.TimerHandle | None = field(default=None, init=False)

    async def end(self) -> None:
        """Let nothing of it go on."""
        # All are told before anything is awaited: a second cancellation must leave nothing running.
        if self._alarm is not None:
            self._alarm.cancel()
        self.cancel()
        for task in self._tasks:
            task.cancel()
        await super().end()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that may end the wait; what breaks in it is logged."""

        async def watched() -> None:
            try:
                await work
            except Exception:
                # A defect of ours must not end the wait for a job that may be well.
                self.log.exception("What was to end this wait has broken; it goes on without")

        task = asyncio.ensure_future(watched())
        task.add_done_callback(lambda _: work.close())  # it may be cancelled before its first step
        self._tasks += (task,)

    def set_alarm(self, seconds: float | None) -> None:
        """Tell the wait when its time is up; None is never."""
        if seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(seconds, self.wait.tell, OutOfTime())
