"""Looking up connections in the triggerer: off its loop, and once for all triggers that begin together.

A lookup asks the API server and masks secrets, both blocking; a thousand triggers that begin with one another, as after
a restart, would make a thousand of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow.sdk import BaseHook
from asgiref.sync import sync_to_async
from attrs import define, field, frozen

from airflow_provider_jobmanager.connection import account_of

if TYPE_CHECKING:
    from airflow_provider_jobmanager.account import Account

FRESH_SECONDS = 10.0
"""How long a lookup is good for triggers that begin after it: a changed connection counts from then on."""


@frozen
class _Lookup:
    at: float
    task: asyncio.Task[Account]


@define
class _Lookups:
    by_id: dict[str, _Lookup] = field(factory=dict)
    # Those who waited for one lookup go on one by one, not all in one turn of the loop.
    door: asyncio.Lock = field(factory=asyncio.Lock)


_lookups: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lookups] = WeakKeyDictionary()


async def account_for(conn_id: str) -> Account:
    """The account of a connection.

    Raises:
        AccountError: the connection can't be used.
        AirflowNotFoundException: there is no such connection.
    """
    lookups = _lookups.setdefault(asyncio.get_running_loop(), _Lookups())
    known = lookups.by_id.get(conn_id)
    if known is None or _stale(known):
        # A task of its own, so that a trigger that is cancelled takes nothing from the others; in a context of its
        # own, so that it logs into nobody's task log.
        task = contextvars.Context().run(asyncio.ensure_future, _look_up(conn_id))
        known = lookups.by_id[conn_id] = _Lookup(time.monotonic(), task)
    account = await asyncio.shield(known.task)
    async with lookups.door:
        await asyncio.sleep(0)
    return account


def _stale(lookup: _Lookup) -> bool:
    task = lookup.task
    if not task.done():
        return False
    return task.cancelled() or task.exception() is not None or time.monotonic() - lookup.at > FRESH_SECONDS


async def _look_up(conn_id: str) -> Account:
    # `sync_to_async`, not `to_thread`: Airflow 3.2 finds its way back to the triggerer's loop only from there.
    return await sync_to_async(_account_of)(conn_id)


def _account_of(conn_id: str) -> Account:
    return account_of(BaseHook.get_connection(conn_id))
