"""What Airflow asks at start-up. A literal: nothing is imported for it."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's hooks, modules and extra links, in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": "airflow-provider-jobmanager",
        "name": "Azure Batch job manager",
        "description": "Run Azure Batch job manager tasks from Airflow DAGs.",
        "connection-types": [
            {
                "connection-type": "azure_batch_job_manager",
                "hook-class-name": "airflow_provider_jobmanager.hooks.job_manager.AzureBatchJobManagerHook",
            }
        ],
    }
