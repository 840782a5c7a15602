"""A manager that asks the service back, with the token of its own job and nothing else."""

from __future__ import annotations

import sys
import textwrap
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx

from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.local.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

MANAGER = textwrap.dedent(
    """
    from azure.batch import models
    from airflow_provider_jobmanager.local.inside import client_of_task

    with client_of_task() as (client, job_id):
        for n in range(3):
            client.create_task(job_id, models.BatchTaskCreateOptions(id=f"child{n}", command_line="/bin/echo hello"))
        while any(task.state != "completed" for task in client.list_tasks(job_id) if task.id != "manager"):
            pass
    """
)


def manager(command: str) -> dict[str, object]:
    return {
        "id": "manager",
        "commandLine": command,
        "runExclusive": False,
        "authenticationTokenSettings": {"access": ["job"]},
    }


def create(wire: Wire, job_id: str, command: str) -> None:
    body = {"id": job_id, "poolInfo": {"poolId": "local"}, "jobManagerTask": manager(command)}
    assert wire.ask("POST", "/jobs", body).status_code == 201
    end = time.monotonic() + 60
    while wire.ask("GET", f"/jobs/{job_id}").json()["state"] != "completed":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_manager_adds_tasks_to_its_job_and_waits_for_them(wire: Wire, tmp_path: Path):
    script = tmp_path / "manager.py"
    script.write_text(MANAGER)
    create(wire, "job", f"{sys.executable} {script}")
    tasks = {task["id"]: task for task in wire.ask("GET", "/jobs/job/tasks").json()["value"]}
    error = wire.ask("GET", "/jobs/job/tasks/manager/files/stderr.txt").text
    assert {name: task["executionInfo"]["exitCode"] for name, task in tasks.items()} == dict.fromkeys(
        ("child0", "child1", "child2", "manager"), 0
    ), error
    assert wire.ask("GET", "/jobs/job").json()["executionInfo"]["terminateReason"] == "JMComplete"


def test_over_https_it_trusts_the_certificate_of_the_service(tmp_path: Path):
    script = tmp_path / "manager.py"
    script.write_text(MANAGER)
    with LocalBatch(Settings(port=0, https=True)) as batch, closing(Wire(batch)) as wire:
        create(wire, "job", f"{sys.executable} {script}")
        error = wire.ask("GET", "/jobs/job/tasks/manager/files/stderr.txt").text
        codes = [task["executionInfo"]["exitCode"] for task in wire.get("/jobs/job/tasks")["value"]]
        assert codes == [0, 0, 0, 0], error


def test_the_token_is_good_for_its_own_job_only(batch: LocalBatch, wire: Wire):
    create(wire, "own", "/bin/sh -c 'printf %s $AZ_BATCH_AUTHENTICATION_TOKEN'")
    create(wire, "other", "/bin/true")
    token = wire.ask("GET", "/jobs/own/tasks/manager/files/stdout.txt").text
    version = {"api-version": "2025-06-01"}

    def ask(path: str, sent: str = token) -> int:
        return httpx.get(f"{batch.url}{path}", params=version, headers={"authorization": f"Bearer {sent}"}).status_code

    assert ask("/jobs/own") == 200
    assert ask("/jobs/OWN/tasks") == 200
    assert ask("/jobs/other") == 403
    assert ask("/jobs") == 403
    assert ask("/jobs/own/../other") == 403
    assert ask("/pools/local") == 403
    assert ask("/_local/journal") == 403
    assert ask("/jobs/own", token[:-3] + "aaa") == 401
    wire.must("DELETE", "/jobs/own")
    wire.until_gone("/jobs/own")
    assert ask("/jobs/own") == 404
    create(wire, "OWN", "/bin/true")
    assert ask("/jobs/own") == 401


def test_a_task_that_did_not_ask_gets_no_token(wire: Wire):
    body = {"id": "none", "poolInfo": {"poolId": "local"}}
    wire.ask("POST", "/jobs", {**body, "jobManagerTask": {"id": "manager", "commandLine": "/usr/bin/env"}})
    end = time.monotonic() + 60
    while wire.ask("GET", "/jobs/none").json()["state"] != "completed":
        assert time.monotonic() < end
    assert "TOKEN" not in wire.ask("GET", "/jobs/none/tasks/manager/files/stdout.txt").text
