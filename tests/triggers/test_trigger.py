"""The trigger over the local Batch service."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from attrs import asdict

from airflow_provider_jobmanager import following
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.verdict import Verdict
from airflow_provider_jobmanager.errors import AccountError, ConfigurationError
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.operators.outcome import is_news_of
from airflow_provider_jobmanager.triggers import ending, job_manager
from airflow_provider_jobmanager.triggers.beside import Beside
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from tests.triggers.running import Trigger, event_of, submit, until, verdict_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local import LocalBatch

OWNER = Owner(dag_id="d", task_id="t", run_id="r", try_number=1, ti_id="ti")
pytestmark = pytest.mark.usefixtures("local_batch")


def asked(batch: LocalBatch, operation: str) -> int:
    return sum(entry.operation == operation for entry in batch.journal)


@pytest.mark.parametrize(("command", "status", "code"), [("exit 0", "succeeded", 0), ("exit 3", "failed", 3)])
async def test_the_event_is_the_verdict_as_json(command: str, status: str, code: int) -> None:
    job = submit("j", command)
    verdict = await verdict_of(Trigger(job_id="j"))
    assert json.loads(json.dumps(verdict)) == verdict
    assert (verdict["job_id"], verdict["status"], verdict["exit_code"]) == ("j", status, code)
    assert (verdict["reason"], verdict["manager_id"], verdict["retries"]) == ("JMComplete", "manager", 0)
    assert verdict["created_at"] == job["creationTime"]
    assert verdict["started_at"]
    assert verdict["ended_at"]
    assert (verdict["failure"] is None) == (status == "succeeded")


@pytest.mark.parametrize("end_from_trigger", [False, True])
async def test_a_trigger_of_airflow_3_2_knows_no_task(monkeypatch: pytest.MonkeyPatch, end_from_trigger: bool) -> None:
    monkeypatch.delattr("airflow.triggers.base.BaseTrigger.task", raising=False)
    submit("j", "exit 0")
    event = await event_of(Trigger(job_id="j", end_from_trigger=end_from_trigger))
    if end_from_trigger:
        assert isinstance(event, TaskSuccessEvent)
    else:
        assert event.payload["status"] == "succeeded"


@pytest.mark.parametrize("page", [1000, 6])
async def test_many_jobs_cost_one_poll_and_one_read_each(
    local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: int
) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.account._PAGE", page)
    for number in range(20):
        submit(f"job-{number}", f"until test -e {tmp_path}/go; do sleep 0.2; done", manager={"runExclusive": False})
    local_batch.journal.clear()
    runs = [asyncio.ensure_future(verdict_of(Trigger(job_id=f"job-{n}", poll_interval=0.5))) for n in range(20)]
    await until(lambda: asked(local_batch, "list_jobs") > 1)
    (tmp_path / "go").touch()
    verdicts = await asyncio.gather(*runs)
    assert [verdict["status"] for verdict in verdicts] == ["succeeded"] * 20
    assert [verdict["job_id"] for verdict in verdicts] == [f"job-{n}" for n in range(20)]
    assert asked(local_batch, "get_task") == 20
    assert asked(local_batch, "get_job") <= 2
    requests = [entry for entry in local_batch.journal if entry.operation == "list_jobs"]
    assert any("skiptoken" in entry.path for entry in requests) == (page < 20)
    assert len([entry for entry in requests if "skiptoken" not in entry.path]) < 40
    assert not following._shared.get(asyncio.get_running_loop())  # the client is closed when nobody waits


async def test_what_was_begun_beside_a_wait_ends_although_the_rest_could_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Beside] = []

    def broken(beside: Beside, _seconds: float | None) -> None:
        begun.append(beside)
        raise KeyError("a defect")

    monkeypatch.setattr(Beside, "set_alarm", broken)
    submit("j", "sleep 60")
    with pytest.raises(KeyError):
        await event_of(Trigger(job_id="j", wait_for="job_manager"))
    (beside,) = begun
    assert not any(beside in slot for slot in beside.wait.errands._slots.values())
    assert [task.done() for task in beside._tasks] == [True]


async def test_connections_that_mean_one_account_share_its_poll(
    local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SAME", local_batch.connection_json())
    elsewhere = json.loads(local_batch.connection_json())
    elsewhere["login"] = "another"
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(elsewhere))
    submit("one", "sleep 60"), submit("two", "sleep 60")
    runs = [
        asyncio.ensure_future(verdict_of(Trigger(job_id=job_id, azure_batch_conn_id=conn)))
        for job_id, conn in (("one", "azure_batch_default"), ("two", "same"), ("two", "other"))
    ]
    shared = lambda: following._shared.get(asyncio.get_running_loop()) or {}  # noqa: E731
    try:
        await until(lambda: sorted(one.users for one in shared().values()) == [1, 2])
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
    assert not shared()


async def test_nothing_it_serializes_is_a_secret_or_no_json(local_batch: LocalBatch) -> None:
    trigger = AzureBatchJobManagerTrigger(job_id="j", owner=asdict(OWNER), deadline=5.0)
    path, arguments = trigger.serialize()
    assert path == "airflow_provider_jobmanager.triggers.job_manager.AzureBatchJobManagerTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert local_batch.key not in json.dumps(arguments)
    assert AzureBatchJobManagerTrigger(**arguments).serialize() == (path, arguments)


async def test_the_manager_alone() -> None:
    """Its end is the end of the wait, also when the job goes on."""
    submit("j", "exit 4", manager={"killJobOnCompletion": False})
    trigger = Trigger(job_id="j", wait_for="job_manager")
    verdict = await asyncio.wait_for(verdict_of(trigger), 30)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 4)
    assert trigger.lines.count("exited with code 4") == 1


async def test_the_manager_of_a_job_that_is_killed() -> None:
    submit("j", "sleep 60")
    run = asyncio.ensure_future(verdict_of(Trigger(job_id="j", wait_for="job_manager")))
    hook = AzureBatchJobManagerHook()
    await asyncio.to_thread(hook.terminate_job, "j", "enough")
    verdict = await asyncio.wait_for(run, 30)
    hook.client.close()
    assert (verdict["status"], verdict["reason"]) == ("cancelled", "enough")


async def test_a_job_that_is_deleted_is_lost(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.poll._SWEEP_SECONDS", 0.2)
    submit("j", "sleep 60")
    trigger = Trigger(job_id="j", job_must_exist=False)
    run = asyncio.ensure_future(verdict_of(trigger))
    await until(lambda: asked(local_batch, "list_jobs") > 1)
    await asyncio.to_thread(_delete, "j")
    verdict = await asyncio.wait_for(run, 60)
    assert verdict["status"] == "lost"
    assert trigger.lines.count("deleted while it was followed") == 1


async def test_a_job_that_appears_later(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.poll._SWEEP_SECONDS", 0.2)
    run = asyncio.ensure_future(verdict_of(Trigger(job_id="j", job_must_exist=False)))
    await until(lambda: asked(local_batch, "list_jobs") > 3)
    await asyncio.to_thread(submit, "j", "exit 2")
    verdict = await asyncio.wait_for(run, 60)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 2)


async def test_a_job_that_is_not_there_is_lost() -> None:
    trigger = Trigger(job_id="none")
    verdict = await verdict_of(trigger)
    assert (verdict["status"], verdict["never_seen"]) == ("lost", True)
    assert trigger.lines.count("Job 'none' is not there.") == 1


async def test_the_first_event_keeps_clear_of_the_deferral(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_manager, "FIRST_EVENT_SECONDS", 1.5)
    submit("j")
    begun = time.monotonic()
    await verdict_of(Trigger(job_id="j", poll_interval=2.0))
    assert time.monotonic() - begun >= 1.5


async def test_states_and_progress_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.poll._SWEEP_SECONDS", 0.1)
    monkeypatch.setattr("airflow_provider_jobmanager.poll._SWEEP_TICKS", 0)
    monkeypatch.setattr("airflow_provider_jobmanager.meanwhile.COUNT_SECONDS", 0.05)
    monkeypatch.setattr(job_manager, "_QUIET_SECONDS", 0.05)
    submit("j", "sleep 60")
    trigger = Trigger(job_id="j")
    run = asyncio.ensure_future(verdict_of(trigger))
    await until(lambda: trigger.lines.count("info: Tasks of job j: 1 running, 0 succeeded, 0 failed of 1."))
    hook = AzureBatchJobManagerHook()
    sdk = hook.get_conn()
    await asyncio.to_thread(sdk.begin_disable_job, "j", disable_options={"disableTasks": "wait"})
    await until(lambda: trigger.lines.count("info: Job j is disabling (it was active)."))
    await asyncio.to_thread(hook.terminate_job, "j", "enough")
    await asyncio.wait_for(run, 30)
    hook.client.close()
    assert trigger.lines.count("1 running") == 1  # told once


async def test_a_defect_in_what_is_told_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(job_manager, "_QUIET_SECONDS", 0.05)
    monkeypatch.setattr("airflow_provider_jobmanager.meanwhile.Meanwhile.round", broken)
    submit("j", "sleep 1")
    trigger = Trigger(job_id="j")
    assert (await verdict_of(trigger))["status"] == "succeeded"
    assert trigger.lines.count("exception: What happens meanwhile") == 1


# -- whom an event is for ----------------------------------------------------------------------------------------


def of_a_task(trigger: Trigger) -> Trigger:
    """The trigger as a triggerer has it."""
    trigger.task_instance = SimpleNamespace(id=uuid.UUID(int=1), task_id="t")
    return trigger


@pytest.mark.parametrize("command", ["exit 0", "exit 3"])
async def test_an_event_says_whom_it_is_for(command: str) -> None:
    submit("j", command)
    event = await verdict_of(of_a_task(Trigger(job_id="j")))
    plain = await verdict_of(Trigger(job_id="j"))
    assert json.loads(json.dumps(event)) == event
    assert event == plain | {"for": str(uuid.UUID(int=1))}
    mine, theirs = (SimpleNamespace(id=uuid.UUID(int=number)) for number in (1, 2))
    for job_id in ("j", None):
        assert is_news_of(event, job_id, mine)
        assert not is_news_of(event, job_id, theirs)
    assert is_news_of(plain, "j", theirs)  # `dag.test()` says nothing of whom
    assert not is_news_of(plain, "k", mine)
    assert "for" not in Verdict.from_dict(event).as_dict()


async def test_whom_an_event_is_for_is_no_part_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: dict[str, Any] = {}

    async def push(_ti: Any, values: dict[str, Any], _log: Any) -> None:
        pushed.update(values)

    monkeypatch.setattr(job_manager, "push_xcoms", push)
    submit("j")
    event = await event_of(of_a_task(Trigger(job_id="j", end_from_trigger=True)))
    assert isinstance(event, TaskSuccessEvent)
    assert pushed["return_value"]["status"] == "succeeded"
    assert not {"for", "told"} & set(pushed["return_value"])


# -- deadlines ---------------------------------------------------------------------------------------------------


def own(job_id: str, command: str, owner: Owner = OWNER) -> None:
    submit(job_id, command, metadata=owner.metadata())


async def test_out_of_time_the_job_of_the_task_is_ended() -> None:
    own("j", "sleep 60")
    verdict = await verdict_of(Trigger(job_id="j", deadline=time.time() + 1, owner=asdict(OWNER)))
    assert (verdict["status"], verdict["failure"]["code"]) == ("timed_out", "DeadlineExceeded")
    job = AzureBatchJobManagerHook().get_job("j")
    assert job["executionInfo"]["terminateReason"] == f"Airflow: deadline of {OWNER} passed"


@pytest.mark.parametrize("arguments", [{}, {"owner": asdict(OWNER), "on_kill_action": "leave"}])
async def test_out_of_time_a_job_is_left_alone_when_told_so(arguments: dict[str, Any]) -> None:
    own("j", "sleep 60")
    verdict = await verdict_of(Trigger(job_id="j", deadline=time.time() + 1, **arguments))
    assert verdict["status"] == "timed_out"
    assert "left alone" in verdict["reason"]
    assert AzureBatchJobManagerHook().get_job("j")["state"] == "active"


async def test_out_of_time_the_job_of_somebody_else_is_not_touched() -> None:
    own("j", "sleep 60", owner=Owner(dag_id="other", task_id="t", run_id="r"))
    trigger = Trigger(job_id="j", deadline=time.time() + 1, owner=asdict(OWNER))
    verdict = await verdict_of(trigger)
    assert verdict["status"] == "timed_out"
    assert "could not be told to end" in verdict["reason"]
    assert trigger.lines.count("does not belong to this task") == 1
    assert AzureBatchJobManagerHook().get_job("j")["state"] == "active"


async def test_out_of_time_and_the_service_is_away(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_manager, "_TERMINATE_SECONDS", 1.0)
    own("j", "sleep 60")
    local_batch.faults.add(then="drop")
    trigger = Trigger(job_id="j", deadline=time.time() + 1, owner=asdict(OWNER))
    verdict = await asyncio.wait_for(verdict_of(trigger), 60)
    assert verdict["status"] == "timed_out"
    assert "could not be told to end" in verdict["reason"]
    local_batch.faults.clear()
    assert AzureBatchJobManagerHook().get_job("j")["state"] == "active"


async def test_a_deadline_that_passed_while_nobody_looked_does_not_hide_how_the_job_ended() -> None:
    own("j", "exit 0")
    await until(lambda: AzureBatchJobManagerHook().get_job("j")["state"] == "completed")
    verdict = await verdict_of(Trigger(job_id="j", deadline=time.time() - 100, owner=asdict(OWNER)))
    assert verdict["status"] == "succeeded"


@pytest.mark.parametrize("zone", [timezone.utc, None])
async def test_the_timeout_of_the_deferral_is_kept_clear_of(zone: timezone | None) -> None:
    own("j", "sleep 60")
    trigger = Trigger(job_id="j", owner=asdict(OWNER))
    cut_off = datetime.now(timezone.utc) + timedelta(seconds=8)
    trigger.timeout_after = cut_off.replace(tzinfo=zone)
    verdict = await verdict_of(trigger)
    assert verdict["status"] == "timed_out"
    assert datetime.now(timezone.utc) < cut_off


async def test_a_margin_makes_a_deadline_of_the_timeout_of_the_deferral() -> None:
    own("j", "sleep 60")
    trigger = Trigger(job_id="j", owner=asdict(OWNER), deferral_margin=60.0)
    begun = datetime.now(timezone.utc)
    trigger.timeout_after = begun + timedelta(seconds=61)
    assert (await verdict_of(trigger))["status"] == "timed_out"
    assert datetime.now(timezone.utc) < begun + timedelta(seconds=30)


# -- who goes, and what stays ------------------------------------------------------------------------------------


async def test_a_cancelled_trigger_ends_no_job(local_batch: LocalBatch) -> None:
    own("j", "sleep 60")
    run = asyncio.ensure_future(verdict_of(Trigger(job_id="j")))
    await until(lambda: asked(local_batch, "list_jobs") > 1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert AzureBatchJobManagerHook().get_job("j")["state"] == "active"
    assert not following._shared.get(asyncio.get_running_loop())
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_client_in_use_outlives_the_wait(local_batch: LocalBatch) -> None:
    """What a kill does with the account's client, the end of the wait does not take away."""
    submit("j", "sleep 60")
    account = AzureBatchJobManagerHook().account
    async with following.shared_client(account) as client:
        run = asyncio.ensure_future(verdict_of(Trigger(job_id="j")))
        await until(lambda: asked(local_batch, "list_jobs") > 1)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        verdict = await client.perform(following_flow("j"))
        assert verdict is None


