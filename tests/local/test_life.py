"""The service as a process: how it starts, how it is stopped, what a kill leaves behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.core.credentials import AzureNamedKeyCredential

from airflow_provider_jobmanager.local import LocalBatch, Settings, SettingsError
from tests.processes import alive
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# As started at a prompt, also when the tests run under nohup.
START = """
import signal, sys
from pathlib import Path
from airflow_provider_jobmanager.local import Settings, serve

signal.signal(signal.SIGHUP, signal.SIG_DFL)
serve(Settings(port=0, state_dir=Path(sys.argv[1])), lambda line: print(line, flush=True))
"""
# The system may hand a signal of the process to any of its threads.
TOLD_IN_ANOTHER_THREAD = """
import signal, sys, threading
from pathlib import Path
from airflow_provider_jobmanager.local import Settings, serve

def say(line):
    if line.startswith("AIRFLOW"):
        threading.Timer(0.5, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()

serve(Settings(port=0, state_dir=Path(sys.argv[1])), say)
"""
# As under nohup.
HANGUP_IGNORED = """
import os, signal, sys
from pathlib import Path
from airflow_provider_jobmanager.local import Settings, serve

signal.signal(signal.SIGHUP, signal.SIG_IGN)

def say(line):
    if line.startswith("AIRFLOW"):
        print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)

serve(Settings(port=0, state_dir=Path(sys.argv[1])), say)
"""
# It leads a session whose terminal is its standard output.
IN_A_TERMINAL = """
import fcntl, signal, sys, termios
from pathlib import Path
from airflow_provider_jobmanager.local import Settings, serve

