"""Waiting on a worker: the same troubles as in the triggerer are waited out, and told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import evolve
from azure.batch import BatchClient

from airflow_provider_jobmanager import sight
from airflow_provider_jobmanager.batch import stopping, values
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.verdict import Verdict
from airflow_provider_jobmanager.errors import AccountError, ServiceUnavailable
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.operators import run as operators_run
from airflow_provider_jobmanager.operators.run import JobRun
from airflow_provider_jobmanager.telling import Teller
from tests.triggers.running import Lines, replace, submit, wait_until_completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_jobmanager.batch.verdict import WaitFor
    from airflow_provider_jobmanager.local import LocalBatch

CAN_T = "warning: The Batch service can't be asked at the moment: GET /jobs/j"
OWNER = Owner(dag_id="d", task_id="t", run_id="r")


@pytest.fixture
def waiting(local_batch: LocalBatch) -> Iterator[Callable[..., JobRun]]:
    hook = AzureBatchJobManagerHook()

    def begun(command: str, **more: Any) -> JobRun:
        submit("j", command, metadata=OWNER.metadata())
        return JobRun(hook=hook, owner=OWNER, log=Lines(), job_id="j", **more)

    yield begun
    hook.client.close()


@pytest.mark.parametrize(
    "rule",
    [
        {"then": "answer", "status": 401, "code": "AuthenticationFailed"},
        {"then": "answer", "status": 503},
        {"then": "garbage", "status": 200},
        {"then": "drop"},
    ],
)
def test_trouble_is_waited_out_and_told_once(waiting, local_batch: LocalBatch, rule: dict[str, Any]) -> None:
    run = waiting("sleep 1; exit 7")
    local_batch.faults.add(operation="get_job", times=2, **rule)
    verdict = run.wait(0.2)
    assert (verdict.status, verdict.exit_code) == ("failed", 7)
    assert run.log.count(CAN_T) == 1
    assert run.log.count("The Batch service answers again, after") == 1


@pytest.mark.parametrize("rule", [{"then": "drop"}, {"then": "answer", "status": 403, "code": "NotForYou"}])
def test_a_job_out_of_sight_is_left_alone_and_the_error_says_so(
    waiting, local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any]
) -> None:
    monkeypatch.setattr(sight, "REFUSED_FOR", 1.0)
    run = waiting("sleep 60", out_of_sight=1.0)
    local_batch.faults.add(operation="get_job", **rule)
    with pytest.raises(ServiceUnavailable, match=r"'j' is out of sight: .*The job was left alone and may still run"):
        run.wait(0.2)
    local_batch.faults.clear()
    assert run.hook.get_job("j")["state"] == "active"


def test_a_credential_that_is_away_for_a_moment(waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    send, away = BatchClient.send_request, iter([True, True])

    def sent(client: BatchClient, request: Any, **options: Any) -> Any:
        if next(away, False):
            raise AccountError("its credential can't be used: no file")
        return send(client, request, **options)

    run = waiting("exit 7")
    monkeypatch.setattr(BatchClient, "send_request", sent)
    verdict = run.wait(0.2)
    assert (verdict.status, verdict.exit_code) == ("failed", 7)
    assert run.log.count("HTTP 401 CredentialUnusable: Connection 'azure_batch_default': its credential can't be") == 1
    assert run.log.count("The Batch service answers again, after") == 1


@pytest.mark.parametrize("wait_for", ["job", "job_manager"])
def test_another_job_under_the_id_is_not_the_one_that_is_waited_for(waiting, wait_for: WaitFor) -> None:
    run = waiting("sleep 60", wait_for=wait_for)
    run.created_at = run.hook.get_job("j")["creationTime"]
    assert run.look() is None
    replace("j", "exit 0")
    wait_until_completed("j")
    assert (run.look().status, run.glance().status) == ("lost", "lost")


def test_the_deadline_holds_while_the_service_is_away(waiting, local_batch: LocalBatch) -> None:
    run = waiting("sleep 60", deadline=time.time() + 1.5)
    local_batch.faults.add(operation="get_job", then="drop", times=3)
    assert run.wait(0.2).status == "timed_out"
    assert run.hook.get_job("j")["executionInfo"]["terminateReason"] == f"Airflow: deadline of {OWNER} passed"


def test_a_service_that_asks_for_a_long_pause_holds_nobody_past_the_deadline(waiting, local_batch: LocalBatch) -> None:
    run = waiting("sleep 60", deadline=time.time() + 1.5)
    local_batch.faults.add(operation="get_job", then="answer", status=503, retry_after=600, times=1)
    begun = time.monotonic()
    assert run.wait(0.2).status == "timed_out"
    assert time.monotonic() - begun < 60


def test_a_deadline_while_the_service_is_away_is_still_that(
    waiting, local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators_run, "_KILL_SECONDS", 0.5)
    run = waiting("sleep 60", deadline=time.time() + 0.5)
    local_batch.faults.add(operation="get_job", then="drop")
    verdict = run.wait(0.2)
    assert verdict.status == "timed_out"
    assert verdict.reason == f"Airflow: deadline of {OWNER} passed; the job could not be told to end and may still run"


def submitted(hook: AzureBatchJobManagerHook, try_number: int, seconds: float, **constraints: Any) -> JobRun:
    owner = Owner(dag_id="d", task_id="t", run_id="r", try_number=try_number)
    run = JobRun(hook=hook, owner=owner, log=Lines(), deadline=time.time() + seconds)
    manager = {"id": "manager", "commandLine": "/bin/sleep 60"}
    body = {"poolInfo": {"poolId": "local"}, "jobManagerTask": manager, "metadata": owner.metadata()}
    submission = run.submit(body | ({"constraints": constraints} if constraints else {}), since=None, in_doubt=False)
    assert submission.adopted == (try_number > 1)
    return run


def limit_of(run: JobRun) -> float:
    return values.ticks(run.hook.get_job(run.job_id)["constraints"]["maxWallClockTime"]) / 10_000_000


@pytest.mark.usefixtures("local_batch")
def test_the_service_gives_an_adopted_job_the_time_of_the_try_that_adopted_it() -> None:
    hook = AzureBatchJobManagerHook()
    first = submitted(hook, 1, 600, maxTaskRetryCount=3)
    assert 890 <= limit_of(first) <= 900
    second = submitted(hook, 2, 3600, maxTaskRetryCount=3)
    assert second.job_id == first.job_id
    assert 3890 <= limit_of(second) <= 3960
    assert hook.get_job(second.job_id)["constraints"]["maxTaskRetryCount"] == 3
    hook.client.close()


@pytest.mark.usefixtures("local_batch")
def test_a_try_that_was_given_up_can_not_end_the_job_that_the_next_one_goes_on_with() -> None:
    """Its worker was stalled, and is told to end when it comes back: the job is another try's by then."""
    hook = AzureBatchJobManagerHook()
    owner = Owner(dag_id="d", task_id="t", run_id="r", ti_id="first")
    manager = {"id": "manager", "commandLine": "/bin/sleep 60"}
    pool = {"poolInfo": {"poolId": "local"}, "jobManagerTask": manager}
    users = {"name": "team", "value": "red"}
    tries = [JobRun(hook=hook, owner=evolve(owner, try_number=n, ti_id=f"{n}"), log=Lines()) for n in (1, 2, 3)]
    for run in tries:
        metadata = [users, *run.owner.metadata()]
        run.submit({**pool, "metadata": metadata}, since=None, in_doubt=False)
    assert len({run.job_id for run in tries}) == 1
    for run in tries[:2]:
        run.kill()
        assert run.log.count("could not be ended and may still run: Job") == 1
    job = hook.get_job(tries[0].job_id)
    assert job["state"] == "active"
    assert Owner.of(job) == tries[2].owner
    assert users in job["metadata"]
    assert len(job["metadata"]) == len(tries[2].owner.metadata()) + 1
    tries[2].kill()
    assert hook.get_job(tries[2].job_id)["executionInfo"]["terminateReason"].endswith("try 3 was killed")
    hook.client.close()


