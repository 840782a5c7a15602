"""A manager that does not start: why, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import (
    JobTimedOut,
)
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.tell.working import a_pool, meanwhile, says, sh, work

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

pytestmark = pytest.mark.usefixtures("local_batch")


def test_why_it_does_not_start_and_when_that_is_too_long() -> None:
    worked = work(command_line=sh("true"), pool_id="nowhere", start_timeout=1)
    says(worked, JobTimedOut, "StartTimeout", "There is no pool 'nowhere'")
    assert worked.text.count("has not started: There is no pool") == 1
    hook = AzureBatchJobManagerHook()
    job = hook.get_job(worked.job_id)
    assert job["executionInfo"]["terminateReason"].count("Airflow:") == 1
    assert job["executionInfo"]["terminateReason"].endswith(" try 1 not started within 1 s")
    hook.client.close()


def test_a_start_timeout_holds_although_the_pool_may_not_be_read(local_batch: LocalBatch) -> None:
    local_batch.faults.add(path="/pools*", then="answer", status=403, code="InsufficientAccountPermissions")
    worked = work(command_line=sh("true"), pool_id="nowhere", start_timeout=1, timeout=30)
    says(worked, JobTimedOut, "StartTimeout", "HTTP 403 InsufficientAccountPermissions")
    assert worked.text.count("has not started: Pool 'nowhere' can't be read, so why is not known") == 1


def test_a_start_timeout_does_not_hit_a_job_that_started() -> None:
    assert work(command_line=sh("sleep 6"), start_timeout=5).error is None


def test_a_pool_that_appears_later_is_waited_for(hook: AzureBatchJobManagerHook) -> None:
    pool = a_pool("late", targetDedicatedNodes=1)
    with meanwhile(hook, lambda _: hook.client.call(calls.post("pools", json=pool)), state="active"):
        worked = work(command_line=sh("true"), pool_id="late")
    assert worked.error is None
