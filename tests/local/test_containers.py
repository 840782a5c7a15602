"""Tasks in containers: through an engine, ended with it, or refused by name.

No engine runs where the tests run, so a script stands in for its command line; what it is asked for is checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings, containers
from tests.local.wire import Wire
from tests.processes import alive
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENGINE = """#!/bin/sh
echo "$@" >> {log}
env > {log}.$1
case "$1" in
  info) exit {info};;
  run)
    image=
    while [ -z "$image" ]; do
      case "$1" in
        --env-file) cat $2 > {log}.variables;;
        --env) printenv $2 >> {log}.by_name;;
        the/image) image=$1;;
        no/image) echo "Unable to find image 'no/image:latest' locally" >&2; exit 125;;
        bad/mount) echo "docker: Error response from daemon: invalid mount" >&2; touch {log}.created; exit 125;;
        detached) setsid env -i /bin/sh -c 'echo $$ >> {log}.pids; exec /bin/sleep 600' & wait $!;;
      esac
      shift
    done
    touch {log}.began
    exec "$@";;
  inspect)
    if [ -e {log}.began ]; then
      echo '1d2e {{"Status": "exited", "Error": "", "StartedAt": "2026-01-01T00:00:00.5Z"}}'
    elif [ -e {log}.created ]; then
      echo '1d2e {{"Status": "created", "Error": "invalid mount", "StartedAt": "0001-01-01T00:00:00Z"}}'
    else
      exit 1
    fi;;
  ps) if [ -e {log}.pids ]; then cat {log}.pids; fi;;
  rm) case "$3" in jobmanager-*) ;; *) shift 2; kill -9 "$@";; esac;;
esac
"""

SERVE = """
import sys
from pathlib import Path
from airflow_provider_jobmanager.local import Settings, serve

serve(Settings(port=0, nodes=1, state_dir=Path(sys.argv[1])), lambda line: print(line, flush=True))
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


def run(
    wire: Wire, command: str, *, variables: dict[str, str] | None = None, retries: int = 0, **container: object
) -> dict[str, object]:
    constraints = {"maxTaskRetryCount": retries}
    wire.ask("POST", "/jobs", {"id": "job", "poolInfo": {"poolId": "local"}, "constraints": constraints})
    settings = {"imageName": "the/image", "containerRunOptions": "--cpus 2", **container}
    body = {
        "id": "task",
        "commandLine": command,
        "containerSettings": settings,
        "environmentSettings": [{"name": name, "value": value} for name, value in (variables or {}).items()],
    }
    assert wire.ask("POST", "/jobs/job/tasks", body).status_code == 201
    until(lambda: wire.ask("GET", "/jobs/job/tasks/task").json()["state"] != "active")
    return wire.ask("GET", "/jobs/job/tasks/task").json()


def completed(wire: Wire) -> dict[str, dict[str, object]]:
    until(lambda: wire.ask("GET", "/jobs/job/tasks/task").json()["state"] == "completed")
    return wire.ask("GET", "/jobs/job/tasks/task").json()["executionInfo"]


def beside(log: Path, name: str) -> Path:
    return log.with_name(f"{log.name}.{name}")


def lines(log: Path, verb: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith(f"{verb} ")]


def test_a_task_runs_in_its_container(engine, wire: Wire):
    log = engine(0)
    run(wire, "/bin/sh -c 'pwd; exit 4'")
    info = completed(wire)
    assert (info["exitCode"], info["containerInfo"]) == (4, {"containerId": "1d2e", "state": "exited"})
    (asked,) = lines(log, "run")
    assert " --cpus 2 the/image /bin/sh -c pwd; exit 4" in asked
    assert "--workdir /" in asked
    assert f"--label {containers.LABEL}={wire.batch.engine.root}" in asked
    until(lambda: lines(log, "rm") == [f"rm --force {asked.split()[2]}"])


def test_the_certificate_of_the_service_can_be_read_in_a_container(engine):
    log = engine(0)
    with LocalBatch(Settings(port=0, https=True)) as batch, closing(Wire(batch)) as wire:
        run(wire, "/bin/true")
        completed(wire)
        (asked,) = lines(log, "run")
        assert f" --volume {batch.certificate}:{batch.certificate}:ro " in asked
        given = beside(log, "variables").read_text().splitlines()
        assert f"JOBMANAGER_CERTIFICATE={batch.certificate}" in given


