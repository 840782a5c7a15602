"""When a trigger's cancellation ends its job, and when it must not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from attrs import evolve

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.errors import AccountError
from airflow_provider_jobmanager.triggers import kill
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from airflow_provider_jobmanager.triggers.kill import KILL, LEAVE, LOOK_AGAIN, MISSING, Kill, decide
from tests.triggers.running import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.local import LocalBatch

OWNER = Owner("sales", "load", "r1", -1, 1, "ti-1", 2)


@pytest.mark.parametrize(
    ("state", "recorded", "verb"),
    [
        # A user, or the DAG run's end, has ended the task.
        ("failed", "j", KILL),
        ("success", "j", KILL),
        ("skipped", "j", KILL),
        ("removed", None, KILL),
        (MISSING, None, KILL),
        # The trigger has moved to another triggerer: the job must live on.
        ("deferred", "j", LEAVE),
        ("deferred", "J", LEAVE),
        ("deferred", None, LEAVE),
        # A retry goes on with the job.
        ("up_for_retry", "j", LEAVE),
        # Cleared, and the next try has a job of its own, or failed before it had one, or has not begun.
        ("up_for_retry", "k", KILL),
        ("up_for_retry", None, KILL),
        ("deferred", "k", KILL),
        ("running", "k", KILL),
        (None, "j", KILL),
        ("scheduled", "j", KILL),
        ("queued", None, KILL),
        # A worker has it, for whatever reason.
        ("running", None, LOOK_AGAIN),
        ("running", "j", LOOK_AGAIN),
        ("restarting", "j", LOOK_AGAIN),
    ],
)
def test_what_a_cancellation_means(state: str | None, recorded: str | None, verb: str) -> None:
    assert decide(state, recorded, "j") == verb


class Airflow:
    """Says how the task stands, one answer after the other, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __call__(self, owner: Owner) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def job(local_batch: LocalBatch) -> Callable[..., dict[str, Any]]:
    """Makes a job, and tells how it is."""
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

    hook = AzureBatchJobManagerHook()

    def made(job_id: str = "j", *, owner: Owner | None = OWNER, manager: str = "/bin/sleep 600") -> dict[str, Any]:
        body = {
            "id": job_id,
            "poolInfo": {"poolId": "local"},
            "jobManagerTask": {"id": "jobmanager", "commandLine": manager, "killJobOnCompletion": False},
            "metadata": owner.metadata() if owner else [],
        }
        hook.get_conn().create_job(body)
        return hook.get_job(job_id)

    made.hook = hook  # type: ignore[attr-defined]
    return made


async def carry_out(
    monkeypatch: pytest.MonkeyPatch, airflow: Airflow, job: Any, made: dict[str, Any], **more: Any
) -> str:
    async def account() -> Any:
        return job.hook.account

    monkeypatch.setattr(kill, "_ask", airflow)
    order = Kill(made["id"], OWNER, made["creationTime"], "job", account, logging.getLogger("test"))
    await kill.begin(evolve(order, **more))
    state: str = job.hook.get_job(made["id"])["state"]
    return state


