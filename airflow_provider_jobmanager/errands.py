"""What a wait does now and then beside the poll, such as telling how far its job is.

Between two rounds of an errand there is neither a task of the event loop nor a timer of its own for it: so thousands of
waiting jobs stay few objects each, which every garbage collection of the triggerer goes through, and no more than a few
rounds run at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.waiting import Wait

_AT_ONCE = 8
_GRAIN_SECONDS = 0.25


@define(eq=False)
class Errand:
    """One errand, done in the context of who began it: what it logs lands in that task's log.

    Attributes:
        wait: the wait that it is for.
        log: the log of the task that waits.
    """

    wait: Wait
    log: Any
    _context: contextvars.Context = field(factory=contextvars.copy_context, init=False)
    _slot: int = field(default=0, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)

    async def round(self) -> float:
        """Do it once; returns the seconds until the next round."""
        raise NotImplementedError

    def begin(self, after: float) -> None:
        """Be due after so many seconds, and again and again until the end."""
        self._slot = self.wait.errands.put(self, after)

    def cancel(self) -> None:
        """Do it no more."""
        self._ended = True
        self.wait.errands.take_back(self, self._slot)
        if self._task is not None:
            self._task.cancel()

    async def end(self) -> None:
        """Do it no more; a round that is under way is cancelled, and over when this returns."""
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def begin_round(self, over: Callable[[], None]) -> bool:
        """Begin a round; False when the errand has ended meanwhile.

        Args:
            over: called when the round is over, also when it is cancelled before its first step.
        """
        if self._ended:
            return False
        self._task = self._context.run(asyncio.ensure_future, self._run())
        self._task.add_done_callback(lambda _: over(), context=self.wait.errands.context)
        return True

    async def _run(self) -> None:
        try:
            pause = await self.round()
        except Exception:
            # A defect in what is told is no reason to lose sight of the job.
            self.log.exception("What happens meanwhile is not told any more.")
        else:
            self._task = None
            self.begin(pause)


@define(eq=False)
class Errands:
    """The errands of all waits of an account; a round begins when it is due and there is room.

    Those that are due within a quarter of a second of each other share a slot, which has one timer.

    Attributes:
        context: where they fall due. It is nobody's.
    """

    context: contextvars.Context = field(factory=contextvars.Context, init=False)
    _slots: dict[int, dict[Errand, None]] = field(factory=dict, init=False)
    _due: deque[Errand] = field(factory=deque, init=False)
    _running: int = field(default=0, init=False)

    def put(self, errand: Errand, after: float) -> int:
        """Have a round begin after so many seconds; returns the slot that :meth:`take_back` wants."""
        loop = asyncio.get_running_loop()
        slot = math.ceil((loop.time() + max(0.0, after)) / _GRAIN_SECONDS)
        if slot not in self._slots:
            self._slots[slot] = {}
            loop.call_at(slot * _GRAIN_SECONDS, self._fall_due, slot, context=self.context)
        self._slots[slot][errand] = None
        return slot

    def take_back(self, errand: Errand, slot: int) -> None:
        """Forget an errand that is not due yet."""
        self._slots.get(slot, {}).pop(errand, None)

    def _fall_due(self, slot: int) -> None:
        self._due.extend(self._slots.pop(slot))
        self._begin()

    def _begin(self) -> None:
        while self._due and self._running < _AT_ONCE:
            begun = self._due.popleft().begin_round(self._one_is_over)
            self._running += begun

    def _one_is_over(self) -> None:
        self._running -= 1
        self._begin()
