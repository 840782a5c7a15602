"""The whole service over HTTP, asked by the official client, with real processes."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError

from airflow_provider_jobmanager.local import LocalBatch, Settings, SettingsError
from tests.processes import alive
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def client_of(batch: LocalBatch) -> BatchClient:
    return BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key))


@pytest.fixture
def client(batch: LocalBatch) -> Iterator[BatchClient]:
    with client_of(batch) as client:
        yield client


def managed(job_id: str, command: str, **manager: object) -> sdk.BatchJobCreateOptions:
    task = sdk.BatchJobManagerTask(id="manager", command_line=command, run_exclusive=False, **manager)
    return sdk.BatchJobCreateOptions(id=job_id, pool_info=sdk.BatchPoolInfo(pool_id="local"), job_manager_task=task)


def completed(client: BatchClient, job_id: str) -> sdk.BatchJob:
    until(lambda: client.get_job(job_id).state == "completed")
    return client.get_job(job_id)


def test_a_job_from_beginning_to_end(client: BatchClient):
    client.create_job(managed("Job", "/bin/sh -c 'echo out; echo err >&2; pwd; exit 3'"))
    job = completed(client, "job")
    assert job.execution_info.termination_reason == "JMComplete"
    task = client.get_task("Job", "manager")
    assert task.execution_info.exit_code == 3
    assert task.execution_info.failure_info.code == "FailureExitCode"
    out = b"".join(client.download_task_file("Job", "manager", "stdout.txt")).decode()
    assert out.splitlines() == ["out", out.splitlines()[1]]
    assert out.endswith("/workitems/Job/job-1/manager/wd\n")
    assert [file.name for file in client.list_task_files("Job", "manager")] == ["stderr.txt", "stdout.txt", "wd"]
    assert client.get_task_file_properties("Job", "manager", "stderr.txt").content_length == 4
    assert b"".join(client.download_task_file("Job", "manager", "stdout.txt", ocp_range="bytes=1-2")) == b"ut"


def test_the_environment_of_a_task_holds_nothing_of_the_service(batch, client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_SECRET", "planted")
    client.create_job(managed("env", "/usr/bin/env"))
    completed(client, "env")
    lines = b"".join(client.download_task_file("env", "manager", "stdout.txt")).decode().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert {name for name in names if not name.startswith("AZ_BATCH_")} == {"PATH", "HOME", "LANG", "PWD"}
    assert f"AZ_BATCH_ACCOUNT_URL={batch.url}" in lines
    assert {"AZ_BATCH_JOB_ID=env", "AZ_BATCH_TASK_ID=manager", "AZ_BATCH_POOL_ID=local"} <= set(lines)


def test_the_end_of_a_manager_ends_its_children_with_all_they_started(client: BatchClient, tmp_path: Path):
    go, pid = tmp_path / "go", tmp_path / "pid"
    client.create_job(managed("family", f"/bin/sh -c 'while [ ! -e {go} ]; do sleep 0.05; done'"))
    child = f"/bin/sh -c 'sleep 600 & echo $! > {pid}; wait'"
    client.create_task("family", sdk.BatchTaskCreateOptions(id="child", command_line=child))
    until(lambda: pid.exists() and pid.read_text().strip())
    go.touch()
    completed(client, "family")
    task = client.get_task("family", "child")
    assert (task.state, task.execution_info.failure_info.code) == ("completed", "TaskEnded")
    until(lambda: not alive(int(pid.read_text())))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no environment of another process can be read")
def test_what_a_task_detached_ends_with_it(client: BatchClient, tmp_path: Path):
    pid = tmp_path / "pid"
    client.create_job(managed("detached", f"/bin/sh -c 'setsid sleep 600 & echo $! > {pid}; wait'"))
    until(lambda: pid.exists() and pid.read_text().strip())
    client.terminate_task("detached", "manager")
    completed(client, "detached")
    assert not alive(int(pid.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no environment of another process can be read")
def test_what_a_task_detached_ends_with_the_service(tmp_path: Path):
    pid = tmp_path / "pid"
    hidden = f'setsid env AZ_BATCH_TASK_DIR=/elsewhere sh -c "echo \\$\\$ > {pid}; exec sleep 600" &'
    with LocalBatch(Settings(port=0)) as batch, client_of(batch) as client:
        client.create_job(managed("hidden", f"/bin/sh -c '{hidden} while [ ! -s {pid} ]; do sleep 0.05; done'"))
        completed(client, "hidden")
        assert alive(int(pid.read_text()))
    until(lambda: not alive(int(pid.read_text())))


def test_a_source_that_says_nothing_holds_nothing_up():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ExitStack() as held,
        LocalBatch(Settings(port=0)) as batch,
    ):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        file = sdk.ResourceFile(http_url=address, file_path="file")
        with client_of(batch) as client:
            for name in ("ended", "left"):
                client.create_job(managed(name, "/bin/true", resource_files=[file]))
                held.enter_context(silent.accept()[0])
            client.terminate_task("ended", "manager")
            completed(client, "ended")
        start = time.monotonic()
        batch.stop()
        assert time.monotonic() - start < 20


def test_no_answer_is_held_back_to_fill_a_packet(batch: LocalBatch, client: BatchClient):
    list(client.list_jobs())
    sockets = [each.transport.get_extra_info("socket") for each in batch._server.server_state.connections]
    assert sockets
    assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in sockets)


def test_no_such_program(client: BatchClient):
    client.create_job(managed("nothing", "there-is-no-such-program --help"))
    completed(client, "nothing")
    info = client.get_task("nothing", "manager").execution_info
    assert (info.exit_code, info.failure_info.code) == (None, "CommandProgramNotFound")


def test_a_wrong_key_is_403(batch: LocalBatch):
    stranger = BatchClient(batch.url, AzureNamedKeyCredential(batch.account, "d3Jvbmc="))
    with stranger, pytest.raises(HttpResponseError) as caught:
        stranger.get_job("any")
    assert caught.value.status_code == 403
    assert caught.value.error.code == "AuthenticationFailed"


def test_lists_are_filtered_and_paged(client: BatchClient):
    for n in range(5):
        client.create_job(sdk.BatchJobCreateOptions(id=f"job{n}", pool_info=sdk.BatchPoolInfo(pool_id="local")))
    assert [job.id for job in client.list_jobs(max_results=2)] == [f"job{n}" for n in range(5)]
    rows = list(client.list_jobs(filter="state eq 'active' and startswith(id, 'job3')", select=["id", "state"]))
    assert [(row.id, row.state, row.priority) for row in rows] == [("job3", "active", None)]


def test_other_machines_are_kept_out():
    with pytest.raises(SettingsError, match="allow remote"):
        Settings(host="0.0.0.0")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback has no other addresses by itself")
def test_a_certificate_is_good_for_the_host_as_well_though_one_was_kept(tmp_path: Path):
    with LocalBatch(Settings(port=0, https=True, state_dir=tmp_path)):
        pass
    with LocalBatch(Settings(port=0, https=True, state_dir=tmp_path, host="127.0.0.2")) as batch:
        credential = AzureNamedKeyCredential(batch.account, batch.key)
        with BatchClient(batch.url, credential, connection_verify=str(batch.certificate), retry_total=0) as client:
            assert [pool.id for pool in client.list_pools()] == ["local"]


def test_nothing_acknowledged_is_lost(tmp_path: Path):
    settings = Settings(port=0, state_dir=tmp_path / "state")
    with LocalBatch(settings) as batch, client_of(batch) as client:
        client.create_job(managed("kept", "/bin/sleep 600"))
        until(lambda: client.get_task("kept", "manager").state == "running")
    with LocalBatch(settings) as batch, client_of(batch) as client:
        assert client.get_job("kept").state == "active"
        until(lambda: client.get_task("kept", "manager").state == "running")
        info = client.get_task("kept", "manager").execution_info
        assert (info.retry_count, info.requeue_count) == (0, 0)
