"""The doctor at the bedside of a real (local) account."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager import doctor
from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.tell.test_failures import a_pool
from tests.waiting import until

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

SECRET = "Sw0rdfish-value"


@pytest.fixture
def hook(local_batch: LocalBatch) -> AzureBatchJobManagerHook:
    return AzureBatchJobManagerHook()


def create(hook, job_id, command, pool="local"):
    manager = {
        "id": "jm",
        "commandLine": command,
        "environmentSettings": [{"name": "API_TOKEN", "value": SECRET}],
    }
    hook.client.call(calls.post("jobs", json={"id": job_id, "poolInfo": {"poolId": pool}, "jobManagerTask": manager}))


def completed(hook, job_id):
    end = time.monotonic() + 60
    while hook.get_job(job_id)["state"] != "completed":
        assert time.monotonic() < end
        time.sleep(0.05)


def run(capsys, *arguments):
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    code = doctor.run(parser.parse_args(arguments))
    return code, capsys.readouterr().out


def test_a_healthy_account(hook, capsys):
    code, said = run(capsys, "--pool-id", "local")
    assert code == 0
    assert "ok  Connection 'azure_batch_default'" in said
    assert "ok  Reachable and authorised" in said
    assert "ok  Pool 'local' has a free node" in said
    assert "Jobs not completed: 0." in said
    assert "Job schedules not completed: 0." in said
    assert "!!" not in said


def test_a_failed_job_is_explained_without_its_secrets(hook, capsys):
    create(hook, "bad", "/bin/sh -c 'echo token $API_TOKEN; echo no input >&2; exit 3'")
    completed(hook, "bad")
    code, said = run(capsys, "--job-id", "bad")
    assert code == 1
    assert "!!  Job 'bad' failed (JMComplete): job manager 'jm' exited with code 3" in said
    assert "  | no input" in said
    assert "  | token ***" in said
    assert SECRET not in said


def test_a_job_that_does_not_start_is_explained(hook, capsys):
    create(hook, "waits", "/bin/sh -c 'exit 0'", pool="nowhere")
    code, said = run(capsys, "--job-id", "waits", "--pool-id", "nowhere")
    assert code == 1
    assert "ok  Job 'waits' is active" in said
    assert said.count("!!  There is no pool 'nowhere': the job waits until a pool of this id is created.") == 2


def test_a_role_that_may_not_read_everything(hook, local_batch, capsys):
    create(hook, "bad", "/bin/sh -c 'exit 3'")
    completed(hook, "bad")
    for path in ("/pools*", "/jobschedules*"):
        local_batch.faults.add(path=path, then="answer", status=403, code="InsufficientAccountPermissions")
    code, said = run(capsys, "--job-id", "bad", "--pool-id", "local")
    assert code == 1
    assert said.count("    GET /jobschedules: HTTP 403 InsufficientAccountPermissions") == 1
    assert said.count("    GET /pools: HTTP 403 InsufficientAccountPermissions") == 1
    assert said.count("!!  GET /pools/local: HTTP 403 InsufficientAccountPermissions") == 1
    assert "!!  Job 'bad' failed (JMComplete): job manager 'jm' exited with code 3" in said


def test_a_pool_that_is_busy_or_scaled_to_zero_is_no_problem(hook, capsys):
    formula = {"enableAutoScale": True, "autoScaleFormula": "$TargetDedicatedNodes=0;"}
    hook.client.call(calls.post("pools", json=a_pool("zero", **formula)))
    until(lambda: hook.client.call(calls.get("pools", "zero")).data["allocationState"] == "steady")
    create(hook, "waits", "/bin/sh -c 'exit 0'", pool="zero")
    assert hook.get_task("waits", "jm")["state"] == "active"
    code, said = run(capsys, "--job-id", "waits", "--pool-id", "zero")
    assert code == 0
    assert said.count("    Pool 'zero' is scaled to zero") == 2


def test_a_job_that_went_well(hook, capsys):
    create(hook, "good", "/bin/sh -c 'exit 0'")
    completed(hook, "good")
    code, said = run(capsys, "--job-id", "good")
    assert code == 0
    assert "ok  Job 'good' succeeded (JMComplete)." in said


def test_failed_children_count_where_the_job_outlives_its_manager(hook, capsys):
    manager = {"id": "jm", "commandLine": "/bin/sleep 2", "killJobOnCompletion": False, "runExclusive": False}
    body = {"id": "creator", "poolInfo": {"poolId": "local"}, "jobManagerTask": manager}
    hook.client.call(calls.post("jobs", json=body | {"onAllTasksComplete": "terminatejob"}))
    hook.client.call(calls.post("jobs", "creator", "tasks", json={"id": "c1", "commandLine": "/bin/false"}))
    completed(hook, "creator")
    code, said = run(capsys, "--job-id", "creator")
    assert code == 1
    assert "!!  Job 'creator' failed (AllTasksComplete): 1 child task failed." in said
    assert "Failed children: 1: c1 (exit code 1)." in said


def test_a_job_that_is_not_there(hook, capsys):
    code, said = run(capsys, "--job-id", "gone")
    assert code == 1
    assert "!!  There is no job 'gone'." in said


def test_a_connection_that_is_not_there(hook, capsys):
    code, said = run(capsys, "--conn-id", "nobody")
    assert code == 1
    assert "!!  The connection 'nobody' can't be used" in said


def test_a_wrong_key(local_batch, monkeypatch, capsys):
    connection = json.loads(local_batch.connection_json())
    connection["password"] = "d3JvbmcgYnV0IGJhc2U2NA=="
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(connection))
    code, said = run(capsys, "--conn-id", "wrong")
    assert code == 1
    assert "AuthenticationFailed" in said
    assert connection["password"] not in said


def test_an_account_that_does_not_answer(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_PATIENCE_SECONDS", 0.5)
    connection = {
        "conn_type": "azure_batch_job_manager",
        "login": "a",
        "password": "d3JvbmcgYnV0IGJhc2U2NA==",
        "extra": {"account_url": "http://127.0.0.1:9"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_DEAF", json.dumps(connection))
    code, said = run(capsys, "--conn-id", "deaf")
    assert code == 1
    assert "no answer from http://127.0.0.1:9" in said
