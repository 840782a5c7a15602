"""Every kind of trouble with the service: what the task's log says, and that it comes to a true end nevertheless."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from azure.batch.aio import BatchClient

from airflow_provider_jobmanager import account, sight
from airflow_provider_jobmanager.errors import AccountError, ServiceUnavailable
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.local import LocalBatch, Settings
from airflow_provider_jobmanager.operators.outcome import verdict_of_event
from tests.triggers.running import Trigger, submit, until, users, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_mock import MockerFixture

CAN_T = "warning: The Batch service can't be asked at the moment: GET /jobs"
AGAIN = "info: The Batch service answers again, after "

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "429": ({"then": "answer", "status": 429}, r"HTTP 429, TooManyRequests"),
    "429 with Retry-After": ({"then": "answer", "status": 429, "retry_after": 1}, r"HTTP 429, TooManyRequests"),
    "503": ({"then": "answer", "status": 503}, r"HTTP 503, ServerBusy"),
    "503 with Retry-After": ({"then": "answer", "status": 503, "retry_after": 1}, r"HTTP 503, ServerBusy"),
    "500": ({"then": "answer", "status": 500}, r"HTTP 500, InternalError"),
    "408": ({"then": "answer", "status": 408, "code": "OperationTimedOut"}, r"HTTP 408"),
    "time-out": ({"then": "delay", "seconds": 1.5}, r"no answer from http://127.0.0.1:\d+ \(connection"),
    "dropped connection": ({"then": "drop"}, r"no answer from http://127.0.0.1:\d+ \(connection"),
    "lost answer": ({"then": "lose-answer"}, r"no answer from http://127.0.0.1:\d+ \(connection"),
    "garbage with 200": ({"then": "garbage", "status": 200}, r"the answer is not JSON"),
    "garbage with 404": ({"then": "garbage", "status": 404}, r"an answer that is not the Batch service's"),
    "garbage with 502": ({"then": "garbage", "status": 502}, r"an answer that is not the Batch service's"),
    "expired token": (
        {"then": "answer", "status": 401, "code": "AuthenticationFailed"},
        r"HTTP 401 AuthenticationFailed",
    ),
    "403 in passing": (
        {"then": "answer", "status": 403, "code": "AuthenticationFailed"},
        r"HTTP 403 AuthenticationFailed",
    ),
}


@pytest.fixture(autouse=True)
def _short_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(account._OPTIONS, "read_timeout", 0.5)


@pytest.mark.parametrize("operation", ["list_jobs", "get_task"])
@pytest.mark.parametrize("name", FAULTS)
async def test_trouble_is_waited_out(
    local_batch: LocalBatch, name: str, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    rule, said = FAULTS[name]
    submit("j", "exit 7")
    local_batch.faults.add(operation=operation, times=2, **rule)
    trigger = Trigger(job_id="j")
    with caplog.at_level(logging.WARNING):
        verdict = await asyncio.wait_for(verdict_of(trigger), 60)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 7)
    warnings = [line for line in trigger.lines.kept if line.startswith("warning")]
    assert len(warnings) == 1, warnings  # said once
    assert warnings[0].startswith(CAN_T)
    assert re.search(said, warnings[0])
    assert trigger.lines.count(AGAIN) == 1
    assert local_batch.faults.data()[0]["hits"] == 2
    assert local_batch.key not in "\n".join(trigger.lines.kept) + caplog.text
    assert {entry.method for entry in local_batch.journal} <= {"GET", "POST"}
    assert [entry.operation for entry in local_batch.journal if entry.method == "POST"] == ["create_job"]


@pytest.mark.parametrize("operation", ["list_jobs", "get_task"])
@pytest.mark.parametrize(("status", "code"), [(401, "AuthenticationFailed"), (403, "InsufficientAccountPermissions")])
async def test_a_refusal_that_lasts_is_reported_as_what_it_is(
    local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch, operation: str, status: int, code: str
) -> None:
    monkeypatch.setattr(sight, "REFUSED_FOR", 2.0)
    submit("j", "exit 0" if operation == "get_task" else "sleep 60")
    local_batch.faults.add(operation=operation, then="answer", status=status, code=code)
    trigger = Trigger(job_id="j")
    event = await asyncio.wait_for(verdict_of(trigger), 60)
    assert event["status"] == "out_of_sight"
    assert f"HTTP {status} {code}" in event["reason"]
    with pytest.raises(ServiceUnavailable, match=rf"HTTP {status} {code}.*The job was left alone"):
        verdict_of_event(event)
    assert trigger.lines.count("error: Out of sight for ") == 1
    _is_untouched(local_batch)


async def test_a_manager_that_may_not_be_read(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "REFUSED_FOR", 2.0)
    submit("j", "sleep 60")
    local_batch.faults.add(operation="get_task", then="answer", status=403, code="InsufficientAccountPermissions")
    event = await asyncio.wait_for(verdict_of(Trigger(job_id="j", wait_for="job_manager")), 60)
    assert event["status"] == "out_of_sight"
    assert "HTTP 403 InsufficientAccountPermissions" in event["reason"]
    _is_untouched(local_batch)


GONE = "warning: The Batch service can't be asked at the moment: "
UNUSABLE = "HTTP 401 CredentialUnusable: Connection 'azure_batch_default': its credential can't be used: no file"


@pytest.fixture
def no_credential(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether the file that a credential reads is away."""
    away = False
    send = BatchClient.send_request

    async def sent(client: BatchClient, request: Any, **options: Any) -> Any:
        if away:
            raise AccountError("its credential can't be used: no file")
        return await send(client, request, **options)

    def say(is_away: bool) -> None:
        nonlocal away
        away = is_away

    monkeypatch.setattr(BatchClient, "send_request", sent)
    return say


