"""The trigger that holds a task's place while the account's quota of active jobs is used up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class AzureBatchQuotaTrigger(BaseTrigger):
    """Wait some time, then let the worker ask for the job again. It knows nothing of the job.

    Args:
        seconds: how long.
        queueing: handed back in the event.
        until: the end of the wait in seconds since the epoch, which a restarted triggerer keeps to.
    """

    def __init__(self, seconds: float, queueing: Mapping[str, Any], until: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own has no annotations
        self.seconds = seconds
        self.queueing = dict(queueing)
        self.until = time.time() + seconds if until is None else until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the database keeps."""
        path = f"{AzureBatchQuotaTrigger.__module__}.{AzureBatchQuotaTrigger.__qualname__}"
        return path, {"seconds": self.seconds, "queueing": self.queueing, "until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event."""
        # The clock of another machine may differ, but never make the wait longer.
        await asyncio.sleep(max(0.0, min(self.seconds, self.until - time.time())))
        yield TriggerEvent({"queueing": self.queueing})
