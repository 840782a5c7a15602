"""What happens to the job when something breaks between the wish to have it and the wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import ServiceUnavailable
from airflow_provider_jobmanager.operators import run
from airflow_provider_jobmanager.triggers import kill
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from airflow_provider_jobmanager.triggers.quota import AzureBatchQuotaTrigger
from tests.operators.legs import deferred
from tests.tell.working import operator
from tests.triggers.running import until

if TYPE_CHECKING:
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.local import LocalBatch


@pytest.fixture
def away(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The create is carried out, its answer is lost, and then nothing is heard of the service any more."""
    monkeypatch.setattr(run, "_SUBMIT_SECONDS", 1.0)
    local_batch.faults.add(operation="create_job", then="lose-answer", times=1)
    local_batch.faults.add(operation="get_job", then="answer", status=503)


def jobs(hook: AzureBatchJobManagerHook) -> list[tuple[str, str]]:
    return [(job["id"], job["state"]) for job in hook.client.call(calls.rows("jobs")).data]


def ended(task: Any, context: Any) -> BaseException:
    with pytest.raises(Exception) as caught:
        task.execute(context)
    task.hook.client.close()
    return caught.value


@pytest.mark.usefixtures("away")
def test_a_service_that_is_away_is_waited_for_without_a_worker(
    local_batch: LocalBatch, context: Any, hook: AzureBatchJobManagerHook
) -> None:
    waiting = deferred("execute", context)
    assert isinstance(waiting.trigger, AzureBatchQuotaTrigger)
    assert waiting.method_name == "execute_again"
    local_batch.faults.clear()
    following = deferred("execute_again", context, event={"queueing": waiting.trigger.queueing}).trigger
    assert isinstance(following, AzureBatchJobManagerTrigger)
    assert jobs(hook) == [(following.job_id, "active")]


@pytest.mark.usefixtures("away")
def test_an_id_that_its_template_makes_anew_each_time_makes_no_second_job(
    local_batch: LocalBatch, context: Any, hook: AzureBatchJobManagerHook
) -> None:
    """Such as ``nightly-{{ macros.uuid.uuid4() }}``: rendered again in each leg of a try."""
    waiting = deferred("execute", context, job_id="nightly-1f0c")
    local_batch.faults.clear()
    event = {"queueing": waiting.trigger.queueing}
    assert deferred("execute_again", context, job_id="nightly-77ab", event=event).trigger.job_id == "nightly-1f0c"
    late = {"job_id": "another", "status": "failed"}
    assert deferred("execute_complete", context, job_id="nightly-c2d4", event=late).trigger.job_id == "nightly-1f0c"
    assert jobs(hook) == [("nightly-1f0c", "active")]


@pytest.mark.usefixtures("away")
def test_a_service_that_stays_away_ends_the_task_which_says_that_a_job_may_run(
    local_batch: LocalBatch, context: Any, xcoms: dict[str, Any], hook: AzureBatchJobManagerHook
) -> None:
    error = ended(operator(command_line="/bin/sleep 60", deferrable=True, out_of_sight=0.5), context)
    assert isinstance(error, ServiceUnavailable)
    assert "could not be submitted within 0.5 s (out_of_sight)" in str(error)
    assert "It may have been created all the same" in str(error)
    local_batch.faults.clear()
    assert jobs(hook) == [(xcoms["job_id"], "active")]


@pytest.mark.usefixtures("away")
async def test_a_kill_while_the_service_is_away_ends_the_job_that_it_made_all_the_same(
    local_batch: LocalBatch, context: Any, hook: AzureBatchJobManagerHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await asyncio.to_thread(deferred, "execute", context)
    trigger = AzureBatchQuotaTrigger(**waiting.trigger.serialize()[1])
    job_id = trigger.queueing["job_id"]
    monkeypatch.setattr(kill, "_ask", lambda _: ("failed", job_id))
    local_batch.faults.clear()
    await trigger.on_kill()
    await until(lambda: jobs(hook) != [(job_id, "active")])
    assert hook.get_job(job_id)["executionInfo"]["terminateReason"].endswith("was killed (it is failed)")


def test_no_job_is_looked_for_when_the_service_said_no(local_batch: LocalBatch, context: Any) -> None:
    local_batch.faults.add(operation="create_job", then="answer", status=409, code="ActiveJobAndScheduleQuotaReached")
    trigger = deferred("execute", context).trigger
    assert isinstance(trigger, AzureBatchQuotaTrigger)
    assert trigger.owner is None
    assert trigger.begin_kill() is None


@pytest.mark.parametrize(("max_tries", "states"), [(0, {"terminating", "completed"}), (1, {"active"})])
def test_a_job_that_airflow_could_not_be_told_of_is_left_to_the_next_try_or_ended(
    context: Any, hook: AzureBatchJobManagerHook, max_tries: int, states: set[str]
) -> None:
    def push(key: str, value: Any) -> None:
        raise RuntimeError("the API server is away")

    context["ti"].xcom_push = push
    context["ti"].max_tries = max_tries
    error = ended(operator(command_line="/bin/sleep 60", deferrable=True), context)
    assert str(error) == "the API server is away"
    assert {state for _, state in jobs(hook)} <= states


def test_a_late_signal_ends_no_job_that_is_deferred_or_left_alone(
    local_batch: LocalBatch, context: Any, hook: AzureBatchJobManagerHook
) -> None:
    """A worker that is shut down, or takes too long to end, gets SIGTERM: also when the task's own part is done."""
    task = operator(command_line="/bin/sleep 60", deferrable=True)
    with pytest.raises(TaskDeferred):
        task.execute(context)
    task.on_kill()
    task.hook.client.close()

    context["ti"].run_id = "another"
    manager = operator(command_line="/bin/true", wait_for="job_manager", kill_job_on_completion=False)
    manager.execute(context)
    manager.on_kill()
    manager.hook.client.close()

    context["ti"].run_id = "a third"
    lost = operator(command_line="/bin/sleep 60", out_of_sight=0.5)
    local_batch.faults.add(operation="get_job", then="answer", status=503, after=1)
    assert "was left alone" in str(ended(lost, context))
    local_batch.faults.clear()
    lost.on_kill()

    assert [state for _, state in jobs(hook)] == ["active"] * 3


def test_a_retry_that_meets_a_silent_service_waits_in_the_triggerer(
    local_batch: LocalBatch, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deferred("execute", context).trigger
    context["ti"].try_number = 2
    monkeypatch.setattr(run, "_GLANCE_SECONDS", 0.2)
    local_batch.faults.add(operation="update_job", then="answer", status=409, code="JobDisabled")
    local_batch.faults.add(operation="get_job", then="answer", status=503, after=1)
    monkeypatch.setattr(run.JobRun, "look", lambda _: pytest.fail("a worker waits"))
    again = deferred("execute", context).trigger
    assert again.job_id == first.job_id
    asked = [(entry.operation, entry.status) for entry in local_batch.journal]
    assert ("update_job", 409) in asked
    assert ("get_job", 503) in asked
