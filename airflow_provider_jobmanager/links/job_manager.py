"""Links from a task to its job: in the Azure portal and in Batch Explorer.

They are there from the moment of submission: the API server reads a link from the XCom of its key, so operator and
sensor push them as soon as they know the job (:func:`push`). At the end of each leg Airflow calls ``get_link`` and
stores what it returns under the same key, so that hands back what was pushed.

The portal has no documented address for one job; the link leads to the Batch account, whose page lists them. Batch
Explorer opens the job itself (the scheme ``ms-batch-explorer`` is its own, with the account in ``accountId``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

    from airflow_provider_jobmanager.account import Account


class _PushedLink(BaseOperatorLink):
    """A link that was pushed as XCom."""

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """What :func:`push` stored; empty when there is no such link."""
        from airflow.sdk.bases.xcom import BaseXCom  # noqa: PLC0415 - at the end of a task, not when a DAG file is read

        return str(BaseXCom.get_value(ti_key=ti_key, key=self.xcom_key) or "")


class AzurePortalLink(_PushedLink):
    """To the Batch account in the Azure portal; there when the connection names subscription and resource group."""

    name = "Azure portal"


class BatchExplorerLink(_PushedLink):
    """To the job in Batch Explorer, an application on the user's machine."""

    name = "Batch Explorer"


class KeptLogsLink(_PushedLink):
    """To the stdout that ``keep_logs`` keeps, without any signature: whoever may read the container can open it."""

    name = "Kept logs"


_PORTAL, _EXPLORER = AzurePortalLink(), BatchExplorerLink()
LINKS = (_PORTAL, _EXPLORER)
"""For ``operator_extra_links``."""

KEPT_LOGS = KeptLogsLink()
"""Likewise, for the operator alone."""


def push(ti: Any, account: Account, job_id: str) -> None:
    """Store the links of a job where the UI finds them.

    Args:
        ti: the running task instance.
        account: the account; its credential is not looked at.
        job_id: the job.
    """
    for key, address in addresses(account, job_id).items():
        store(ti, key, address)


def store(ti: Any, key: str, address: str) -> None:
    """Store one link as XCom in Airflow's database, whatever the XCom backend is.

    The API server reads a link there as it stands, without the backend, and so Airflow stores links itself.
    """
    from airflow.sdk.bases.xcom import BaseXCom  # noqa: PLC0415 - in a task, not when a DAG file is read
    from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415 - as above

    if XCom is BaseXCom:
        ti.xcom_push(key=key, value=address)
    else:
        where = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id}
        BaseXCom.set(key, address, map_index=-1 if ti.map_index is None else ti.map_index, **where)


def addresses(account: Account, job_id: str) -> dict[str, str]:
    """The addresses of a job by the XCom key of the link; only those that are known."""
    job = quote(job_id, safe="")
    resource = _resource_id(account)
    if resource is None:
        return {_EXPLORER.xcom_key: f"ms-batch-explorer://route/jobs/{job}"}
    tenant = account.credential.tenant_id
    directory = f"@{quote(tenant, safe='')}/" if tenant else ""
    return {
        _PORTAL.xcom_key: f"https://{account.portal}/#{directory}resource{quote(resource)}",
        _EXPLORER.xcom_key: f"ms-batch-explorer://route/jobs/{job}?accountId={quote(resource, safe='')}",
    }


def _resource_id(account: Account) -> str | None:
    if not (account.subscription_id and account.resource_group and account.name):
        return None
    return (
        f"/subscriptions/{account.subscription_id}/resourceGroups/{account.resource_group}"
        f"/providers/Microsoft.Batch/batchAccounts/{account.name}"
    )
