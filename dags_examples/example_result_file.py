"""A few values from the job into the next task: the manager writes a small JSON file, the operator returns it."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG("example_result_file", schedule=None, tags=["example", "azure-batch"], doc_md=__doc__):
    count = AzureBatchJobManagerOperator(
        task_id="count",
        pool_id="local",
        # Written into the working directory, which is where the command starts.
        command_line="""/bin/sh -c 'echo "{\\"files\\": 3, \\"largest\\": \\"march.csv\\"}" > result.json'""",
        result_file="result.json",
        deferrable=True,
    )

    @task
    def tell(result: dict[str, object]) -> str:
        """Uses what the job found; data of any size belongs into storage, and its address here."""
        return f"{result['files']} files, the largest is {result['largest']}"

    tell(count.output)