def test_variables_go_into_the_container_and_the_engine_keeps_its_own(
    engine, wire: Wire, monkeypatch: pytest.MonkeyPatch
):
    log = engine(0)
    monkeypatch.setenv("DOCKER_HOST", "unix:///its/own")
    monkeypatch.setenv("HOME", "/of/the/service")
    settings = {"DOCKER_HOST": "of the task", "LINES": "one\ntwo", "LONG": "x" * 70_000, "MINE": " x=y #z "}
    run(wire, "/bin/true", variables=settings)
    completed(wire)
    given = dict(line.split("=", 1) for line in beside(log, "variables").read_text().splitlines())
    assert (given["DOCKER_HOST"], given["MINE"], given["AZ_BATCH_TASK_ID"]) == ("of the task", " x=y #z ", "task")
    assert not {"PATH", "HOME", "LINES", "LONG"} & given.keys()
    assert beside(log, "by_name").read_text() == f"one\ntwo\n{'x' * 70_000}\n"
    (asked,) = lines(log, "run")
    assert "of the task" not in asked
    for verb in ("run", "inspect", "rm"):
        own = beside(log, verb).read_text().splitlines()
        assert {"DOCKER_HOST=unix:///its/own", "HOME=/of/the/service"} <= set(own), verb


def test_a_container_is_ended_with_its_task(engine, wire: Wire):
    log = engine(0)
    run(wire, "/bin/sleep 600")
    until(lambda: log.exists() and lines(log, "run"))
    wire.ask("POST", "/jobs/job/tasks/task/terminate")
    assert completed(wire)["failureInfo"]["code"] == "TaskEnded"
    name = lines(log, "run")[0].split()[2]
    until(lambda: f"kill {name}\n" in log.read_text())
    until(lambda: f"rm --force {name}\n" in log.read_text())


@pytest.mark.parametrize(
    ("image", "code", "says"),
    [
        ("no/image", "ContainerInvalidImage", "Unable to find image 'no/image:latest' locally"),
        ("bad/mount", "ContainerMiscError", "docker: Error response from daemon: invalid mount"),
    ],
)
def test_what_the_engine_can_not_run_fails_before_the_task_and_is_not_tried_again(
    engine, wire: Wire, image: str, code: str, says: str
):
    log = engine(0)
    run(wire, "/bin/true", retries=2, imageName=image)
    info = completed(wire)
    assert (info["failureInfo"]["code"], info["failureInfo"]["details"][0]["value"]) == (code, says)
    assert ("exitCode" in info, info["retryCount"], len(lines(log, "run"))) == (False, 0, 1)
    if image == "bad/mount":
        assert info["containerInfo"] == {"containerId": "1d2e", "state": "created", "error": "invalid mount"}


def test_a_task_may_exit_as_the_engine_does_when_it_fails(engine, wire: Wire):
    engine(0)
    run(wire, "/bin/sh -c 'exit 125'", retries=2)
    info = completed(wire)
    assert (info["exitCode"], info["failureInfo"]["code"], info["retryCount"]) == (125, "FailureExitCode", 2)


def test_no_container_outlives_a_kill_of_the_service(engine, tmp_path: Path):
    log = engine(0)
    pids = beside(log, "pids")
    settings = Settings(port=0, nodes=1, state_dir=tmp_path / "state")
    service = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(settings.state_dir)], stdout=subprocess.PIPE, text=True
    )
    assert service.stdout is not None
    with service.stdout as out:
        connection = json.loads(out.readline().partition("=")[2].strip("'\n"))
        batch = SimpleNamespace(
            url=connection["extra"]["account_url"], account=connection["login"], key=connection["password"]
        )
        wire = Wire(cast("LocalBatch", batch))
        run(wire, "x", imageName="detached")
        until(lambda: pids.exists() and len(pids.read_text().split()) == 1)
        service.kill()
        service.wait()
        wire.close()
    (left,) = (int(pid) for pid in pids.read_text().split())
    with LocalBatch(settings):
        until(lambda: not alive(left))
        assert f"--filter label={containers.LABEL}={settings.state_dir}/nodes" in lines(log, "ps")[0]
        until(lambda: len(pids.read_text().split()) == 2)
    until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_no_engine_is_asked_where_there_was_no_container(engine, tmp_path: Path):
    log = engine(0)
    with LocalBatch(Settings(port=0, state_dir=tmp_path / "state")) as batch:
        batch.reset()
    assert not log.exists()


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
