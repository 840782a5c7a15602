"""Hundreds of task runs while everything dies: every one gets its job, none gets two, nothing is left running.

Run it with ``pytest -m chaos -s tests/chaos``; ``CHAOS_RUNS`` and ``CHAOS_SEED`` choose how many task runs and which.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from azure.core.exceptions import AzureError

from airflow_provider_jobmanager.demo.airflow_api import AirflowApiError, TaskInstance
from airflow_provider_jobmanager.demo.airflow_home import AirflowHome, clean_environment, free_port
from airflow_provider_jobmanager.demo.processes import Component, stop_all
from airflow_provider_jobmanager.local.settings import DEFAULT_ACCOUNT, DEFAULT_KEY
from tests.chaos.account import Jobs, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
TASKS_OF_A_RUN = 25
POINTS = (
    "before the create",
    "answer lost",
    "answer lost and killed",
    "machine lost",
    "after the answer",
    "deferring",
    "deferred",
    "any time",
    "resuming",
    "collected",
)
SETTINGS = {
    # What makes Airflow notice within seconds, not minutes, that a worker or a triggerer is gone.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "1200",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
}


class Stage:
    """An Airflow with two triggerers and a Batch service, each a program of its own."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self.dice = dice
        port = free_port()
        connection = {
            "conn_type": "azure_batch_job_manager",
            "login": DEFAULT_ACCOUNT,
            "password": DEFAULT_KEY,
            "extra": {"account_url": f"http://127.0.0.1:{port}"},
        }
        self.airflow = AirflowHome(
            root / "airflow",
            environment={"AIRFLOW_CONN_AZURE_BATCH_CHAOS": json.dumps(connection), **SETTINGS},
            parallelism=6,
        )
        self.batch = Component(
            name="batch",
            command=[sys.executable, str(HERE / "service.py"), str(port), str(root / "batch")],
            environment=clean_environment(),
            log=root / "batch.log",
        )
        self.jobs = Jobs(f"http://127.0.0.1:{port}", DEFAULT_ACCOUNT, DEFAULT_KEY)
        self.done: Counter[str] = Counter()
        self._paused: tuple[str, float] | None = None
        self._next = 0.0

    def open(self, databases: Path, *, triggerers: int) -> None:
        self.batch.start()
        self.airflow.migrate(databases)
        self.airflow.start(triggerers=triggerers)
        self.airflow.wait_healthy()

    def close(self) -> None:
        self.jobs.close()
        self.airflow.stop()
        stop_all([self.batch])

    def disturb(self) -> None:
        """Now and then something dies, or stalls for forty seconds."""
        now = time.monotonic()
        if self._paused and now >= self._paused[1]:
            self.airflow.resume(self._paused[0])
            self._paused = None
        if now < self._next:
            return
        self._next = now + self.dice.uniform(15, 40)
        triggerer = self.dice.choice(["triggerer", "triggerer-2"])
        what = self.dice.choice(["service killed", "triggerer killed", "triggerer stalled"])
        if what == "service killed":
            self.batch.send(9)  # type: ignore[arg-type]
            self.batch.wait(10)
            time.sleep(self.dice.uniform(0, 3))
            self.batch.start()
        elif self._paused:
            return
        elif what == "triggerer killed":
            self.airflow.kill(triggerer)
            self.airflow.restart(triggerer)
        else:
            self.airflow.pause(triggerer)
            self._paused = (triggerer, now + 40)
        self.done[what] += 1

    def calm(self) -> None:
        if self._paused:
            self.airflow.resume(self._paused[0])
            self._paused = None

    def patiently(self, look: Any) -> Any:
        """What a look finds, once the service or the API server can be asked."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return look()
            except (AzureError, httpx.TransportError, AirflowApiError):
                assert time.monotonic() < deadline
                time.sleep(0.5)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture
def stage(tmp_path: Path, seed: int) -> Iterator[Stage]:
    made = Stage(tmp_path, random.Random(seed))
    try:
        yield made
    finally:
        made.close()


def a_work(dice: random.Random) -> dict[str, Any]:
    """What one task has to do: sleep; perhaps fail the first time; perhaps on the worker all the while."""
    fail = "case $AZ_BATCH_JOB_ID in *-1) exit 3;; esac" if dice.random() < 0.2 else "true"
    return {
        "command_line": f"/bin/sh -c 'sleep {dice.uniform(1, 12):.1f}; {fail}'",
        "deferrable": dice.random() < 0.85,
    }


def deaths(dice: random.Random) -> dict[str, Any]:
    """When the tries of one task die."""
    likely = {1: 0.8, 2: 0.3, 3: 0.1}
    return {
        str(number): [dice.choice(POINTS), dice.uniform(0, 2)]
        for number, probability in likely.items()
        if dice.random() < probability
    }


@pytest.mark.chaos
@pytest.mark.timeout(3000)
def test_every_task_runs_its_job_once(stage: Stage, migrated_databases: Path, seed: int) -> None:
    stage.open(migrated_databases, triggerers=2)
    dice = random.Random(seed)
    api = stage.airflow.api
    runs = -(-int(os.environ.get("CHAOS_RUNS") or 200) // TASKS_OF_A_RUN)
    works = [a_work(dice) for _ in range(TASKS_OF_A_RUN)]
    (stage.airflow.dags / "works.json").write_text(json.dumps(works))
    shutil.copyfile(HERE / "dying.py", stage.airflow.dags / "dying.py")
    stage.airflow.wait_for_dag("dying")

    told = [{str(index): deaths(dice) for index in range(TASKS_OF_A_RUN)} for _ in range(runs)]
    run_ids = [api.trigger("dying", {"deaths": deaths_of_run}) for deaths_of_run in told]
    to_clear = {(dice.choice(run_ids), dice.randrange(TASKS_OF_A_RUN)) for _ in range(runs)}
    cleared: set[tuple[str, int]] = set()
    deadline = time.monotonic() + 2600
    while True:
        stage.disturb()
        tasks = {
            (run_id, task.map_index): task
            for run_id in run_ids
            for task in stage.patiently(lambda run_id=run_id: api.task_instances("dying", run_id))
        }
        for key in to_clear - cleared:
            if key in tasks and tasks[key].state in ("deferred", "running", "success"):
                stage.patiently(lambda key=key: api.clear("dying", key[0], [("work", key[1])]))
                cleared.add(key)
        states = Counter(task.state for task in tasks.values())
        print(f"{time.strftime('%H:%M:%S')} {dict(states)} {dict(stage.done)}", flush=True)
        if cleared == to_clear and set(states) <= {"success", "failed", "upstream_failed"}:
            break
        assert time.monotonic() < deadline, f"Still {states}"
        time.sleep(3)
    stage.calm()
    found = settled(stage)
    report = judge(works, told, run_ids, tasks, found=found, cleared=cleared)
    print(f"seed {seed}: {report}; {dict(stage.done)}")
    assert report["task runs"] == runs * TASKS_OF_A_RUN
    assert {name: report[name] for name in ("duplicates", "lost", "left running", "failed")} == {
        "duplicates": [],
        "lost": [],
        "left running": [],
        "failed": [],
    }


def settled(stage: Stage) -> list[Seen]:
    """All jobs, once those that were told to end have ended."""
    deadline = time.monotonic() + 60
    while True:
        found = stage.patiently(lambda: stage.jobs.all(exit_codes=True))
        if time.monotonic() > deadline or all(job.state == "completed" for job in found):
            return found
        time.sleep(1)


def judge(
    works: list[dict[str, Any]],
    told: list[dict[str, Any]],
    run_ids: list[str],
    tasks: dict[tuple[str, int], TaskInstance],
    *,
    cleared: set[tuple[str, int]],
    found: list[Seen],
) -> dict[str, Any]:
    """What the service has seen, held against what should have been."""
    of_task: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for job in found:
        of_task[job.mark["airflow_run_id"], int(job.mark["airflow_map_index"])].append(job)
    duplicates, lost, failed = [], [], []
    for key, task in tasks.items():
        jobs = of_task[key]
        rounds: dict[str, list[Seen]] = defaultdict(list)
        for job in jobs:
            rounds[job.mark["airflow_max_tries"]].append(job)
        # In a round a job is made only when the one before it ended badly, and never two by one try.
        twice = [
            name
            for name, of_round in rounds.items()
            if sum(job.exit_code == 0 for job in of_round) > 1
            or len({job.mark["airflow_try_number"] for job in of_round}) != len(of_round)
        ]
        wanted = 2 if "exit 3" in works[key[1]]["command_line"] else 1
        if twice or (key not in cleared and len(jobs) > wanted):
            duplicates.append((key, jobs))
        if task.state != "success":
            failed.append((key, task.state, jobs))
        elif not any(job.exit_code == 0 for job in jobs) or len(jobs) < wanted:
            lost.append((key, jobs))
    return {
        "task runs": len(tasks),
        "tries": sum(task.try_number for task in tasks.values()),
        "deaths told": sum(len(of_task) for of_run in told for of_task in of_run.values()),
        "cleared": len(cleared),
        "jobs": len(found),
        "duplicates": duplicates,
        "lost": lost,
        "left running": [job for job in found if job.state != "completed"],
        "failed": failed,
    }


LONG = """
from airflow.sdk import DAG
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG("long", schedule=None):
    AzureBatchJobManagerOperator(
        task_id="work", azure_batch_conn_id="azure_batch_chaos", pool_id="local", command_line="/bin/sleep 120",
        deferrable=True, poll_interval=1,
    )