signal.signal(signal.SIGHUP, signal.SIG_DFL)
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
serve(Settings(port=0, state_dir=Path(sys.argv[1])), lambda line: print(line, flush=True))
"""
PREFIX = "AIRFLOW_CONN_AZURE_BATCH_DEFAULT='"


class Process:
    """A service in a process of its own."""

    def __init__(self, state_dir: Path) -> None:
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(state_dir)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(PREFIX), line
        self.connection: dict[str, Any] = json.loads(line[len(PREFIX) : -2])
        credential = AzureNamedKeyCredential(self.connection["login"], self.connection["password"])
        self.client = BatchClient(self.connection["extra"]["account_url"], credential)

    def end(self, how: int) -> int:
        self.client.close()
        self.process.send_signal(how)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def begin() -> Process:
        started.append(Process(tmp_path / "state"))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


def manager(pids: Path, then: str) -> sdk.BatchJobManagerTask:
    command = f"/bin/sh -c 'echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; {then}'"
    return sdk.BatchJobManagerTask(id="manager", command_line=command, run_exclusive=False)


def create(service: Process, job_id: str, **settings: Any) -> None:
    pool = sdk.BatchPoolInfo(pool_id="local")
    service.client.create_job(sdk.BatchJobCreateOptions(id=job_id, pool_info=pool, **settings))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_cleanly_with_all_its_tasks(start, tmp_path: Path, how: int):
    service, pids = start(), tmp_path / "pids"
    create(service, "job", job_manager_task=manager(pids, "wait"))
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert service.end(how) == 0
    until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_it_stops_when_the_signal_reaches_another_of_its_threads(tmp_path: Path):
    told = [sys.executable, "-W", "ignore", "-c", TOLD_IN_ANOTHER_THREAD, str(tmp_path)]
    assert subprocess.run(told, timeout=60, check=False).returncode == 0


def test_it_goes_on_without_its_terminal_where_that_is_wanted(tmp_path: Path):
    told = [sys.executable, "-W", "ignore", "-c", HANGUP_IGNORED, str(tmp_path)]
    done = subprocess.run(told, timeout=60, check=False, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_it_stops_cleanly_when_its_terminal_is_closed(tmp_path: Path):
    ours, theirs = pty.openpty()
    told = [sys.executable, "-W", "ignore", "-c", IN_A_TERMINAL, str(tmp_path)]
    with subprocess.Popen(told, stdout=theirs, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        os.close(theirs)
        try:
            with os.fdopen(ours) as terminal:
                assert terminal.readline().startswith(PREFIX)  # it listens
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert (process.returncode, said) == (0, "")


def test_a_kill_loses_nothing_and_its_tasks_run_again(start, tmp_path: Path):
    service, pids = start(), tmp_path / "pids"
    create(service, "job", job_manager_task=manager(pids, f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"))
    for n in range(20):
        create(service, f"more{n}")
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    service.end(signal.SIGKILL)
    before = [int(pid) for pid in pids.read_text().split()]
    assert all(alive(pid) for pid in before)
    service = start()
    until(lambda: len(pids.read_text().split()) == 4)
    assert not any(alive(pid) for pid in before)
    assert sorted(job.id for job in service.client.list_jobs()) == sorted(["job", *(f"more{n}" for n in range(20))])
    info = service.client.get_task("job", "manager").execution_info
    assert (info.retry_count, info.requeue_count) == (0, 0)
    (tmp_path / "go").touch()
    until(lambda: service.client.get_job("job").state == "completed")
    assert service.client.get_task("job", "manager").execution_info.exit_code == 0
    assert service.end(signal.SIGTERM) == 0


def test_two_services_do_not_share_a_state_directory(tmp_path: Path):
    settings = Settings(port=0, state_dir=tmp_path)
    with LocalBatch(settings), pytest.raises(SettingsError, match="Another local Batch service"):
        LocalBatch(settings).start()


def test_a_state_directory_that_holds_something_else(tmp_path: Path):
    (tmp_path / "state.sqlite3").write_text("a diary, and no database")
    with pytest.raises(SettingsError, match="can't be read as the state"):
        LocalBatch(Settings(port=0, state_dir=tmp_path)).start()
    (tmp_path / "state.sqlite3").unlink()
    with LocalBatch(Settings(port=0, state_dir=tmp_path)) as batch:
        assert batch.url
    batch.stop()


def test_a_state_directory_that_can_not_be_written_to(tmp_path: Path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(SettingsError, match="can't be written to"):
        LocalBatch(Settings(port=0, state_dir=tmp_path)).start()


@pytest.mark.parametrize("there", [False, True])
def test_what_is_kept_is_its_owner_s_alone(tmp_path: Path, there: bool):
    state, before = tmp_path / "state", os.umask(0o022)
    try:
        if there:
            state.mkdir()
        with LocalBatch(Settings(port=0, state_dir=state)):
            files = [state / f"state.sqlite3{suffix}" for suffix in ("", "-wal", "-shm")]
            assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
            assert state.stat().st_mode & 0o777 == (0o755 if there else 0o700)
    finally:
        os.umask(before)


def test_a_state_directory_says_when_it_keeps_the_pool_that_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with LocalBatch(Settings(port=0, state_dir=tmp_path, nodes=3)):
        pass
    assert "keeps its" not in caplog.text
    with LocalBatch(Settings(port=0, state_dir=tmp_path, nodes=1)):
        pass
    assert "keeps its 3 node(s) with 4 slot(s) each" in caplog.text


def test_a_port_that_is_taken_is_a_clear_error():
    with LocalBatch(Settings(port=0)) as batch:
        port = int(batch.url.rpartition(":")[2])
        with pytest.raises(SettingsError, match=f"can't listen on 127.0.0.1:{port}"):
            LocalBatch(Settings(port=port)).start()


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"account": "a b"},
        {"key": "no base64"},
        {"slots_per_node": 0},
        {"key": ""},
        {"node_quota": -1},
        {"active_job_quota": -3},
        {"auto_storage": "planted"},
    ],
)
def test_settings_that_can_not_work(wrong: dict[str, Any]):
    with pytest.raises(SettingsError, match=next(iter(wrong))) as caught:
        Settings(**wrong)
    assert "planted" not in str(caught.value)


def test_no_representation_shows_the_key():
    assert "VGhl" not in repr(Settings())
