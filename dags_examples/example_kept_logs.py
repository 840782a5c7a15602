"""A long job that can be watched and looked at afterwards: output in the task log, logs kept, a checkpoint.

While the manager runs, what it prints comes into the task log; when it has ended, Batch keeps stdout and stderr beside
its output in blob storage, so they outlive the node. The manager checkpoints, because Batch may start it again at any
moment: on the same node after a failure of its own, on another one when its node is lost.

The container's URL comes from a Variable. With a SAS in it (rwl: it is read, written and listed) it is a secret, and
masked wherever Airflow shows it. In Azure rather leave the SAS out and give an identity of the pool:
``"identity_reference": {"resource_id": "/subscriptions/…"}``.

The manager is a script of its own, `managers/count_words.py`.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

CONTAINER = "{{ var.value.example_container_sas_url }}"

with DAG(
    "example_kept_logs",
    schedule=None,
    params={
        "pool_id": Param("local", type="string", title="Pool"),
        "script_url": Param(
            "http://127.0.0.1:8000/count_words.py",
            type="string",
            format="uri",
            title="Manager script",
            description="Where the nodes can download managers/count_words.py",
        ),
        "prefix": Param("texts/", type="string", title="Input blobs begin with"),
    },
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    AzureBatchJobManagerOperator(
        task_id="count_words",
        pool_id="{{ params.pool_id }}",
        command_line="/bin/sh -c 'exec python3 count_words.py in/{{ params.prefix }} out'",
        resource_files=[
            {"http_url": "{{ params.script_url }}", "file_path": "count_words.py"},
            {"storage_container_url": CONTAINER, "blob_prefix": "{{ params.prefix }}", "file_path": "in"},
        ],
        output_files=[
            {
                "file_pattern": "out/*.json",
                "destination": {"container": {"container_url": CONTAINER, "path": "counts/{{ run_id }}"}},
                # A count of half the texts would be taken for the whole.
                "upload_options": {"upload_condition": "tasksuccess"},
            }
        ],
        keep_logs={"container_url": CONTAINER, "path": "logs/{{ run_id }}"},
        constraints={"max_task_retry_count": 2},
        stream_logs=True,
        # Long enough for a pool to come up. Why it has not started is told in the log anyway.
        start_timeout=1800,
        deferrable=True,
    )
