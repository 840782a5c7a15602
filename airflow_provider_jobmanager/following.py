"""Following jobs: one client and one poll per account and event loop, shared by all who wait.

:func:`follow` is what a trigger uses. What is asked, and how often, is in :mod:`.poll`; what a wait hears, and how
long it puts up with a service that can't be asked, in :mod:`.sight`.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from attrs import define, field

from airflow_provider_jobmanager.poll import Poll
from airflow_provider_jobmanager.sight import (
    Broken,
    Changed,
    Ended,
    GaveUp,
    Judged,
    News,
    OutOfSight,
    OutOfTime,
    Recovered,
    Sight,
    Trouble,
    insist,
)
from airflow_provider_jobmanager.waiting import Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_jobmanager.account import Account, AsyncClient

__all__ = [
    "Broken",
    "Changed",
    "Ended",
    "GaveUp",
    "Judged",
    "News",
    "OutOfSight",
    "OutOfTime",
    "Poll",
    "Recovered",
    "Sight",
    "Trouble",
    "Wait",
    "follow",
    "insist",
    "shared_client",
]


@define(eq=False)
class _Shared:
    """One client and one poll, as long as anybody uses them."""

    users: int = 0
    opening: asyncio.Lock = field(factory=asyncio.Lock)
    client: AsyncClient | None = None
    poll: Poll | None = None
    task: asyncio.Task[None] | None = None


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()
_closing: set[asyncio.Task[None]] = set()  # the loop itself holds its tasks weakly


@asynccontextmanager
async def shared_client(account: Account) -> AsyncIterator[AsyncClient]:
    """The one client of an account on this event loop; closed when nobody uses it any more.

    Connections that resolve to the same endpoint and identity share it, whatever their ids.
    """
    shared = _enter(account)
    try:
        yield await _open(shared, account)
    finally:
        await _leave(shared, account)


@define(eq=False)
class follow(Wait):  # noqa: N801 - reads as what it does: `async with follow(job_id, account=account) as wait`
    """Wait for a job together with all others of the account on this event loop.

    Attributes:
        account: the account.
    """

    account: Account = field(kw_only=True)
    _shared: _Shared = field(init=False)

    async def __aenter__(self) -> Wait:
        self._shared = _enter(self.account)
        try:
            _running_poll(self._shared, await _open(self._shared, self.account)).add(self)
        except BaseException:
            await _leave(self._shared, self.account)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        await _leave(self._shared, self.account)


def _enter(account: Account) -> _Shared:
    shared = _shared.setdefault(asyncio.get_running_loop(), {}).setdefault(account.fingerprint, _Shared())
    shared.users += 1
    return shared


async def _leave(shared: _Shared, account: Account) -> None:
    shared.users -= 1
    if not shared.users:
        _shared[asyncio.get_running_loop()].pop(account.fingerprint, None)
        task = asyncio.ensure_future(_close(shared))
        _closing.add(task)
        task.add_done_callback(_closing.discard)
        # Whoever is cancelled meanwhile leaves; the closing goes on.
        await asyncio.shield(task)


async def _open(shared: _Shared, account: Account) -> AsyncClient:
    async with shared.opening:
        if shared.client is None:
            shared.client = await account.async_client()
        return shared.client


def _running_poll(shared: _Shared, client: AsyncClient) -> Poll:
    if shared.poll is None or shared.task is None or shared.task.done():
        shared.poll = Poll(client)
        # In a context of its own: what the poll logs must not land in the log of the task that came first.
        shared.task = contextvars.Context().run(asyncio.ensure_future, shared.poll.run())
        shared.task.add_done_callback(_retrieve)
    return shared.poll


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take the exception of a poll that broke: it was logged, and told to every wait."""
    if not task.cancelled():
        task.exception()


async def _close(shared: _Shared) -> None:
    if shared.task is not None:
        shared.task.cancel()
        await asyncio.gather(shared.task, return_exceptions=True)
    if shared.client is not None:
        await shared.client.close()
