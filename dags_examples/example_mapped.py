"""One job per input: dynamic task mapping over what an earlier task found."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG("example_mapped", schedule=None, tags=["example", "azure-batch"], doc_md=__doc__):

    @task
    def find_inputs() -> list[dict[str, str]]:
        """Finds what there is to do; each item becomes the environment of one job's manager."""
        return [{"INPUT": name} for name in ("january", "february", "march")]

    @task
    def report(verdicts: list[dict[str, str]]) -> list[str]:
        """The return value of the operator is its verdict."""
        return [f"{verdict['job_id']}: {verdict['status']}" for verdict in verdicts]

    jobs = AzureBatchJobManagerOperator.partial(
        task_id="process",
        pool_id="local",
        command_line="/bin/sh -c 'echo working on $INPUT'",
        # Three jobs at a time, however many inputs there are: deferred tasks count too.
        max_active_tis_per_dagrun=3,
        deferrable=True,
    ).expand(environment_settings=find_inputs())

    report(jobs.output)
