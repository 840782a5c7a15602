"""What failure looks like: a job manager that ends badly.

The manager fails, is tried again by Batch, and fails for good. Its job then says ``completed``, like every job whose
manager has ended; the Airflow task fails all the same, with the manager's exit code in its log.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG(
    "example_failing_manager",
    schedule=None,
    params={
        "pool_id": Param("local", type="string", title="Pool"),
        "exit_code": Param(3, type="integer", minimum=1, maximum=255, title="Exit code of the manager"),
    },
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    AzureBatchJobManagerOperator(
        task_id="fail",
        pool_id="{{ params.pool_id }}",
        command_line="/bin/sh -c 'echo no input in /data >&2; sleep 1; exit {{ params.exit_code }}'",
        constraints={"max_task_retry_count": 1},
        deferrable=True,
    )
