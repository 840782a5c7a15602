"""Looking up the connection in the triggerer while Airflow can't be asked, or says what is not so."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import TaskFailedEvent, TriggerEvent

from airflow_provider_jobmanager import sight
from airflow_provider_jobmanager.account import Account
from airflow_provider_jobmanager.errors import AccountError, ServiceUnavailable
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.local import LocalBatch, Settings, auth
from airflow_provider_jobmanager.operators.outcome import verdict_of_event
from airflow_provider_jobmanager.triggers import accounts
from airflow_provider_jobmanager.triggers.ending import AIRFLOW_3_3
from tests.triggers.running import Trigger, event_of, submit, until, users, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("local_batch")


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Lets so many lookups fail as Airflow 3.3 does when its API server is away; returns all that were made."""

    def failing(count: int) -> list[str]:
        made: list[str] = []
        look_up = accounts.BaseHook.get_connection

        def get_connection(conn_id: str) -> Any:
            made.append(conn_id)
            if len(made) <= count:
                raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
            return look_up(conn_id)

        monkeypatch.setattr(accounts.BaseHook, "get_connection", staticmethod(get_connection))
        return made

    return failing


async def test_a_lookup_that_fails_is_made_again(
    lookups: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_TELL_SECONDS", 0.1)
    submit("j")
    made = lookups(2)
    trigger = Trigger(job_id="j")
    assert (await verdict_of(trigger))["status"] == "succeeded"
    assert len(made) == 3
    assert trigger.lines.count("warning: Connection 'azure_batch_default' can't be looked up at the moment: The ") == 1


async def test_many_triggers_share_the_lookups_that_fail(lookups: Callable[[int], list[str]]) -> None:
    for number in range(5):
        submit(f"job-{number}", manager={"runExclusive": False})
    made = lookups(2)
    verdicts = await asyncio.gather(*(verdict_of(Trigger(job_id=f"job-{number}")) for number in range(5)))
    assert [verdict["status"] for verdict in verdicts] == ["succeeded"] * 5
    assert len(made) == 3


@pytest.mark.parametrize("end_from_trigger", [False, True])
async def test_a_connection_that_is_never_found_leaves_the_job_out_of_sight(
    lookups: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, end_from_trigger: bool
) -> None:
    monkeypatch.setattr(accounts, "LOOKUP_SECONDS", 0.5)
    lookups(10**6)
    trigger = Trigger(job_id="j", end_from_trigger=end_from_trigger)
    event = await event_of(trigger)
    said = "Connection 'azure_batch_default' could not be looked up: The conn_id `azure_batch_default` isn't defined"
    assert trigger.lines.count(said) >= 1
    if end_from_trigger:
        assert isinstance(event, TaskFailedEvent if AIRFLOW_3_3 else TriggerEvent)
    else:
        assert (event.payload["status"], event.payload["reason"]) == ("out_of_sight", said)
        with pytest.raises(ServiceUnavailable, match=r"isn't defined.*The job was left alone and may still run"):
            verdict_of_event(event.payload)


async def test_a_lookup_that_takes_too_long_for_the_deadline(
    lookups: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.triggers.job_manager._LAST_LOOK_SECONDS", 0.2)
    lookups(10**6)
    verdict = await verdict_of(Trigger(job_id="j", deadline=time.time() + 0.5))
    assert (verdict["status"], verdict["failure"]["code"]) == ("timed_out", "DeadlineExceeded")
    assert "could not be looked up before the deadline" in verdict["reason"]


async def test_a_connection_that_cannot_work_is_an_error_at_once(
    lookups: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps({"conn_type": "azure_batch_job_manager"}))
    made = lookups(0)
    with pytest.raises(AccountError, match="no account_url"):
        await verdict_of(Trigger(job_id="j", azure_batch_conn_id="wrong"))
    assert made == ["wrong"]


async def test_who_is_cancelled_takes_the_lookup_from_nobody(lookups: Callable[[int], list[str]]) -> None:
    submit("j")
    made = lookups(1)
    one, other = (asyncio.ensure_future(verdict_of(Trigger(job_id="j"))) for _ in range(2))
    await until(lambda: made)
    one.cancel()
    assert (await other)["status"] == "succeeded"
    await asyncio.gather(one, return_exceptions=True)
    assert len(made) == 2


# -- what a connection holds changes while its tasks wait ----------------------------------------------------------


@pytest.fixture
def rotate(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Lets the service take another key from now on; returns the connection that holds it."""
    monkeypatch.setattr(sight, "REFUSED_FOR", 2.0)
    monkeypatch.setattr(accounts, "FRESH_SECONDS", 0.0)
    connection = json.loads(local_batch.connection_json())
    verify, key = auth.SharedKey.verify, base64.b64encode(b"another key").decode()

    def rotated() -> str:
        new = auth.SharedKey(connection["login"], key)
        monkeypatch.setattr(auth.SharedKey, "verify", lambda _, asking, now: verify(new, asking, now))
        return json.dumps(connection | {"password": key})

    return rotated


async def test_a_key_that_is_rotated_while_tasks_wait(
    rotate: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = [f"job-{number}" for number in range(4)]
    for job_id in jobs:
        command = f"echo begun; until test -e {tmp_path}/go; do sleep 0.2; done"
        await asyncio.to_thread(submit, job_id, command, manager={"runExclusive": False})
    modes: list[dict[str, Any]] = [{}, {}, {"wait_for": "job_manager"}, {"stream_logs": True}]
    triggers = [Trigger(job_id=job_id, **mode) for job_id, mode in zip(jobs, modes, strict=True)]
    runs = [asyncio.ensure_future(verdict_of(trigger)) for trigger in triggers]
    await until(lambda: users() == [4] and triggers[3].lines.count("begun"))
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", rotate())
    await until(lambda: all(trigger.lines.count("The connection was changed") for trigger in triggers))
    await until(lambda: users() == [4])
    (tmp_path / "go").touch()
    verdicts = await asyncio.wait_for(asyncio.gather(*runs), 60)
    assert [verdict["status"] for verdict in verdicts] == ["succeeded"] * 4
    for trigger in triggers:
        assert trigger.lines.count("info: The connection was changed: following job job-") == 1
        assert trigger.lines.count("error") == 0
    assert triggers[3].lines.count("begun") == 1
    assert not users()


async def test_a_key_that_is_rotated_while_the_end_of_a_job_is_read(
    local_batch: LocalBatch, rotate: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("j", "exit 3")
    local_batch.faults.add(operation="get_task", then="answer", status=403, code="AuthenticationFailed")
    trigger = Trigger(job_id="j")
    run = asyncio.ensure_future(verdict_of(trigger))
    await until(lambda: trigger.lines.count("can't be asked at the moment"))
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", rotate())
    local_batch.faults.clear()
    verdict = await asyncio.wait_for(run, 60)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 3)


async def opening_fails(_: Account) -> None:
    raise AccountError("It can't be opened.")


@pytest.mark.parametrize(
    "now", ["the same", "another account", "nothing", "something that can't work", "what can't be opened"]
)
async def test_a_connection_that_holds_nothing_new_for_the_job(
    local_batch: LocalBatch, rotate: Callable[[], str], monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    monkeypatch.setattr(accounts, "LOOKUP_SECONDS", 0.5)
    submit("j", "sleep 60")
    trigger = Trigger(job_id="j")
    run = asyncio.ensure_future(verdict_of(trigger))
    await until(lambda: users() == [1])
    renewed = rotate()
    with LocalBatch(Settings(port=0)) as another:
        match now:
            case "another account":
                monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", another.connection_json())
            case "nothing":
                monkeypatch.delenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT")
            case "what can't be opened":
                # As when a proxy has become none: found with the client, not with the connection.
                monkeypatch.setattr(Account, "async_client", opening_fails)
                monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", renewed)
            case "something that can't work":
                monkeypatch.setenv(
                    "AIRFLOW_CONN_AZURE_BATCH_DEFAULT", json.dumps({"conn_type": "azure_batch_job_manager"})
                )
        event = await asyncio.wait_for(run, 60)
    assert event["status"] == "out_of_sight"
    assert "HTTP 403 AuthenticationFailed" in event["reason"]
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", renewed)
    hook = AzureBatchJobManagerHook()
    assert hook.get_job("j")["state"] == "active"
    hook.client.close()
