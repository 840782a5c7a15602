"""Triggers run as a triggerer runs them, with their log kept."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager import following
from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import ServiceRefused
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.triggers.base import TriggerEvent


@define
class Lines:
    """A logger that keeps its lines."""

    kept: list[str] = field(factory=list)

    def _keep(self, level: str, text: str, *values: Any) -> None:
        self.kept.append(f"{level}: {text % values if values else text}")

    def log(self, level: int, text: str, *values: Any) -> None:
        self._keep(logging.getLevelName(level).lower(), text, *values)

    def debug(self, text: str, *values: Any) -> None:
        self._keep("debug", text, *values)

    def info(self, text: str, *values: Any) -> None:
        self._keep("info", text, *values)

    def warning(self, text: str, *values: Any) -> None:
        self._keep("warning", text, *values)

    def error(self, text: str, *values: Any) -> None:
        self._keep("error", text, *values)

    def exception(self, text: str, *values: Any) -> None:
        self._keep("exception", text, *values)

    def count(self, part: str) -> int:
        return sum(part in line for line in self.kept)


class Trigger(AzureBatchJobManagerTrigger):
    """The trigger, quick, and with its log where a test reads it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"poll_interval": 0.1, **arguments})
        self.lines = Lines()

    @property
    def log(self) -> Lines:
        return self.lines


async def event_of(trigger: Trigger) -> TriggerEvent:
    """The one event of a trigger."""
    events = [event async for event in trigger.run()]
    assert len(events) == 1, events
    return events[0]


async def verdict_of(trigger: Trigger) -> dict[str, Any]:
    """What a worker would be resumed with."""
    payload: dict[str, Any] = (await event_of(trigger)).payload
    return payload


def submit(job_id: str, command: str = "exit 0", **more: Any) -> dict[str, Any]:
    """Create a job on the local service and return it."""
    hook = AzureBatchJobManagerHook()
    try:
        manager = {"id": "manager", "commandLine": f"/bin/sh -c '{command}'", **more.pop("manager", {})}
        body = {"id": job_id, "poolInfo": {"poolId": "local"}, "jobManagerTask": manager, **more}
        hook.client.call(calls.post("jobs", json=body))
        return hook.get_job(job_id)
    finally:
        hook.client.close()


def users() -> list[int]:
    """How many wait on each account."""
    return [shared.users for shared in (following._shared.get(asyncio.get_running_loop()) or {}).values()]


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for a condition."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "It did not happen in time"
        await asyncio.sleep(0.02)


def wait_until_completed(job_id: str, seconds: float = 60.0) -> None:
    """Wait for a job's end."""
    hook = AzureBatchJobManagerHook()
    deadline = time.monotonic() + seconds
    while hook.get_job(job_id)["state"] != "completed":
        assert time.monotonic() < deadline, f"Job {job_id} did not end in time"
        time.sleep(0.05)
    hook.client.close()


def replace(job_id: str, command: str = "exit 0", **more: Any) -> dict[str, Any]:
    """Delete a job, use its id for another one, and return that."""
    hook = AzureBatchJobManagerHook()
    deadline = time.monotonic() + 60
    try:
        hook.client.call(calls.delete("jobs", job_id))
        while True:
            try:
                return submit(job_id, command, **more)
            except ServiceRefused as refusal:
                if refusal.code not in ("JobExists", "JobBeingDeleted") or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    finally:
        hook.client.close()