async def test_a_task_that_was_ended_has_its_job_ended_with_a_reason(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    made = job()

    assert await carry_out(monkeypatch, Airflow(("failed", "j")), job, made) != "active"
    assert job.hook.get_job("j")["executionInfo"]["terminateReason"] == (
        "Airflow: sales.load run r1 try 1 was killed (it is failed)"
    )


async def test_a_trigger_that_moved_leaves_the_job_alone(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    assert await carry_out(monkeypatch, Airflow(("deferred", "j")), job, job()) == "active"


async def test_airflow_is_asked_until_it_answers_and_is_clear(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    airflow = Airflow(RuntimeError("the API server is away"), ("running", None), ("running", "k"))

    assert await carry_out(monkeypatch, airflow, job, job()) != "active"


async def test_a_lookup_that_fails_does_not_drop_a_kill(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    """Airflow says that there is no such connection also when it can't be asked."""
    missing = [AirflowNotFoundException("The conn_id isn't defined")]

    async def account() -> Any:
        if missing:
            raise missing.pop()
        return job.hook.account

    assert await carry_out(monkeypatch, Airflow(("failed", "j")), job, job(), account=account) != "active"


async def test_a_connection_that_cannot_work_is_not_looked_up_again(
    monkeypatch: pytest.MonkeyPatch, job: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def account() -> Any:
        raise AccountError("no account_url")

    assert await carry_out(monkeypatch, Airflow(("failed", "j")), job, job(), account=account) == "active"
    assert "could not be ended and may still run: no account_url" in caplog.text


async def test_a_cleared_tasks_next_job_is_not_touched(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    """Not even under the same id: the user's own may have been used again."""
    made = job() | {"creationTime": "2001-01-01T00:00:00Z"}

    assert await carry_out(monkeypatch, Airflow(("failed", "j")), job, made) == "active"


async def test_another_tasks_job_is_not_touched(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    made = job(owner=evolve(OWNER, task_id="other"))

    assert await carry_out(monkeypatch, Airflow(("failed", "j")), job, made) == "active"


async def test_a_job_that_goes_on_after_its_manager_is_not_ended_by_success(
    monkeypatch: pytest.MonkeyPatch, job: Any
) -> None:
    """Another triggerer brought the manager's verdict; the trigger that was stalled is cancelled only then."""
    made = job(manager="/bin/true")
    await until(lambda: job.hook.get_task("j", "jobmanager")["state"] == "completed")

    assert await carry_out(monkeypatch, Airflow(("success", "j")), job, made, wait_for="job_manager") == "active"
    assert await carry_out(monkeypatch, Airflow(("failed", "j")), job, made, wait_for="job_manager") != "active"


async def test_a_kill_outlives_the_one_second_that_airflow_gives_it(monkeypatch: pytest.MonkeyPatch, job: Any) -> None:
    made = job()
    airflow = Airflow(("running", None), ("running", None), ("failed", "j"))
    monkeypatch.setattr(kill, "_ask", airflow)
    trigger = AzureBatchJobManagerTrigger(
        job_id="j", created_at=made["creationTime"], owner={"dag_id": "sales", "task_id": "load", "run_id": "r1"}
    )
    call = asyncio.ensure_future(trigger.on_kill())
    await until(lambda: len(airflow.answers) == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await trigger.cleanup()

    (task,) = kill._under_way
    await asyncio.wait_for(task, 60)
    assert job.hook.get_job("j")["state"] != "active"


async def test_a_cancellation_that_lost_its_message_is_a_possible_kill_too(
    monkeypatch: pytest.MonkeyPatch, local_batch: LocalBatch, job: Any
) -> None:
    """Airflow then never calls ``on_kill``, nor does Airflow 3.2 at any time."""
    made = job()
    monkeypatch.setattr(kill, "_ask", Airflow(("failed", "j")))
    trigger = AzureBatchJobManagerTrigger(
        job_id="j", created_at=made["creationTime"], owner={"dag_id": "sales", "task_id": "load", "run_id": "r1"}
    )
    local_batch.journal.clear()
    events = asyncio.ensure_future(trigger.run().__anext__())
    await until(lambda: local_batch.journal)
    events.cancel()
    with pytest.raises(asyncio.CancelledError):
        await events

    (task,) = kill._under_way
    await asyncio.wait_for(task, 60)
    assert job.hook.get_job("j")["state"] != "active"


@pytest.mark.parametrize("more", [{"owner": None}, {"on_kill_action": "leave"}])
async def test_a_trigger_that_may_not_end_its_job_never_asks(more: dict[str, Any]) -> None:
    arguments = {"owner": {"dag_id": "sales", "task_id": "load", "run_id": "r1"}, **more}

    await AzureBatchJobManagerTrigger(job_id="j", **arguments).on_kill()

    assert not kill._under_way
