"""The rules without HTTP and without processes: a stopped clock, and commands that end when a test says so."""

from __future__ import annotations

import logging
import weakref
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import Settings, engine
from airflow_provider_jobmanager.local.clock import Clock
from airflow_provider_jobmanager.local.engine import Engine
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.launches import Outcome
from airflow_provider_jobmanager.local.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local.launches import Launch, Listener, Run
    from airflow_provider_jobmanager.local.records import Job, Task

PREPARED = {"jobPreparationTask": {"commandLine": "prepare"}, "jobReleaseTask": {"commandLine": "release"}}


class Strict(logging.Handler):
    """Fails a test where the engine logs and goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            raise record.exc_info[1]


engine.log.addHandler(Strict())


class Commands:
    """Runs nothing; keeps what was begun, for a test to end."""

    def __init__(self) -> None:
        self.running: dict[Run, Launch] = {}
        self.begun: list[Launch] = []
        self.left_over: list[Any] = []
        self.listener: Listener | None = None

    def begin(self, launch: Launch, listener: Listener) -> None:
        self.running[launch.run] = launch
        self.begun.append(launch)
        self.listener = listener

    def kill(self, run: Run) -> None:
        if run in self.running:
            self.end(run, -9)

    def end(self, run: Run, exit_code: int | None, **more: Any) -> None:
        del self.running[run]
        assert self.listener is not None
        self.listener.exited(run, Outcome(exit_code, **more))

    def end_left_over(self, process: list[Any], directory: Path) -> None:
        self.left_over.append(process)

    def end_strays(self, root: Path) -> None:
        pass

    def end_all(self) -> None:
        self.running.clear()

    def close(self) -> None:
        self.running.clear()


class Account:
    """An engine under a stopped clock, and short ways to ask it."""

    def __init__(
        self, root: Path, *, database: Path | None = None, start: datetime | None = None, **settings: Any
    ) -> None:
        self.commands = Commands()
        store = Store(database)
        if store._disk is not None:
            # A test is not killed together with its machine. Nor does it end an account: it begins another one on the
            # same file, as after a crash.
            store._disk.execute("PRAGMA synchronous = OFF")
            weakref.finalize(self, store._disk.close)
        clock = Clock(start or datetime(2026, 1, 1, tzinfo=timezone.utc))
        self.engine = Engine(Settings(**settings), store, self.commands, root, clock)
        self.engine.open()

    def create(self, job_id: str = "job", **settings: Any) -> Job:
        with self.engine.turn():
            return self.engine.jobs.create({"id": job_id, "poolInfo": {"poolId": "local"}, **settings})

    def managed(self, job_id: str = "job", *, manager: dict[str, Any] | None = None, **settings: Any) -> Job:
        body = {"id": "manager", "commandLine": "run", "runExclusive": False, **(manager or {})}
        return self.create(job_id, jobManagerTask=body, **settings)

    def add(self, job: Job, task_id: str, **settings: Any) -> Task:
        with self.engine.turn():
            return self.engine.tasks.add(job, {"id": task_id, "commandLine": "run", **settings})

    def task(self, job: Job, task_id: str = "manager") -> Task:
        return self.engine.tasks.get(job, task_id)

    def run_of(self, task: Task) -> Run:
        return next(run for run in self.commands.running if (run.owner, run.name) == (task.job, task.key))

    def end(self, task: Task, exit_code: int | None = 0, **more: Any) -> None:
        self.commands.end(self.run_of(task), exit_code, **more)

    def pass_time(self, seconds: float = 2.0) -> None:
        self.engine.clock.advance(timedelta(seconds=seconds))

    def turn(self) -> Any:
        return self.engine.turn()

    def running(self) -> list[str]:
        return sorted(run.name for run in self.commands.running)


def refused(code: str):
    """Within it the rules must refuse something so."""
    return pytest.raises(BatchError, match=rf"\d {code}:")


def node_of(account: Account, place: int = 0):
    """A node of the default pool, by its place."""
    return list(account.engine.store.nodes("local"))[place]


def part(account: Account, kind: str):
    """The run of a kind that is under way."""
    return next(run for run in account.commands.running if run.kind == kind)
