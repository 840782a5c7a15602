"""Where the links of a job lead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_jobmanager.connection import account_of
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

KEY = "c2VjcmV0LWtleQ=="
RESOURCE = "/subscriptions/sub/resourceGroups/my%20group/providers/Microsoft.Batch/batchAccounts/acct"


def addresses(job_id: str = "job-1", **extra: Any) -> dict[str, str]:
    extra = {"account_url": "https://acct.westeurope.batch.azure.com", **extra}
    connection = Connection(conn_id="c", conn_type="t", password=KEY, login="acct", extra=json.dumps(extra))
    return links.addresses(account_of(connection), job_id)


def test_to_the_account_in_the_portal_and_to_the_job_in_batch_explorer() -> None:
    found = addresses(subscription_id="sub", resource_group="my group")
    assert found == {
        "_link_AzurePortalLink": f"https://portal.azure.com/#resource{RESOURCE}",
        "_link_BatchExplorerLink": "ms-batch-explorer://route/jobs/job-1?accountId="
        "%2Fsubscriptions%2Fsub%2FresourceGroups%2Fmy%20group%2Fproviders%2FMicrosoft.Batch%2FbatchAccounts%2Facct",
    }
    for address in found.values():
        assert KEY not in address


@pytest.mark.parametrize("known", [{}, {"subscription_id": "sub"}, {"resource_group": "g"}])
def test_no_portal_link_when_the_account_cannot_be_named(known: dict[str, str]) -> None:
    assert addresses(**known) == {"_link_BatchExplorerLink": "ms-batch-explorer://route/jobs/job-1"}


def test_no_link_to_an_account_that_a_custom_host_does_not_name() -> None:
    place = {"account_url": "https://gateway.example/batch", "subscription_id": "sub", "resource_group": "g"}
    by_entra = {"tenant_id": "t", "client_id": "c", "auth_method": "client_secret"}
    assert addresses(**place, **by_entra) == {"_link_BatchExplorerLink": "ms-batch-explorer://route/jobs/job-1"}
    assert addresses(**place)["_link_AzurePortalLink"].endswith("/batchAccounts/acct")  # a key comes with a name


@pytest.mark.parametrize(
    ("cloud", "portal"), [("AzureUSGovernment", "portal.azure.us"), ("AzureChinaCloud", "portal.azure.cn")]
)
def test_every_cloud_has_its_portal(cloud: str, portal: str) -> None:
    found = addresses(subscription_id="sub", resource_group="g", cloud=cloud)
    assert found["_link_AzurePortalLink"].startswith(f"https://{portal}/#resource/subscriptions/sub/")


def test_the_tenant_is_named_when_it_is_known() -> None:
    found = addresses(
        subscription_id="sub",
        resource_group="g",
        tenant_id="contoso.example",
        client_id="a",
        auth_method="client_secret",
    )
    assert "/#@contoso.example/resource/subscriptions/" in found["_link_AzurePortalLink"]


def test_an_odd_job_id_is_encoded() -> None:
    assert addresses("a b/#?") == {"_link_BatchExplorerLink": "ms-batch-explorer://route/jobs/a%20b%2F%23%3F"}


def test_operator_and_sensor_carry_them() -> None:
    job = {"Azure portal", "Batch Explorer"}
    assert {link.name for link in AzureBatchJobManagerSensor.operator_extra_links} == job
    assert {link.name for link in AzureBatchJobManagerOperator.operator_extra_links} == job | {"Kept logs"}
