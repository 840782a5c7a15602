"""Looking up the connection in the triggerer while Airflow can't be asked, or says what is not so."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import TaskFailedEvent, TriggerEvent

from airflow_provider_jobmanager.errors import AccountError, ServiceUnavailable
from airflow_provider_jobmanager.operators.outcome import verdict_of_event
from airflow_provider_jobmanager.triggers import accounts
from airflow_provider_jobmanager.triggers.ending import AIRFLOW_3_3
from tests.triggers.running import Trigger, event_of, submit, until, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable

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
