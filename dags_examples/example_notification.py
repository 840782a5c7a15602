"""Tell somebody when a job did not end well: a failure callback with the facts of the verdict.

The exception of a job that ended badly is a ``JobOutcomeError`` with the verdict as an attribute, so a message needs no
parsing of texts. Here it goes into the task's log; send it where your people look.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from airflow_provider_jobmanager.errors import JobOutcomeError
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def notify(context: Context) -> None:
    """Says what happened to which job."""
    error = context.get("exception")
    if isinstance(error, JobOutcomeError):
        verdict = error.verdict
        log.error("Job %s %s, exit code %s: %s", verdict.job_id, verdict.status, verdict.exit_code, verdict.summary())
    else:
        log.error("Task %s failed before its job was judged: %s", context["ti"].task_id, error)


with DAG("example_notification", schedule=None, tags=["example", "azure-batch"], doc_md=__doc__):
    AzureBatchJobManagerOperator(
        task_id="fail",
        pool_id="local",
        command_line="/bin/sh -c 'exit 4'",
        on_failure_callback=notify,
        deferrable=True,
    )
