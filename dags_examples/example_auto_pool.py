"""A pool for one job: Batch makes it with the job and takes it away with the job."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG(
    "example_auto_pool",
    schedule=None,
    params={"vm_size": Param("standard_d2s_v3", type="string", title="Size of the node")},
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    AzureBatchJobManagerOperator(
        task_id="run",
        auto_pool={
            "pool_lifetime_option": "job",
            "auto_pool_id_prefix": "airflow",
            "pool": {
                "vm_size": "{{ params.vm_size }}",
                "target_dedicated_nodes": 1,
                "virtual_machine_configuration": {
                    "image_reference": {
                        "publisher": "microsoft-dsvm",
                        "offer": "ubuntu-hpc",
                        "sku": "2204",
                        "version": "latest",
                    },
                    "node_agent_sku_id": "batch.node.ubuntu 22.04",
                },
            },
        },
        command_line="/bin/sh -c 'echo on $AZ_BATCH_POOL_ID'",
        # A pool takes minutes to come up, and may never do: no longer than this.
        timeout=3600,
        deferrable=True,
    )
