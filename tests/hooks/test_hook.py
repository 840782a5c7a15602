"""What the hook offers beside the operator's needs: verdicts, and clients of either kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch import calls, flows
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.triggers.running import submit, wait_until_completed

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

pytestmark = pytest.mark.usefixtures("local_batch")


def test_the_verdict_on_a_job() -> None:
    hook = AzureBatchJobManagerHook()
    submit("running", "sleep 60")
    submit("ended", "exit 3")
    wait_until_completed("ended")

    assert hook.get_verdict("running") is None
    assert (verdict := hook.get_verdict("ended"))
    assert (verdict.status, verdict.exit_code) == ("failed", 3)
    assert (gone := hook.get_verdict("never"))
    assert gone.status == "lost"
    assert gone.summary() == "Job 'never' is not there."
    hook.client.close()


@pytest.mark.parametrize("operation", ["get_job", "get_task", "list_tasks"])
def test_a_service_that_is_busy_is_asked_again(operation: str, local_batch: LocalBatch) -> None:
    hook = AzureBatchJobManagerHook()
    submit("j", "sleep 60")
    local_batch.faults.add(operation=operation, times=2, then="answer", status=503)

    found = {
        "get_job": lambda: [hook.get_job("j", select=("id",))],
        "get_task": lambda: [hook.get_task("j", "manager", select=("id",))],
        "list_tasks": lambda: hook.list_tasks("j", select=("id",)),
    }[operation]()

    assert [each["id"] for each in found] == ["j" if operation == "get_job" else "manager"]
    hook.client.close()


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, "failed"), ({"children_count": False}, "succeeded"), ({"wait_for": "job_manager"}, "succeeded")],
)
def test_the_verdict_on_a_job_that_outlives_its_manager(options: dict[str, Any], status: str) -> None:
    hook = AzureBatchJobManagerHook()
    manager = {"killJobOnCompletion": False, "runExclusive": False}
    submit("j", "sleep 2", manager=manager, onAllTasksComplete="terminatejob")
    hook.client.call(calls.post("jobs", "j", "tasks", json={"id": "child", "commandLine": "/bin/sh -c 'exit 1'"}))
    wait_until_completed("j")

    assert (verdict := hook.get_verdict("j", **options))
    assert verdict.status == status
    hook.client.close()


async def test_conversations_on_an_event_loop() -> None:
    submit("j", "sleep 60")
    client = await AzureBatchJobManagerHook().aclient()
    try:
        job = await client.perform(flows.find_job("j"))
    finally:
        await client.close()

    assert job is not None
    assert job["jobManagerTask"]["id"] == "manager"


async def test_the_sdks_clients() -> None:
    hook = AzureBatchJobManagerHook()
    submit("j", "sleep 60")

    assert hook.get_conn().get_job("j").id == "j"
    async with hook.get_async_conn() as client:
        assert (await client.get_job("j")).id == "j"
    hook.client.close()
