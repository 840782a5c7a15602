"""What Airflow asks at start-up. Plain data: nothing is imported for it.

The connection form is described by ``conn-fields`` and ``ui-field-behaviour``, which Airflow reads since 3.2. A type
without "null" would make a field mandatory. Airflow masks a field of the extra by its name, so secrets have names that
it knows: the password, and ``private_key``.
"""

from __future__ import annotations

from typing import Any

CONN_TYPE = "azure_batch_job_manager"
DEFAULT_CONN_ID = "azure_batch_default"


def get_provider_info() -> dict[str, Any]:
    """The provider's hooks, modules and extra links, in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": "airflow-provider-jobmanager",
        "name": "Azure Batch job manager",
        "description": "Run Azure Batch job manager tasks from Airflow DAGs.",
        "integrations": [
            {
                "integration-name": "Azure Batch job manager",
                "external-doc-url": "https://learn.microsoft.com/azure/batch/",
                "tags": ["azure"],
            }
        ],
        "operators": [_modules("operators")],
        "sensors": [_modules("sensors")],
        "hooks": [_modules("hooks")],
        "triggers": [_modules("triggers")],
        "extra-links": [
            "airflow_provider_jobmanager.links.job_manager.AzurePortalLink",
            "airflow_provider_jobmanager.links.job_manager.BatchExplorerLink",
            "airflow_provider_jobmanager.links.job_manager.KeptLogsLink",
        ],
        "connection-types": [
            {
                "connection-type": CONN_TYPE,
                "hook-class-name": "airflow_provider_jobmanager.hooks.job_manager.AzureBatchJobManagerHook",
                "hook-name": "Azure Batch (job manager)",
                "ui-field-behaviour": {
                    # The port means nothing here, and is shown because Airflow 3.3.2 refuses to test a connection that
                    # is stored without one (it sends 0 for none and finds that the port differs).
                    "hidden-fields": ["host", "schema"],
                    "relabeling": {
                        "port": "Port (any; the Test button wants one)",
                        "login": "Account name or client ID",
                        "password": "Account key or client secret",
                    },
                    "placeholders": {
                        "login": "name of the Batch account (for an account key)",
                        "password": "empty for managed and workload identities",
                        "port": "443",
                    },
                },
                "conn-fields": {
                    "account_url": _text(
                        "Account URL",
                        "URL of the Batch account, such as https://myaccount.westeurope.batch.azure.com. Without TLS "
                        "only for a service on this machine.",
                    ),
                    "auth_method": _choice(
                        "Authentication method",
                        "How to authenticate. With auto, what is filled in decides: a certificate, a client secret "
                        "(with a tenant ID), an account key, a managed identity, a workload identity, else the default "
                        "credential chain of the machine.",
                        [
                            "auto",
                            "account_key",
                            "client_secret",
                            "certificate",
                            "managed_identity",
                            "workload_identity",
                            "default",
                        ],
                        "auto",
                    ),
                    "tenant_id": _text("Tenant ID", "Microsoft Entra tenant of the application."),
                    "client_id": _text(
                        "Client ID",
                        "Application (client) ID; for a client secret or certificate the login will do too.",
                    ),
                    "certificate_path": _text(
                        "Certificate path",
                        "File with the application's certificate and private key (PEM or PKCS12), on every machine "
                        "that runs tasks or triggers. The password is the file's, if it has one.",
                    ),
                    "private_key": _text(
                        "Certificate and private key",
                        "In place of a file: the text of the PEM with both. Stored encrypted and masked.",
                        format="password",
                    ),
                    "managed_identity_client_id": _text(
                        "Managed identity client ID",
                        "Client ID of a user-assigned managed identity. For the system-assigned one leave both client "
                        "IDs empty and choose managed_identity above.",
                    ),
                    "workload_identity_file": _text(
                        "Workload identity file",
                        "File with the federated token, where it is not the one that AZURE_FEDERATED_TOKEN_FILE names.",
                    ),
                    "cloud": _choice(
                        "Cloud",
                        "Where the account lives. Empty: the host name of the account URL tells.",
                        ["AzureCloud", "AzureUSGovernment", "AzureChinaCloud"],
                        None,
                    ),
                    "authority": _text(
                        "Authority", "Host that gives out tokens, in place of the cloud's (login.microsoftonline.com)."
                    ),
                    "scope": _text(
                        "Scope",
                        "What tokens are asked for, in place of the cloud's "
                        "(https://batch.core.windows.net//.default; the double slash counts).",
                    ),
                    "subscription_id": _text(
                        "Subscription ID", "For links into the Azure portal and Batch Explorer. Not needed to run jobs."
                    ),
                    "resource_group": _text("Resource group", "Of the Batch account, for the same links."),
                    "api_version": _text("API version", "Version of the Batch REST API. Empty: 2025-06-01."),
                },
            }
        ],
    }


def _modules(kind: str) -> dict[str, Any]:
    return {
        "integration-name": "Azure Batch job manager",
        "python-modules": [f"airflow_provider_jobmanager.{kind}.job_manager"],
    }


def _text(label: str, description: str, **schema: str) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


def _choice(label: str, description: str, choices: list[str], default: str | None) -> dict[str, Any]:
    schema = {"type": ["string", "null"], "enum": choices, "default": default}
    return {"label": label, "description": description, "schema": schema}