def following_flow(job_id: str) -> Any:
    from airflow_provider_jobmanager.batch import flows

    return flows.read_verdict(job_id)


async def test_the_poll_does_not_log_into_a_tasks_log(local_batch: LocalBatch) -> None:
    """Airflow routes a line by context variables: those of the task that waits must not be those of the poll."""
    import contextvars

    whose = contextvars.ContextVar("whose", default="nobody's")
    seen: list[str] = []

    class Spy(following.Poll):
        async def tick(self) -> None:
            seen.append(whose.get())
            await super().tick()

    submit("j")
    whose.set("the task's")
    original, following.Poll = following.Poll, Spy
    try:
        await verdict_of(Trigger(job_id="j"))
    finally:
        following.Poll = original
    assert set(seen) == {"nobody's"}


# -- ending the task in the triggerer ----------------------------------------------------------------------------


async def test_ending_here_well() -> None:
    submit("j")
    trigger = Trigger(job_id="j", end_from_trigger=True)
    event = await event_of(trigger)
    assert isinstance(event, TaskSuccessEvent)
    assert trigger.lines.kept[-1] == "info: Job 'j' succeeded (JMComplete)."


@pytest.mark.parametrize(
    ("soft_fail", "new_airflow", "kind"),
    [(False, True, TaskFailedEvent), (True, True, TaskSkippedEvent), (True, False, TaskSkippedEvent)],
)
async def test_ending_here_badly(
    monkeypatch: pytest.MonkeyPatch, soft_fail: bool, new_airflow: bool, kind: type[TriggerEvent]
) -> None:
    monkeypatch.setattr(ending, "AIRFLOW_3_3", new_airflow)
    submit("j", "exit 9")
    trigger = Trigger(job_id="j", end_from_trigger=True, soft_fail=soft_fail)
    assert isinstance(await event_of(trigger), kind)
    assert trigger.lines.count("error: Job 'j' failed (JMComplete): job manager 'manager' exited with code 9") == 1


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [({"retries_follow": True}, TriggerEvent), ({"retries_follow": True, "soft_fail": True}, TaskSkippedEvent)],
)
async def test_out_of_time_a_task_with_retries_is_ended_for_good(arguments: Any, kind: type[TriggerEvent]) -> None:
    """On a worker: a task that fails here is retried."""
    submit("j", "sleep 60")
    trigger = of_a_task(Trigger(job_id="j", end_from_trigger=True, deadline=time.time() + 0.5, **arguments))
    event = await event_of(trigger)
    assert type(event) is kind
    if kind is TriggerEvent:
        assert (event.payload["status"], event.payload["for"]) == ("timed_out", str(uuid.UUID(int=1)))


