"""How many requests the waits of an account may make: so many a second, so many at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.account import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_jobmanager.batch.calls import Answer, Call

_READS_AT_ONCE = 16


@define
class Turnstile:
    """Lets callers through in the order they came, so many a second.

    Attributes:
        per_second: how many.
        clock: seconds that only grow.
        sleep: for tests to replace.
    """

    per_second: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    _queue: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _next: float = field(default=float("-inf"), init=False)

    async def turn(self) -> None:
        """Wait until it is the caller's turn."""
        async with self._queue:
            pause = self._next - self.clock()
            if pause > 0:
                await self.sleep(pause)
            self._next = max(self._next, self.clock()) + 1 / self.per_second

    def take(self, count: int) -> None:
        """Take so many places at once; whoever comes later waits all the longer."""
        self._next = max(self._next, self.clock()) + count / self.per_second


@define
class FewAtOnce(AsyncClient):
    """A client for what the waits ask, each for itself: only so many requests are on their way at once."""

    inner: AsyncClient = field(kw_only=True)
    gate: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(_READS_AT_ONCE), kw_only=True)

    async def call(self, call: Call) -> Answer:
        """As :meth:`AsyncClient.call`, when there is room."""
        async with self.gate:
            return await self.inner.call(call)

    async def room(self) -> None:
        """Wait until all who want to ask by now are on their way."""
        await asyncio.sleep(0)
        async with self.gate:
            pass
