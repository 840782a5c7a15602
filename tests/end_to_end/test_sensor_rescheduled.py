"""A sensor in a real Airflow whose pokes are processes of their own: it remembers what it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.sensors import followed
from tests.triggers.running import submit

if TYPE_CHECKING:
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

DAG = """
from airflow.sdk import DAG
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

with DAG("rescheduled", schedule=None):
    # An earlier poke would meet the scheduler while it still takes note of the last one's end (apache/airflow#71580).
    pace = {"deferrable": False, "mode": "reschedule", "poke_interval": 10}
    AzureBatchJobManagerSensor(task_id="wait", job_id="to-be-followed", job_must_exist=False, **pace)
"""


@pytest.mark.skipif(not followed.LASTS, reason="Airflow 3.2 keeps nothing between two pokes")
def test_a_job_that_came_and_was_deleted_is_lost(
    airflow: AirflowHome, batch: LocalBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", batch.connection_json())
    airflow.add_dag("rescheduled", DAG)
    run = airflow.api.trigger("rescheduled")
    api = airflow.api

    def pokes(status: int) -> int:
        return sum(entry.status == status and "/jobs/to-be-followed?" in entry.path for entry in batch.journal)

    api.wait_until(lambda: pokes(404), lambda count: count > 0, "a poke", 120)
    submit("to-be-followed", "sleep 600", manager={"runExclusive": False})  # reads it once itself
    api.wait_until(lambda: pokes(200), lambda count: count > 1, "a poke that sees the job", 120)
    hook = AzureBatchJobManagerHook()
    hook.client.call(calls.delete("jobs", "to-be-followed"))
    hook.client.close()

    assert api.wait_for_run("rescheduled", run, timeout=180).state == "failed"
    assert "JobLost" in (said := api.log("rescheduled", run, "wait", 1))
    assert "it was deleted while it was followed" in said
