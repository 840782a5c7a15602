"""Airflow may hand a task the last word of another task's trigger, whose number its own trigger was given."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.errors import JobTimedOut
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from airflow_provider_jobmanager.triggers.quota import AzureBatchQuotaTrigger
from tests.operators.legs import deferred
from tests.tell.working import Lines, operator
from tests.waiting import until

if TYPE_CHECKING:
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.local import LocalBatch

ANOTHER = {"job_id": "another", "status": "failed", "exit_code": 1}
QUEUED = {"queueing": {"began": 1.0, "attempts": 3, "job_id": "another"}}


@pytest.mark.parametrize("event", [ANOTHER, QUEUED, {"job_id": "another"}, "moment", None])
def test_a_task_that_follows_a_job_goes_on_following_it(local_batch: LocalBatch, context: Any, event: Any) -> None:
    first = deferred("execute", context).trigger
    again = deferred("execute_complete", context, event=event).trigger

    assert isinstance(first, AzureBatchJobManagerTrigger)
    assert isinstance(again, AzureBatchJobManagerTrigger)
    assert again.job_id == first.job_id
    assert sum(entry.operation == "create_job" and entry.status == 201 for entry in local_batch.journal) == 1


def test_another_tasks_last_word_on_the_same_job_ends_nothing(local_batch: LocalBatch, context: Any) -> None:
    """A sensor that follows the job of an operator is out of time: the operator is not."""
    first = deferred("execute", context).trigger
    theirs = {"job_id": first.job_id, "status": "timed_out", "failure": {"code": "DeadlineExceeded"}, "for": "theirs"}
    again = deferred("execute_complete", context, event=theirs).trigger

    assert again.job_id == first.job_id
    assert not any(entry.operation == "terminate_job" for entry in local_batch.journal)


@pytest.mark.parametrize("event", [ANOTHER, QUEUED, {}, "moment", None])
def test_a_task_that_waits_for_the_quota_goes_on_waiting(local_batch: LocalBatch, context: Any, event: Any) -> None:
    local_batch.faults.add(
        operation="create_job", then="answer", status=409, code="ActiveJobAndScheduleQuotaReached", times=2
    )
    assert isinstance(deferred("execute", context).trigger, AzureBatchQuotaTrigger)
    again = deferred("execute_again", context, event=event).trigger

    assert isinstance(again, AzureBatchQuotaTrigger)
    assert again.queueing["began"] > 1.0
    own = {"queueing": again.queueing}
    assert isinstance(deferred("execute_again", context, event=own).trigger, AzureBatchJobManagerTrigger)


def test_a_full_account_is_no_matter_for_a_job_that_is_there(local_batch: LocalBatch, context: Any) -> None:
    first = deferred("execute", context, quota_timeout=0).trigger
    local_batch.faults.add(operation="create_job", then="answer", status=409, code="ActiveJobAndScheduleQuotaReached")
    again = deferred("execute_complete", context, event=ANOTHER, quota_timeout=0).trigger

    assert isinstance(again, AzureBatchJobManagerTrigger)
    assert again.job_id == first.job_id


@pytest.mark.usefixtures("local_batch")
def test_the_deadline_stays_where_it_was(context: Any) -> None:
    began = datetime.now(timezone.utc) - timedelta(minutes=5)
    context["ti"].start_date = began
    deferred("execute", context, timeout=600)
    again = deferred("execute_complete", context, event=ANOTHER, timeout=600).trigger
    assert again.deadline == began.timestamp() + 600


def test_a_job_that_ended_on_its_own_is_not_said_to_have_been_told_to(
    local_batch: LocalBatch, context: Any, hook: AzureBatchJobManagerHook
) -> None:
    said: list[str] = []
    logger = logging.getLogger("late news")
    logger.addHandler(Lines(said))
    options = {"job": {"constraints": {"max_wall_clock_time": "PT1S"}}, "run_exclusive": False}
    job_id = deferred("execute", context, **options).trigger.job_id
    verdict = until(lambda: hook.get_verdict(job_id))
    task = operator(command_line="/bin/sleep 60", deferrable=True)
    task._log = task._cached_logger = logger
    logger.setLevel(logging.INFO)
    with pytest.raises(JobTimedOut):
        task.execute_complete(context, verdict.as_dict())
    task.hook.client.close()
    assert any("MaxWallClockTimeExpiry" in line for line in said)
    assert not any("was told to end" in line for line in said)
    assert not any(entry.operation == "terminate_job" for entry in local_batch.journal)
