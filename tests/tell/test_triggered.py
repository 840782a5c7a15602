"""The trigger itself on an event loop: what it tells, and what its event carries."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.operators.payload import request_body
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from tests.tell.working import Lines, operator

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch


def heard(trigger: AzureBatchJobManagerTrigger) -> list[str]:
    """The lines of the trigger's log, as they come."""
    said: list[str] = []
    log = logging.getLogger(f"tell.triggered.{time.monotonic_ns()}")
    log.setLevel(logging.INFO)
    log.addHandler(Lines(said))
    trigger._cached_logger = trigger._log = log
    return said


async def test_a_setting_that_only_its_mark_makes_secret(local_batch: LocalBatch) -> None:
    hook = AzureBatchJobManagerHook()
    task = operator(
        command_line="/bin/sh -c 'echo it is $HARMLESS; exit 3'",
        environment_settings=[{"name": "HARMLESS", "value": "marked-value", "secret": True}],
    )
    body = request_body(task, Owner("d", "t", "r"), "marked")
    await asyncio.to_thread(hook.client.call, calls.post("jobs", json=body))
    # A sensor's trigger, which knows of the job nothing but its id, and tells all.
    trigger = AzureBatchJobManagerTrigger(job_id="marked", poll_interval=0.2, stream_logs=True, end_from_trigger=True)
    trigger.task_instance = None
    said = heard(trigger)
    _ = [event async for event in trigger.run()]
    hook.client.close()

    assert any("  | it is ***" in line for line in said)
    assert "marked-value" not in "\n".join(said)


async def test_a_job_that_does_not_start_in_time(local_batch: LocalBatch) -> None:
    hook = AzureBatchJobManagerHook()
    manager = {"id": "jm", "commandLine": "/bin/true"}
    body = {"id": "waits", "poolInfo": {"poolId": "nowhere"}, "jobManagerTask": manager}
    await asyncio.to_thread(hook.client.call, calls.post("jobs", json=body))
    trigger = AzureBatchJobManagerTrigger(
        job_id="waits", manager_id="jm", poll_interval=0.2, start_limit=(8.0, time.time() + 8)
    )
    said = heard(trigger)
    (event,) = [event.payload async for event in trigger.run()]
    hook.client.close()

    assert event["status"] == "timed_out"
    assert event["failure"]["code"] == "StartTimeout"
    assert "There is no pool 'nowhere'" in event["failure"]["message"]
    assert "There is no pool 'nowhere'" in event["told"]["diagnosis"]
    assert sum("has not started: There is no pool 'nowhere'" in line for line in said) == 1
