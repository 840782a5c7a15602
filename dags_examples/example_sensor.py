"""Follow a job that was made elsewhere: by a colleague, by a schedule of Batch's own, by another Airflow.

The sensor only looks; it never changes the job.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

with DAG(
    "example_sensor",
    schedule=None,
    params={"job_id": Param(type="string", title="Job", description="The id of a job of the account")},
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    AzureBatchJobManagerSensor(
        task_id="wait",
        job_id="{{ params.job_id }}",
        # Wait for it should it not be there yet, an hour in all; then skip rather than fail.
        job_must_exist=False,
        timeout=3600,
        soft_fail=True,
        deferrable=True,
    )
