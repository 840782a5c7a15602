"""Files in from a blob container, files out to it.

The Airflow Variable ``batch_container_secret`` holds the address of the container with a shared access signature that
may read, list, create and write. "secret" in its name makes Airflow mask it. With a pool that has an identity use
``identity_reference`` in place of the signature, and no secret is needed at all.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

CONTAINER = "{{ var.value.batch_container_secret }}"


def to_container(pattern: str, path: str, when: str) -> dict[str, object]:
    """One entry of output_files."""
    return {
        "file_pattern": pattern,
        "destination": {"container": {"container_url": CONTAINER, "path": path}},
        "upload_options": {"upload_condition": when},
    }


with DAG("example_storage", schedule=None, tags=["example", "azure-batch"], doc_md=__doc__):
    AzureBatchJobManagerOperator(
        task_id="count_words",
        pool_id="local",
        # All blobs whose names begin with "in/" land below the working directory, under their names.
        resource_files=[{"storage_container_url": CONTAINER, "blob_prefix": "in/"}],
        command_line="/bin/sh -c 'mkdir -p out && for f in in/*; do wc -w < $f > out/$(basename $f).count; done'",
        output_files=[
            to_container("out/*.count", "{{ run_id | replace(':', '-') }}/counts", "tasksuccess"),
            # The task's own output, whatever became of it: the node may be gone when somebody wants to read it.
            to_container("../std*.txt", "{{ run_id | replace(':', '-') }}/logs", "taskcompletion"),
        ],
        deferrable=True,
    )
