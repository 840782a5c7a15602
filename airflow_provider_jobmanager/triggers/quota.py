"""The trigger that holds a task's place while its job can't be created yet, as when the account's quota is used up."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.provider_info import DEFAULT_CONN_ID
from airflow_provider_jobmanager.triggers import kill
from airflow_provider_jobmanager.triggers.accounts import account_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class AzureBatchQuotaTrigger(kill.Killable):
    """Wait some time, then let the worker ask for the job again.

    Args:
        seconds: how long.
        queueing: handed back in the event; names the job (``job_id``).
        until: the end of the wait in seconds since the epoch, which a restarted triggerer keeps to.
        azure_batch_conn_id: connection to the account.
        owner: the try, when its job may exist although no answer said so, and has to end with the task; else None.
    """

    def __init__(
        self,
        seconds: float,
        queueing: Mapping[str, Any],
        until: float | None = None,
        azure_batch_conn_id: str = DEFAULT_CONN_ID,
        owner: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own has no annotations
        self.seconds = seconds
        self.queueing = dict(queueing)
        self.until = time.time() + seconds if until is None else until
        self.azure_batch_conn_id = azure_batch_conn_id
        self.owner = owner

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the database keeps."""
        path = f"{AzureBatchQuotaTrigger.__module__}.{AzureBatchQuotaTrigger.__qualname__}"
        names = ("seconds", "queueing", "until", "azure_batch_conn_id", "owner")
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event."""
        try:
            # The clock of another machine may differ, but never make the wait longer.
            await asyncio.sleep(max(0.0, min(self.seconds, self.until - time.time())))
        except asyncio.CancelledError:
            self.begin_kill()
            raise
        yield TriggerEvent({"queueing": self.queueing})

    def order(self) -> kill.Kill | None:
        """What a kill would have to end."""
        if self.owner is None:
            return None
        account = functools.partial(account_for, self.azure_batch_conn_id)
        return kill.Kill(self.queueing["job_id"], Owner(**self.owner), None, "job", account, self.log)
