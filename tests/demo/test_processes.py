from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_jobmanager.demo.processes import Component, stop_all
from tests.processes import alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A program that starts another in a process group of its own; neither goes when asked.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Component]:
    component = Component("stubborn", [sys.executable, "-c", STUBBORN], dict(os.environ), tmp_path / "log.txt")
    component.start()
    while component.log.read_text().count("ready") < 2:
        time.sleep(0.01)
    yield component
    stop_all([component], 0)


def test_a_session_is_ended_whole_even_when_it_is_paused_or_deaf(stubborn: Component) -> None:
    pids = stubborn.pids
    assert len(pids) == 2
    stubborn.send(signal.SIGSTOP)
    stop_all([stubborn], grace=0.2)
    assert not any(alive(pid) for pid in pids)
    assert stubborn.exit_code == -signal.SIGKILL


def test_pausing_freezes_everything_in_it(stubborn: Component) -> None:
    def states() -> set[str]:
        return {psutil.Process(pid).status() for pid in stubborn.pids}

    stubborn.send(signal.SIGSTOP)
    while states() != {psutil.STATUS_STOPPED}:
        time.sleep(0.01)
    stubborn.send(signal.SIGCONT)
    while psutil.STATUS_STOPPED in states():
        time.sleep(0.01)
    assert stubborn.running


def test_starting_twice_is_refused(stubborn: Component) -> None:
    with pytest.raises(RuntimeError, match="stubborn is running already, as process"):
        stubborn.start()


def test_stopping_what_never_ran_does_nothing(tmp_path: Path) -> None:
    component = Component("idle", ["true"], {}, tmp_path / "log.txt")
    stop_all([component])
    assert (component.pid, component.exit_code, component.pids, component.tail()) == (None, None, [], "")


def test_an_interrupt_while_it_starts_waits_until_it_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's Popen may be left between the fork and its return: who asked for it then knows no process."""
    started = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> Any:
        process = started(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return process

    component = Component("nap", ["sleep", "600"], dict(os.environ), tmp_path / "log.txt")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            component.start()
    assert component.running
    stop_all([component])
    assert not component.running
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
