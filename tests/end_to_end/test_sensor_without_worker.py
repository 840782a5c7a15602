"""The sensor in a real Airflow: begun and ended in the triggerer, without any worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.triggers.ending import AIRFLOW_3_3
from tests.triggers.running import submit

if TYPE_CHECKING:
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

with DAG("no_worker", schedule=None, params={"well": "", "badly": "", "endless": ""}):
    shared = {"start_from_trigger": True, "poll_interval": 0.5}
    AzureBatchJobManagerSensor(task_id="well", job_id="{{ params.well }}", **shared)
    retries = {"retries": 1, "retry_delay": timedelta(seconds=1)}
    AzureBatchJobManagerSensor(task_id="badly", job_id="{{ params.badly }}", **retries, **shared)
    AzureBatchJobManagerSensor(task_id="softly", job_id="{{ params.badly }}", soft_fail=True, **shared)
    AzureBatchJobManagerSensor(task_id="endless", job_id="{{ params.endless }}", timeout=5, **shared)
    AzureBatchJobManagerSensor(task_id="late", job_id="{{ params.endless }}", timeout=5, **retries, **shared)
    AzureBatchJobManagerSensor.partial(task_id="mapped", **shared).expand(job_id=["{{ params.well }}"])
    AzureBatchJobManagerSensor(task_id="resumed", job_id="{{ params.well }}", end_from_trigger=False, **shared)
"""


@pytest.fixture
def _connected(batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", batch.connection_json())


@pytest.mark.skipif(not AIRFLOW_3_3, reason="Airflow 3.2 begins a templated sensor on a worker")
@pytest.mark.usefixtures("_connected")
def test_no_worker_is_needed(airflow: AirflowHome) -> None:
    airflow.add_dag("no_worker", DAG)
    for name, command in (("well", "sleep 3"), ("badly", "exit 7"), ("endless", "sleep 300")):
        submit(f"no-worker-{name}", command, manager={"runExclusive": False})
    jobs = {name: f"no-worker-{name}" for name in ("well", "badly", "endless")}
    run = airflow.api.trigger("no_worker", jobs)
    airflow.api.wait_for_run("no_worker", run, timeout=180)

    tasks = {found.task_id: found for found in airflow.api.task_instances("no_worker", run)}
    assert {name: found.state for name, found in tasks.items()} == {
        "well": "success",
        "badly": "failed",
        "softly": "skipped",
        "endless": "failed",
        "late": "failed",
        "mapped": "success",
        "resumed": "success",
    }
    assert airflow.api.xcoms("no_worker", run, "well")["return_value"]["exit_code"] == 0
    assert any("no-worker-well" in (link or "") for link in airflow.api.extra_links("no_worker", run, "well").values())
    assert tasks["badly"].try_number == 2  # a failure in the triggerer has its retries
    assert tasks["late"].try_number == 1  # that the sensor is out of time is final
    assert "AirflowSensorTimeout" in airflow.api.log("no_worker", run, "late", 1)
    said = airflow.api.log("no_worker", run, "badly", 1)
    assert "Following job no-worker-badly on http://127.0.0.1" in said
    assert "job manager 'manager' exited with code 7" in said
    assert "DeadlineExceeded" in airflow.api.log("no_worker", run, "endless", 1)
    assert "failed (JMComplete)" in airflow.api.log("no_worker", run, "softly", 1)

    # Who ran on a worker left its name: who begins, is resumed, or fails for good there.
    hosts = {
        one["task_id"]: one["hostname"]
        for one in airflow.api.request("GET", f"/dags/no_worker/dagRuns/{run}/taskInstances")["task_instances"]
    }
    assert {name for name, host in hosts.items() if host} == {"resumed", "mapped", "late"}
    assert airflow.api.xcoms("no_worker", run, "resumed")["return_value"]["exit_code"] == 0
