from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from airflow_provider_jobmanager import cli
from airflow_provider_jobmanager.demo import demo, examples
from tests.processes import alive

if TYPE_CHECKING:
    from pathlib import Path

# Half a minute to a minute each on a machine of its own, several on one that is busy.
pytestmark = pytest.mark.timeout(600)


def _hear_ctrl_c() -> None:
    # A shell lets what it starts in the background ignore SIGINT, and that is inherited: these tests may run there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A demo in a process of its own, with all processes that it was ever seen to have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder.parent / "output.txt"
        with self.output.open("wb") as output:
            command = [sys.executable, "-m", "airflow_provider_jobmanager.cli", "demo", "--folder", str(folder)]
            self.process = psutil.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_hear_ctrl_c
            )
        self.seen: set[psutil.Process] = {self.process}

    def wait(self, *, until: str | None = None, timeout: float = 540) -> str:
        """Waits for a text in the output, or for the end."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll() is not None
            said = self.output.read_text()
            if ended or (until and until in said):
                return said
            assert time.monotonic() < deadline, said
            self.seen.update(self.process.children(recursive=True))
            time.sleep(0.1)

    def left(self) -> list[psutil.Process]:
        """What of it is still alive."""
        return [process for process in self.seen if alive(process)]


def test_everything_goes_as_it_should_and_nothing_is_left(tmp_path: Path) -> None:
    running = Running(tmp_path / "demo")
    said = running.wait()
    assert running.process.returncode == 0, said
    assert running.left() == []
    assert len(running.seen) > 10
    assert "All as it should be." in said
    for step in (
        "example_job_manager.fan_out: deferred",
        "example_job_manager.follow: deferred",
        "4 added, 0 running, 4 completed",
        "fan_out: success",
        "follow: success",
        "fail: failed",
        "exit code 3 after 1 retry",
        "job manager 'jobmanager' exited with code 3",
    ):
        assert step in said, said
    logs = re.findall(r"(?:Task log|Its output) +(\S+)", said)
    assert len(logs) >= 4
    assert all((running.folder / log).is_file() for log in logs)
    assert "VGhlIHdl" not in said, "the key has no place in the output"


@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        (signal.SIGINT, "A Batch service listens", 130),
        (signal.SIGTERM, "children of the manager: 4 added", 143),
    ],
)
def test_it_can_be_ended_at_any_moment(tmp_path: Path, number: signal.Signals, moment: str, code: int) -> None:
    running = Running(tmp_path / "demo")
    assert moment in running.wait(until=moment)
    running.process.send_signal(number)
    said = running.wait(timeout=120)
    assert running.process.returncode == code, said
    assert running.left() == []
    assert "Traceback" not in said


def test_what_goes_wrong_is_said_and_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "examples"
    (broken / "managers").mkdir(parents=True)
    for dag_id in (demo.GOOD_DAG, demo.BAD_DAG):
        (broken / f"{dag_id}.py").write_text("import no_such_module")
    monkeypatch.setattr(demo, "examples_folder", lambda: broken)
    assert cli.main(["demo", "--folder", str(tmp_path / "demo")]) == 1
    said = capsys.readouterr().out
    assert "Not as it should be" in said
    assert "No module named 'no_such_module'" in said
    assert str(tmp_path / "demo") in said


def test_the_examples_are_found_in_a_checkout_and_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "site" / "airflow_provider_jobmanager" / "demo" / "examples.py"
    monkeypatch.setattr(examples, "__file__", str(module))
    with pytest.raises(FileNotFoundError, match="Install the package anew"):
        examples.examples_folder()
    beside = tmp_path / "site" / "dags_examples"
    (beside / "managers").mkdir(parents=True)
    assert examples.examples_folder() == beside
    inside = tmp_path / "site" / "airflow_provider_jobmanager" / "_dags_examples"
    (inside / "managers").mkdir(parents=True)
    assert examples.examples_folder() == inside
