"""What a retry takes up of the tries before it, and what it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import JobFailed
from tests.operators.legs import deferred
from tests.tell.working import operator
from tests.waiting import until

if TYPE_CHECKING:
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.local import LocalBatch


def jobs(hook: AzureBatchJobManagerHook) -> dict[str, str]:
    return {job["id"]: job["state"] for job in hook.client.call(calls.rows("jobs")).data}


def next_try(context: Any, *, max_tries: int) -> None:
    context["ti"].try_number += 1
    context["ti"].id = f"try {context['ti'].try_number}"
    context["ti"].max_tries = max_tries


@pytest.mark.parametrize(
    ("option", "error"),
    [("fail_without_retry_on_exit_code", AirflowFailException), ("skip_on_exit_code", AirflowSkipException)],
)
def test_an_end_that_forbids_a_retry_does_so_when_nobody_collected_it(
    context: Any, hook: AzureBatchJobManagerHook, option: str, error: type[Exception]
) -> None:
    context["ti"].max_tries = 2
    options = {"command_line": "/bin/sh -c 'exit 42'", option: 42}
    job_id = deferred("execute", context, **options).trigger.job_id
    until(lambda: jobs(hook) == {job_id: "completed"})
    next_try(context, max_tries=2)
    task = operator(**options, deferrable=True)
    with pytest.raises(error, match="exit code 42"):
        task.execute(context)
    task.hook.client.close()
    assert jobs(hook) == {job_id: "completed"}


@pytest.mark.parametrize("command", ["/bin/sleep 60", "/bin/true"])
def test_a_clear_takes_up_nothing_although_retries_were_lowered_by_the_tries_so_far(
    context: Any, hook: AzureBatchJobManagerHook, command: str
) -> None:
    """Then Airflow's ``max_tries`` is what it was: one try so far and no retries, after one retry and no try."""
    context["ti"].max_tries = 1
    before = deferred("execute", context, retries=1, command_line=command).trigger.job_id
    if command == "/bin/true":
        until(lambda: jobs(hook) == {before: "completed"})
    next_try(context, max_tries=1)
    after = deferred("execute", context, retries=0, command_line="/bin/sleep 61").trigger.job_id
    assert after != before
    until(lambda: jobs(hook) == {before: "completed", after: "active"})


def test_a_retry_goes_on_with_its_job_also_after_a_clear(context: Any, hook: AzureBatchJobManagerHook) -> None:
    context["ti"].try_number, context["ti"].max_tries = 2, 2
    first = deferred("execute", context, retries=1).trigger.job_id
    next_try(context, max_tries=2)
    assert deferred("execute", context, retries=1).trigger.job_id == first
    assert jobs(hook) == {first: "active"}


def test_what_a_failed_manager_left_running_ends_when_the_next_try_has_a_job(
    local_batch: LocalBatch, context: Any, xcoms: dict[str, Any], hook: AzureBatchJobManagerHook
) -> None:
    local_batch.scripts.add(task_id="jobmanager", exit_code=1, times=1)
    options = {"command_line": "/bin/true", "wait_for": "job_manager", "kill_job_on_completion": False}
    context["ti"].max_tries = 1
    task = operator(**options)
    with pytest.raises(JobFailed):
        task.execute(context)
    failed = xcoms["job_id"]
    assert jobs(hook) == {failed: "active"}
    next_try(context, max_tries=1)
    followed = task.execute(context)["job_id"]
    task.hook.client.close()
    until(lambda: jobs(hook) == {failed: "completed", followed: "active"})
    reason = hook.get_job(failed)["executionInfo"]["terminateReason"]
    assert reason.endswith(f"try 2 follows {followed}")