@pytest.mark.usefixtures("local_batch")
def test_a_limit_that_the_user_set_stays() -> None:
    hook = AzureBatchJobManagerHook()
    submitted(hook, 1, 600, maxWallClockTime="PT2H")
    assert limit_of(submitted(hook, 2, 3600, maxWallClockTime="PT2H")) == 7200
    hook.client.close()


@pytest.mark.usefixtures("local_batch")
def test_another_airflow_with_the_same_dag_and_run_keeps_its_job() -> None:
    hook = AzureBatchJobManagerHook()
    theirs = Owner(dag_id="d", task_id="t", run_id="r", run_start="2026-01-01T00:00:00+00:00")
    before = Owner(dag_id="d", task_id="t", run_id="r", run_start="2026-02-02T00:00:00+00:00")
    for owner in (theirs, before):
        submit(owner.job_id(), "sleep 60", metadata=owner.metadata())
    cleared = evolve(before, try_number=2, max_tries=1)
    ended = hook.perform(stopping.end_left_behind(cleared, cleared.job_id(), "a Clear", derived=True))
    assert ended == [before.job_id()]
    assert hook.get_job(theirs.job_id())["state"] == "active"
    hook.client.close()


class Defective:
    """Something to tell that breaks."""

    started, output, recoveries = True, True, 0

    def step(self, *, last: bool = False) -> Any:
        raise KeyError(last)


def test_a_defect_in_what_is_told_ends_no_wait() -> None:
    nobody: Any = None
    teller = Teller(client=nobody, telling=cast("Any", Defective()), log=Lines())
    assert teller.look() is None
    verdict = Verdict(job_id="j", status="failed")
    assert teller.last(verdict) == verdict
    assert teller.log.count("exception: What happens meanwhile could not be told") == 2
