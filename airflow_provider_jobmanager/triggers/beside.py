"""What goes on beside a trigger's wait, and ends with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.sight import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_jobmanager.errands import Errand
    from airflow_provider_jobmanager.poll import Wait


@define(eq=False)
class Beside:
    """Everything that is begun here is over when the block of its ``async with`` is left."""

    _errand: Errand | None = field(default=None, init=False)
    _tasks: tuple[asyncio.Task[None], ...] = field(default=(), init=False)
    _alarm: asyncio.TimerHandle | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All are told before anything is awaited: a second cancellation must leave nothing running.
        if self._alarm is not None:
            self._alarm.cancel()
        if self._errand is not None:
            self._errand.cancel()
        for task in self._tasks:
            task.cancel()
        if self._errand is not None:
            await self._errand.end()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def do(self, errand: Errand, after: float) -> None:
        """Begin the errand; its first round is after so many seconds."""
        self._errand = errand
        errand.begin(after)

    def run(self, work: Coroutine[Any, Any, None], log: Any) -> None:
        """Run something that may end the wait; what breaks in it is logged."""

        async def watched() -> None:
            try:
                await work
            except Exception:
                # A defect of ours must not end the wait for a job that may be well.
                log.exception("What was to end this wait has broken; it goes on without")

        self._tasks += (asyncio.ensure_future(watched()),)

    def set_alarm(self, wait: Wait, seconds: float | None) -> None:
        """Tell the wait when its time is up; None is never."""
        if seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(seconds, wait.tell, OutOfTime())
