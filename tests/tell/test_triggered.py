"""The trigger itself on an event loop: what it tells, and what its event carries."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from tests.tell.working import Lines

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch


async def test_a_job_that_does_not_start_in_time(local_batch: LocalBatch) -> None:
    hook = AzureBatchJobManagerHook()
    manager = {"id": "jm", "commandLine": "/bin/true"}
    body = {"id": "waits", "poolInfo": {"poolId": "nowhere"}, "jobManagerTask": manager}
    await asyncio.to_thread(hook.client.call, calls.post("jobs", json=body))
    trigger = AzureBatchJobManagerTrigger(
        job_id="waits", manager_id="jm", poll_interval=0.2, start_limit=(8.0, time.time() + 8)
    )
    said: list[str] = []
    log = logging.getLogger("tell.triggered")
    log.setLevel(logging.INFO)
    log.addHandler(Lines(said))
    trigger._cached_logger = trigger._log = log
    (event,) = [event.payload async for event in trigger.run()]
    hook.client.close()

    assert event["status"] == "timed_out"
    assert event["failure"]["code"] == "StartTimeout"
    assert "There is no pool 'nowhere'" in event["failure"]["message"]
    assert "There is no pool 'nowhere'" in event["told"]["diagnosis"]
    assert sum("has not started: There is no pool 'nowhere'" in line for line in said) == 1
