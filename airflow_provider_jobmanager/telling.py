"""Paces what is told in a task's log while its job is waited for (:mod:`.batch.telling`).

On a worker between two looks at the job, in the triggerer beside the wait, where every request goes through the small
budget that all waits of an account share. Nothing that is told ever ends a wait.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.account import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_jobmanager.account import Client
    from airflow_provider_jobmanager.batch.calls import Answer, Call
    from airflow_provider_jobmanager.batch.telling import Line, Telling
    from airflow_provider_jobmanager.following import Wait

EVERY_SECONDS = 10.0
"""Seconds after each look until the next; more when many share the budget."""


@define
class Sparing(AsyncClient):
    """A client that waits for a place in the shared budget before each request."""

    wait: Wait = field(kw_only=True)

    @classmethod
    def of(cls, wait: Wait) -> Sparing:
        """The client of a wait, used sparingly."""
        return cls(wait.client.account, wait.client.sdk, wait=wait)

    async def call(self, call: Call) -> Answer:
        """As :meth:`AsyncClient.call`, in turn."""
        await self.wait.spare()
        return await self.wait.client.call(call)


async def keep_telling(wait: Wait, telling: Telling, log: Any, *, every: float = EVERY_SECONDS) -> None:
    """Tell in the triggerer, until cancelled.

    Args:
        wait: the wait.
        telling: what was told, and what is to be told.
        log: the log of the task that waits.
        every: seconds between two looks.
    """
    client = Sparing.of(wait)
    while True:
        write(log, await client.perform(telling.step()))
        await asyncio.sleep(every)


@define
class Teller:
    """Tells on a worker.

    Attributes:
        client: where to ask.
        telling: what was told, and what is to be told.
        log: the task's log.
        every: seconds between two looks.
        clock: seconds that only grow.
    """

    client: Client
    telling: Telling
    log: Any
    every: float = EVERY_SECONDS
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=float("-inf"), init=False)

    def look(self, *, last: bool = False) -> None:
        """Look once, unless the last look was a moment ago."""
        if not last and self.clock() < self._next:
            return
        write(self.log, self.client.perform(self.telling.step(last=last)))
        self._next = self.clock() + self.every


def write(log: Any, lines: Iterable[Line]) -> None:
    """Log lines, each as a record of its own."""
    for line in lines:
        log.log(line.level, "%s", line.text)