@pytest.mark.usefixtures("local_batch")
@pytest.mark.parametrize("wait_for", ["job", "job_manager"])
async def test_a_credential_that_is_away_for_a_moment(
    no_credential: Callable[[bool], None], tmp_path: Path, wait_for: str
) -> None:
    submit("j", f"until test -e {tmp_path}/go; do sleep 0.2; done; exit 7")
    trigger = Trigger(job_id="j", wait_for=wait_for)
    run = asyncio.ensure_future(verdict_of(trigger))
    await until(lambda: users() == [1])
    no_credential(True)
    await until(lambda: trigger.lines.count(GONE) or run.done())
    no_credential(False)
    await until(lambda: trigger.lines.count(AGAIN) or run.done())
    (tmp_path / "go").touch()
    verdict = await asyncio.wait_for(run, 60)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 7)
    assert trigger.lines.count(GONE) == 1
    assert trigger.lines.count(UNUSABLE) == 1
    assert trigger.lines.count(AGAIN) == 1
    assert trigger.lines.count("error") == trigger.lines.count("exception") == 0


@pytest.mark.usefixtures("local_batch")
@pytest.mark.parametrize("wait_for", ["job", "job_manager"])
async def test_a_credential_that_stays_away_is_reported_as_that(
    no_credential: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch, wait_for: str
) -> None:
    monkeypatch.setattr(sight, "REFUSED_FOR", 2.0)
    submit("j", "sleep 60")
    run = asyncio.ensure_future(verdict_of(Trigger(job_id="j", wait_for=wait_for)))
    await until(lambda: users() == [1])
    no_credential(True)
    event = await asyncio.wait_for(run, 60)
    assert event["status"] == "out_of_sight"
    assert UNUSABLE in event["reason"]


@pytest.mark.parametrize("operation", ["list_jobs", "get_task"])
async def test_out_of_sight_for_too_long(local_batch: LocalBatch, operation: str) -> None:
    submit("j", "exit 0" if operation == "get_task" else "sleep 60")
    local_batch.faults.add(operation=operation, then="drop")
    trigger = Trigger(job_id="j", out_of_sight=2.0)
    event = await asyncio.wait_for(verdict_of(trigger), 60)
    assert event["status"] == "out_of_sight"
    with pytest.raises(ServiceUnavailable, match=r"'j' is out of sight: .*The job was left alone and may still run"):
        verdict_of_event(event)
    _is_untouched(local_batch)


async def test_trouble_while_only_the_manager_is_waited_for(local_batch: LocalBatch) -> None:
    submit("j", "sleep 1; exit 7", manager={"killJobOnCompletion": False})
    local_batch.faults.add(then="answer", status=503, probability=0.4, seed=5)
    verdict = await asyncio.wait_for(verdict_of(Trigger(job_id="j", wait_for="job_manager")), 60)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 7)


async def test_twenty_jobs_through_a_storm(local_batch: LocalBatch) -> None:
    for number in range(20):
        submit(f"job-{number}", f"exit {number % 3}", manager={"runExclusive": False})
    for rule in (
        {"then": "answer", "status": 429, "probability": 0.2, "seed": 1},
        {"then": "drop", "probability": 0.1, "seed": 2},
        {"then": "garbage", "status": 200, "probability": 0.1, "seed": 3},
        {"then": "stale", "seconds": 1, "probability": 0.2, "seed": 4, "operation": "list_jobs"},
        {"then": "skew", "seconds": 600, "probability": 0.2, "seed": 5},
    ):
        local_batch.faults.add(rule)
    verdicts = await asyncio.gather(*(verdict_of(Trigger(job_id=f"job-{number}")) for number in range(20)))
    assert [verdict["exit_code"] for verdict in verdicts] == [number % 3 for number in range(20)]


async def test_a_service_that_goes_away_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    """Really away: nobody listens on its port; its jobs go on from where its state left them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = Settings(port=probe.getsockname()[1], state_dir=tmp_path / "state")
    with LocalBatch(settings) as batch:
        monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", batch.connection_json())
        submit("j", "sleep 2; exit 7")
        trigger = Trigger(job_id="j")
        run = asyncio.ensure_future(verdict_of(trigger))
        await until(lambda: len(batch.journal) > 4)
    asked = mocker.spy(account.AsyncClient, "call")
    await until(lambda: trigger.lines.count("can't be asked at the moment: GET /jobs: no answer from"))
    await until(lambda: asked.call_count > 2)
    with LocalBatch(settings):
        verdict = await asyncio.wait_for(run, 120)
    assert (verdict["status"], verdict["exit_code"]) == ("failed", 7)
    assert trigger.lines.count("can't be asked") == 1
    assert trigger.lines.count(AGAIN) == 1


def _is_untouched(batch: LocalBatch) -> None:
    batch.faults.clear()
    hook = AzureBatchJobManagerHook()
    assert (
        "terminateReason" not in hook.get_job("j").get("executionInfo", {})
        or hook.get_job("j")["executionInfo"]["terminateReason"] == "JMComplete"
    )
    hook.client.close()
    assert {entry.operation for entry in batch.journal} <= {"create_job", "list_jobs", "get_job", "get_task"}
