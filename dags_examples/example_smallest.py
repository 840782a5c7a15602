"""The smallest one: run a command on a pool, and end as it ended."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG("example_smallest", schedule=None, tags=["example", "azure-batch"], doc_md=__doc__):
    AzureBatchJobManagerOperator(task_id="hello", pool_id="local", command_line="/bin/echo hello", deferrable=True)
