"""Five hundred deferred tasks, and the triggerer killed halfway: `python -m pytest -m scale`.

The tasks begin and end in the triggerer, so their number is the triggerer's affair alone. Their jobs are those of the
bare server of the benchmark, which end by the clock with exit codes that are known beforehand.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
from tests.benchmarks.bare_service import exit_code, job_id

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS, TASKS = 50, 10  # a triggerer reads the whole DAG anew for each task that begins in it: small DAGs, many runs
COUNT = RUNS * TASKS
SECONDS = 60.0
BARE = Path(__file__).parents[1] / "benchmarks" / "bare_service.py"

DAG = f"""
from airflow.sdk import DAG
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

with DAG("five_hundred", schedule=None, max_active_runs={RUNS}, params={{"first": 0}}):
    for number in range({TASKS}):
        AzureBatchJobManagerSensor(
            task_id=f"t{{number}}",
            job_id="job-{{{{ '%05d' % (params.first + " + str(number) + ") }}}}",
            start_from_trigger=True,
            poll_interval=2,
        )
"""


@pytest.fixture
def bare() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stdout is not None
    yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    server.communicate()


@pytest.mark.scale
@pytest.mark.timeout(1500)
def test_five_hundred_verdicts_through_a_killed_triggerer(bare: str, tmp_path: Path, migrated_databases: Path) -> None:
    identity = {"conn_type": "azure_batch", "login": "acct", "password": "a2V5a2V5", "extra": {"account_url": bare}}
    environment = {
        "AIRFLOW_CONN_AZURE_BATCH_DEFAULT": json.dumps(identity),
        # SQLite: one writer at a time, so let the scheduler take many tasks in one go.
        "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "512",
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "1",
        "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    }
    begun = time.monotonic()
    with AirflowHome(tmp_path, environment=environment) as airflow:
        airflow.migrate(migrated_databases)
        airflow.start()
        airflow.wait_healthy(300)
        airflow.add_dag("five_hundred", DAG, timeout=300)
        runs = [airflow.api.trigger("five_hundred", {"first": TASKS * number}) for number in range(RUNS)]
        airflow.api.wait_until(
            lambda: sum(found.state == "deferred" for found in instances(airflow, runs).values()),
            lambda count: count == COUNT,
            "all tasks to be deferred",
            600,
        )
        httpx.post(f"{bare}/_begin", params={"count": COUNT, "seconds": SECONDS})

        def ended() -> int:
            return sum(found.state in ("success", "failed") for found in instances(airflow, runs).values())

        airflow.api.wait_until(ended, lambda count: count >= COUNT // 2, "half of the tasks to end", 900)
        airflow.kill("triggerer")
        at_the_kill = ended()
        killed = time.monotonic()
        time.sleep(5)  # some jobs end while nobody looks
        airflow.restart("triggerer")
        airflow.api.wait_until(ended, lambda count: count == COUNT, "all tasks to end", 900)
        done = time.monotonic()

        verdicts = {number: found.state for number, found in instances(airflow, runs).items()}
        assert verdicts == {number: "failed" if exit_code(number) else "success" for number in range(COUNT)}
        # Not only the colour: those that failed say their own exit code, those that succeeded have their verdict.
        for number in range(0, COUNT, 25):
            run, task_id = runs[number // TASKS], f"t{number % TASKS}"
            if exit_code(number):
                said = airflow.api.log("five_hundred", run, task_id, 1)
                assert f"Job '{job_id(number)}' failed (JMComplete)" in said
                assert f"exited with code {exit_code(number)}" in said
            else:
                verdict = airflow.api.xcoms("five_hundred", run, task_id)["return_value"]
                assert (verdict["job_id"], verdict["exit_code"]) == (job_id(number), 0)
    asked = httpx.get(f"{bare}/_asked").json()
    print(
        f"\n{COUNT} of {COUNT} verdicts right: {at_the_kill} before kill -9, the rest within {done - killed:.0f} s; "
        f"{sum(asked.values())} requests {asked}; {done - begun:.0f} s in all"
    )


def instances(airflow: AirflowHome, runs: list[str]) -> dict[int, Any]:
    """All task instances by the number of their job."""
    answer = airflow.api.request("GET", "/dags/five_hundred/dagRuns/~/taskInstances", params={"limit": 1000})
    first = {run: TASKS * number for number, run in enumerate(runs)}
    return {
        first[found["dag_run_id"]] + int(found["task_id"][1:]): SimpleNamespace(**found)
        for found in answer["task_instances"]
    }