"""


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_triggerer_that_comes_back_takes_no_job_with_it(stage: Stage, migrated_databases: Path) -> None:
    """The other one has taken its triggers over; Airflow tells the first to cancel them, as if the task were killed."""
    stage.open(migrated_databases, triggerers=1)
    api = stage.airflow.api
    stage.airflow.add_dag("long", LONG)
    run_id = api.trigger("long")
    api.wait_for_task("long", run_id, "work", {"deferred"})
    api.wait_until(lambda: api.log("long", run_id, "work"), lambda log: "Following job" in log, "a triggerer", 240)
    first = api.task_instance("long", run_id, "work").raw["triggerer_job"]["id"]
    stage.airflow.pause("triggerer")
    try:
        stage.airflow.add_triggerer()
        api.wait_until(
            lambda: api.task_instance("long", run_id, "work").raw["triggerer_job"],
            lambda job: job is not None and job["id"] != first,
            "the other triggerer to take over",
            120,
        )
    finally:
        stage.airflow.resume("triggerer")
    api.wait_until(lambda: api.log("long", run_id, "work"), lambda log: "left alone" in log, "the question", 240)
    assert [job.state for job in stage.jobs.all()] == ["active"]
    assert api.wait_for_run("long", run_id, timeout=240).state == "success"
    (job,) = stage.jobs.all()
    assert (job.state, job.reason) == ("completed", "JMComplete")