@pytest.mark.skipif(not ending.AIRFLOW_3_3, reason="Airflow 3.2 fails a task on a worker only")
@pytest.mark.parametrize("retries_follow", [False, True])
async def test_what_is_retried_ends_here(retries_follow: bool) -> None:
    submit("j", "exit 9")
    trigger = Trigger(job_id="j", end_from_trigger=True, retries_follow=retries_follow)
    assert isinstance(await event_of(trigger), TaskFailedEvent)


async def test_airflow_3_2_fails_a_task_on_a_worker_where_it_has_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "AIRFLOW_3_3", False)
    submit("j", "exit 9")
    event = await event_of(Trigger(job_id="j", end_from_trigger=True))
    assert type(event) is TriggerEvent
    assert event.payload["exit_code"] == 9


@pytest.mark.skipif(not ending.AIRFLOW_3_3, reason="Airflow 3.2 fails a task on a worker only")
async def test_a_connection_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps({"conn_type": "azure_batch_job_manager"}))
    with pytest.raises(AccountError, match="no account_url"):
        await verdict_of(Trigger(job_id="j", azure_batch_conn_id="wrong"))
    trigger = Trigger(job_id="j", azure_batch_conn_id="wrong", end_from_trigger=True)
    assert isinstance(await event_of(trigger), TaskFailedEvent)
    assert trigger.lines.count("no account_url") == 1


async def test_a_template_that_came_to_nothing() -> None:
    for nothing in ("", None):
        with pytest.raises(ConfigurationError, match="neither job_id nor job_schedule_id came to anything"):
            await verdict_of(Trigger(job_id=nothing, job_schedule_id=nothing))
    with pytest.raises(ConfigurationError, match=r"job_id must be the id of a job .* it came to 'a/b'"):
        await verdict_of(Trigger(job_id="a/b"))


async def test_an_id_of_digits_that_native_rendering_made_a_number() -> None:
    submit("20260131", "exit 0")
    assert (await verdict_of(Trigger(job_id=20260131, job_schedule_id=None)))["status"] == "succeeded"


def _delete(job_id: str) -> None:
    hook = AzureBatchJobManagerHook()
    hook.get_conn().begin_delete_job(job_id)
    hook.client.close()
