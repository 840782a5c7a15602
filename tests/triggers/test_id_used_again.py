"""A job that is deleted while it is followed, and another one under its id: whose end is not waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.triggers.running import Trigger, replace, submit, until, verdict_of

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

pytestmark = pytest.mark.usefixtures("local_batch")


def managers_read(batch: LocalBatch) -> int:
    return sum(entry.operation == "get_task" for entry in batch.journal)


def the_manager_is_over() -> bool:
    hook = AzureBatchJobManagerHook()
    try:
        return str(hook.client.call(calls.get("jobs", "j", "tasks", "manager")).data["state"]) == "completed"
    finally:
        hook.client.close()


@pytest.mark.parametrize("known", [True, False])
async def test_the_manager_of_another_job_is_not_the_one_that_is_waited_for(
    local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    job = await asyncio.to_thread(submit, "j", "sleep 60")
    trigger = Trigger(job_id="j", wait_for="job_manager", created_at=job["creationTime"] if known else None)
    run = asyncio.ensure_future(verdict_of(trigger))
    await until(lambda: managers_read(local_batch) > 1)
    await asyncio.to_thread(replace, "j", "exit 0", manager={"killJobOnCompletion": False})
    await until(the_manager_is_over)
    # No list of what has ended tells of it: it goes on. Its manager is looked at all the same.
    looked = managers_read(local_batch)
    await until(lambda: managers_read(local_batch) > looked + 3 or run.done())
    monkeypatch.setattr("airflow_provider_jobmanager.poll._SWEEP_SECONDS", 0.1)
    monkeypatch.setattr("airflow_provider_jobmanager.poll._SWEEP_TICKS", 0)
    assert (await asyncio.wait_for(run, 60))["status"] == "lost"
