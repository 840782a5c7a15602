"""Airflow may hand a task the last word of another task's trigger, whose number its own trigger was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from airflow_provider_jobmanager.triggers.quota import AzureBatchQuotaTrigger
from tests.tell.working import context_for, operator

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

ANOTHER = {"job_id": "another", "status": "failed", "exit_code": 1}
QUEUED = {"queueing": {"began": 1.0, "attempts": 3, "job_id": "another"}}


@pytest.fixture
def context() -> Any:
    kept: dict[str, Any] = {}
    made: Any = context_for(kept)
    made["ti"].xcom_pull = lambda *, key, **_: kept.get(key)
    return made


def resumed(method: str, context: Any, event: Any = None) -> TaskDeferred:
    """The task goes on, as a new worker would take it up, and is deferred again."""
    task = operator(command_line="/bin/sleep 60", deferrable=True)
    more = {} if method == "execute" else {"event": event}
    with pytest.raises(TaskDeferred) as caught:
        getattr(task, method)(context, **more)
    task.hook.client.close()
    return caught.value


@pytest.mark.parametrize("event", [ANOTHER, QUEUED, {"job_id": "another"}, "moment", None])
def test_a_task_that_follows_a_job_goes_on_following_it(local_batch: LocalBatch, context: Any, event: Any) -> None:
    first = resumed("execute", context).trigger
    again = resumed("execute_complete", context, event).trigger

    assert isinstance(first, AzureBatchJobManagerTrigger)
    assert isinstance(again, AzureBatchJobManagerTrigger)
    assert again.job_id == first.job_id
    assert sum(entry.operation == "create_job" and entry.status == 201 for entry in local_batch.journal) == 1


@pytest.mark.parametrize("event", [ANOTHER, QUEUED, {}, "moment", None])
def test_a_task_that_waits_for_the_quota_goes_on_waiting(local_batch: LocalBatch, context: Any, event: Any) -> None:
    local_batch.faults.add(
        operation="create_job", then="answer", status=409, code="ActiveJobAndScheduleQuotaReached", times=2
    )
    assert isinstance(resumed("execute", context).trigger, AzureBatchQuotaTrigger)
    again = resumed("execute_again", context, event).trigger

    assert isinstance(again, AzureBatchQuotaTrigger)
    assert again.queueing["began"] > 1.0
    own = {"queueing": again.queueing}
    assert isinstance(resumed("execute_again", context, own).trigger, AzureBatchJobManagerTrigger)
