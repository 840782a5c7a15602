"""Tasks in containers: through an engine, ended with it, or refused by name.

No engine runs where the tests run, so a script stands in for its command line; what it is asked for is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings, containers
from tests.local.wire import Wire
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENGINE = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  info) exit {info};;
  run) while [ "$1" != the/image ]; do shift; done; shift; exec "$@";;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Path]]:
    def make(info: int) -> Path:
        log, binary = tmp_path / "log", tmp_path / "docker"
        binary.write_text(ENGINE.format(log=log, info=info))
        binary.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return log

    monkeypatch.setattr(containers, "BINARIES", ("docker",))
    containers.engine.cache_clear()
    yield make
    containers.engine.cache_clear()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with LocalBatch(Settings(port=0)) as batch:
        wire = Wire(batch)
        yield wire
        wire.close()


def run(wire: Wire, command: str, **container: object) -> dict[str, object]:
    wire.ask("POST", "/jobs", {"id": "job", "poolInfo": {"poolId": "local"}})
    settings = {"imageName": "the/image", "containerRunOptions": "--cpus 2", **container}
    body = {
        "id": "task",
        "commandLine": command,
        "containerSettings": settings,
        "environmentSettings": [{"name": "MINE", "value": "x"}],
    }
    assert wire.ask("POST", "/jobs/job/tasks", body).status_code == 201
    until(lambda: wire.ask("GET", "/jobs/job/tasks/task").json()["state"] != "active")
    return wire.ask("GET", "/jobs/job/tasks/task").json()


def completed(wire: Wire) -> dict[str, dict[str, object]]:
    until(lambda: wire.ask("GET", "/jobs/job/tasks/task").json()["state"] == "completed")
    return wire.ask("GET", "/jobs/job/tasks/task").json()["executionInfo"]


def test_a_task_runs_in_its_container(engine, wire: Wire):
    log = engine(0)
    run(wire, "/bin/sh -c 'pwd; exit 4'")
    assert completed(wire)["exitCode"] == 4
    asked = log.read_text().splitlines()[-1]
    assert " --cpus 2 the/image /bin/sh -c pwd; exit 4" in asked
    assert "--env AZ_BATCH_TASK_ID" in asked
    assert "--env MINE" in asked
    assert "--env PATH" not in asked
    assert "--workdir /" in asked


def test_a_container_is_ended_with_its_task(engine, wire: Wire):
    log = engine(0)
    run(wire, "/bin/sleep 600")
    until(lambda: log.exists() and "run --name" in log.read_text())
    wire.ask("POST", "/jobs/job/tasks/task/terminate")
    assert completed(wire)["failureInfo"]["code"] == "TaskEnded"
    name = next(line for line in log.read_text().splitlines() if line.startswith("run")).split()[2]
    until(lambda: f"kill {name}" in log.read_text())


def test_without_a_working_engine_it_is_refused_by_name(engine, wire: Wire):
    engine(1)
    run(wire, "/bin/true")
    info = completed(wire)["failureInfo"]
    assert info["code"] == "ContainerInvalidSettings"
    assert "docker or podman" in info["details"][0]["value"]


def test_a_registry_that_wants_a_password_is_refused_by_name(engine, wire: Wire):
    engine(0)
    run(wire, "/bin/true", registry={"registryServer": "r", "username": "u", "password": "planted"})
    info = completed(wire)["failureInfo"]
    assert info["code"] == "ContainerInvalidRegistry"
    assert "planted" not in str(info)
