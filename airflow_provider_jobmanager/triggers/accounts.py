"""Looking up connections in the triggerer: off its loop, and once for all triggers that begin together.

A lookup asks the API server and masks secrets, both blocking; a thousand triggers that begin with one another, as after
a restart, would make a thousand of them.

Airflow says that there is no such connection also when its API server could not be asked. So a lookup that fails is
made again for some minutes; what a connection holds and can't work is an error at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow.sdk import BaseHook
from asgiref.sync import sync_to_async
from attrs import define, field

from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.connection import account_of
from airflow_provider_jobmanager.errors import AccountError, ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.following import GaveUp, OutOfSight, shared_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow.sdk import Connection

    from airflow_provider_jobmanager.account import Account

FRESH_SECONDS = 10.0
"""How long a lookup is good for triggers that begin after it: a changed connection counts from then on."""

LOOKUP_SECONDS = 300.0
"""How long a lookup is made again and again."""

_TELL_SECONDS = 3.0
_WHO_ASKS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@define(eq=False)
class _Lookup:
    """A lookup that is under way or was made.

    Attributes:
        at: when it began, or was through.
        task: looks up.
        trouble: why it is not through yet; None while nothing went wrong.
    """

    at: float = field(factory=time.monotonic)
    task: asyncio.Task[Account] = field(init=False)
    trouble: Exception | None = None


@define
class _Lookups:
    by_id: dict[str, _Lookup] = field(factory=dict)
    # Those who waited for one lookup go on one by one, not all in one turn of the loop.
    door: asyncio.Lock = field(factory=asyncio.Lock)


_lookups: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lookups] = WeakKeyDictionary()


async def account_for(conn_id: str, say: Callable[[Exception], None] | None = None) -> Account:
    """The account of a connection.

    Args:
        conn_id: the connection.
        say: is told, once, why it is not found at once.

    Raises:
        AccountError: the connection can't be used.
        OutOfSight: it could not be looked up for too long: Airflow can't be asked, or there is no such connection.
    """
    lookups = _lookups.setdefault(asyncio.get_running_loop(), _Lookups())
    known = lookups.by_id.get(conn_id)
    if known is None or _stale(known):
        # A task of its own, so that a trigger that is cancelled takes nothing from the others; in a context of its
        # own, so that it logs into nobody's task log.
        known = lookups.by_id[conn_id] = _Lookup()
        known.task = contextvars.Context().run(asyncio.ensure_future, _look_up(conn_id, known))
    if say is not None and not known.task.done():
        await asyncio.wait({known.task}, timeout=_TELL_SECONDS)
        if known.trouble is not None and not known.task.done():
            say(known.trouble)
    account = await asyncio.shield(known.task)
    async with lookups.door:
        await asyncio.sleep(0)
    return account


async def renewed(before: Account, lost: OutOfSight, look_up: Callable[[], Awaitable[Account]]) -> Account:
    """The account with what its connection holds by now, such as a key that has taken the place of the one refused.

    Args:
        before: the account that was asked.
        lost: how its service went out of sight.
        look_up: looks the connection up.

    Raises:
        OutOfSight: ``lost``, when it was no refusal of whoever asks, or the connection holds nothing new, nothing
            that works, or another account: the job is not on that one.
    """
    error = lost.gave_up.error
    if not isinstance(error, ServiceRefused) or error.status not in _WHO_ASKS:
        raise lost
    try:
        account = await look_up()
        if account.endpoint != before.endpoint or account.fingerprint == before.fingerprint:
            raise lost
        async with shared_client(account):
            return account  # a credential that can't even be taken up, such as a file that is not there, is found here
    except (AccountError, OutOfSight):
        raise lost from None


def _stale(lookup: _Lookup) -> bool:
    task = lookup.task
    if not task.done():
        return False
    return task.cancelled() or task.exception() is not None or time.monotonic() - lookup.at > FRESH_SECONDS


async def _look_up(conn_id: str, lookup: _Lookup) -> Account:
    begun, patience = time.monotonic(), Patience()
    while True:
        try:
            # `sync_to_async`, not `to_thread`: Airflow 3.2 finds its way back to the triggerer's loop only from there.
            connection = await sync_to_async(_connection)(conn_id)
        except Exception as error:
            lookup.trouble = error
            tried = time.monotonic() - begun
            if tried >= LOOKUP_SECONDS:
                lost = ServiceUnavailable(f"Connection {conn_id!r} could not be looked up: {error}")
                raise OutOfSight(GaveUp(lost, tried)) from error
            await asyncio.sleep(patience.next_pause())
        else:
            account = await sync_to_async(account_of)(connection)
            lookup.at = time.monotonic()
            return account


def _connection(conn_id: str) -> Connection:
    return BaseHook.get_connection(conn_id)
