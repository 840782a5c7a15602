"""Commands as real processes, without the rules around them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local.execution import Processes
from airflow_provider_jobmanager.local.launches import Launch, Outcome, Run
from airflow_provider_jobmanager.local.settings import TASK_PATH
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


class Words:
    """Keeps what a runner says, in its order."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []
        self.outcomes: dict[int, Outcome] = {}

    def started(self, run: Run, process: list[Any]) -> None:
        assert os.getpgid(process[0]) == process[0]
        self.said.append(("started", run.attempt))

    def exited(self, run: Run, outcome: Outcome) -> None:
        self.outcomes[run.attempt] = outcome
        self.said.append(("exited", run.attempt))


def launch(directory: Path, attempt: int, command: str) -> Launch:
    variables = {"PATH": TASK_PATH, "AZ_BATCH_TASK_DIR": str(directory), "AZ_BATCH_NODE_ROOT_DIR": str(directory)}
    return Launch(Run("task", "job", "task", attempt, attempt), command, directory, variables)


def test_a_run_waits_for_the_end_of_another_in_its_directory(tmp_path: Path):
    processes, words = Processes(), Words()
    first, second = launch(tmp_path, 1, "sleep 600"), launch(tmp_path, 2, "sh -c 'setsid sleep 0.1 & wait'")
    processes.begin(first, words)
    until(lambda: words.said)
    processes.begin(second, words)
    processes.kill(first.run)
    until(lambda: 2 in words.outcomes)
    assert words.said == [("started", 1), ("exited", 1), ("started", 2), ("exited", 2)]
    assert (words.outcomes[1].exit_code, words.outcomes[2].exit_code) == (-9, 0)
    processes.close()


def test_a_run_that_could_not_begin_is_waited_for_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    processes, words = Processes(), Words()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            processes.begin(launch(tmp_path, 1, "true"), words)
    processes.begin(launch(tmp_path, 2, "true"), words)
    until(lambda: 2 in words.outcomes)
    assert words.outcomes == {2: Outcome(0)}
    processes.close()
