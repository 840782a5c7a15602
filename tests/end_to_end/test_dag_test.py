"""`dag.test()`, which runs the trigger in line, without a triggerer and without a task instance for the trigger."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING

import pytest

from tests.triggers.running import submit

if TYPE_CHECKING:
    from pathlib import Path

DAG = """
from airflow.sdk import DAG
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

with DAG("in_line", schedule=None) as dag:
    shared = {"deferrable": True, "poll_interval": 0.2}
    AzureBatchJobManagerSensor(task_id="follow", job_id="followed", **shared)
    AzureBatchJobManagerOperator(task_id="run", pool_id="local", command_line="/bin/sleep 1", **shared)
"""


@pytest.mark.filterwarnings("ignore")  # of Airflow's own, which runs its API server in this process
@pytest.mark.usefixtures("local_batch")
def test_deferred_tasks_come_to_their_end(airflow_db: Path) -> None:
    file = airflow_db / "dags" / "in_line.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(DAG)
    submit("followed", "sleep 1", manager={"runExclusive": False})

    run = runpy.run_path(str(file))["dag"].test()

    assert {found.task_id: found.state for found in run.get_task_instances()} == {"follow": "success", "run": "success"}
