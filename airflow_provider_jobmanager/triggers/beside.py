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

    _errands: list[Errand] = field(factory=list, init=False)
    _tasks: list[asyncio.Task[None]] = field(factory=list, init=False)
    _alarm: asyncio.TimerHandle | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(errand.end() for errand in self._errands), return_exceptions=True)

    def do(self, errand: Errand, after: float) -> None:
        """Begin an errand; its first round is after so many seconds."""
        errand.begin(after)
        self._errands.append(errand)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that may end the wait."""
        self._tasks.append(asyncio.ensure_future(work))

    def set_alarm(self, wait: Wait, seconds: float | None) -> None:
        """Tell the wait when its time is up; None is never."""
        if seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(seconds, wait.tell, OutOfTime())
