"""A task that is out of time tells what its job did until then: whoever reads it wants to know where it hung."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from attrs import asdict

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.report import gather
from airflow_provider_jobmanager.batch.verdict import Verdict
from airflow_provider_jobmanager.operators.run import JobRun
from tests.triggers.running import Lines, Trigger, submit, until, verdict_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.local import LocalBatch

OWNER = Owner(dag_id="d", task_id="t", run_id="r", try_number=1, ti_id="ti")
LEFT: dict[str, Any] = {"on_kill_action": "leave"}
pytestmark = pytest.mark.usefixtures("local_batch")


async def a_job_that_hangs(folder: Path) -> None:
    command = f"echo working; echo stuck waiting for lock >&2; touch {folder}/hangs; sleep 60"
    await asyncio.to_thread(submit, "j", command, metadata=OWNER.metadata())
    await until((folder / "hangs").exists)


def told(hook: AzureBatchJobManagerHook, verdict: Verdict) -> str:
    """The message of the report, which says everything once."""
    message = hook.perform(gather(verdict)).message()
    assert "Times: waited " in message
    assert "  | stuck waiting for lock" in message
    assert message.count("deadline of") == 1
    return message


@pytest.mark.parametrize(("more", "said"), [({}, "deadline of d.t run r try 1 passed"), (LEFT, "left alone")])
async def test_in_the_triggerer(hook: AzureBatchJobManagerHook, tmp_path: Path, more: Any, said: str) -> None:
    await a_job_that_hangs(tmp_path)
    verdict = await verdict_of(Trigger(job_id="j", deadline=time.time() + 0.5, owner=asdict(OWNER), **more))
    assert verdict["pool_id"] == "local"
    assert verdict["failure"]["code"] == "DeadlineExceeded"
    assert said in await asyncio.to_thread(told, hook, Verdict.from_dict(verdict))


@pytest.mark.parametrize(("may_stop", "said"), [(True, "the job is "), (False, "the job was left running")])
async def test_on_a_worker(hook: AzureBatchJobManagerHook, tmp_path: Path, may_stop: bool, said: str) -> None:
    await a_job_that_hangs(tmp_path)
    run = JobRun(hook=hook, owner=OWNER, log=Lines(), job_id="j", may_stop=may_stop)
    verdict = await asyncio.to_thread(run.stop_at_deadline)
    assert (verdict.status, verdict.manager_id) == ("timed_out", "manager")
    assert said in await asyncio.to_thread(told, hook, verdict)


@pytest.mark.parametrize("then", [{"then": "drop"}, {"then": "answer", "status": 403, "code": "NotForYou"}])
async def test_what_can_not_be_read_is_left_out(
    hook: AzureBatchJobManagerHook, local_batch: LocalBatch, tmp_path: Path, then: dict[str, Any]
) -> None:
    await a_job_that_hangs(tmp_path)
    local_batch.faults.add(operation="get_task", **then)
    run = JobRun(hook=hook, owner=OWNER, log=Lines(), job_id="j")
    verdict = await asyncio.to_thread(run.stop_at_deadline)
    assert (verdict.status, verdict.started_at) == ("timed_out", None)
    assert hook.get_job("j")["executionInfo"]["terminateReason"] == f"Airflow: deadline of {OWNER} passed"
