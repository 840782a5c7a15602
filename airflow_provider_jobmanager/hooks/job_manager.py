"""The hook: an Airflow connection, the Batch client, and the conversations of this provider."""

from __future__ import annotations

from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_jobmanager.batch import calls, flows, stopping, submitting
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.connection import account_of
from airflow_provider_jobmanager.errors import JobManagerError
from airflow_provider_jobmanager.provider_info import CONN_TYPE, DEFAULT_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.batch import BatchClient
    from azure.batch.aio import BatchClient as AsyncBatchClient

    from airflow_provider_jobmanager.account import Account, AsyncClient, Client
    from airflow_provider_jobmanager.batch.calls import Flow, Json
    from airflow_provider_jobmanager.batch.ownership import Owner
    from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor

T = TypeVar("T")


class AzureBatchJobManagerHook(BaseHook):
    """Talk to one Azure Batch account.

    Args:
        azure_batch_conn_id: a connection of type ``azure_batch_job_manager``, or of type ``azure_batch`` as the
            Microsoft provider makes it.

    Every method raises :class:`~airflow_provider_jobmanager.errors.AccountError` when the connection can't be used,
    :class:`~airflow_provider_jobmanager.errors.ServiceRefused` when the service says no, and
    :class:`~airflow_provider_jobmanager.errors.ServiceUnavailable` when it gave no usable answer for five minutes.
    """

    conn_name_attr = "azure_batch_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = "Azure Batch (job manager)"

    def __init__(self, azure_batch_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.azure_batch_conn_id = azure_batch_conn_id

    @cached_property
    def account(self) -> Account:
        """The account that the connection describes."""
        return account_of(self.get_connection(self.azure_batch_conn_id))

    @cached_property
    def client(self) -> Client:
        """Runs conversations (:mod:`airflow_provider_jobmanager.batch.flows`) on the SDK's client."""
        return self.account.client()

    def get_conn(self) -> BatchClient:
        """The official SDK's client, for everything this hook has no method for."""
        return self.client.sdk

    def get_async_conn(self) -> AsyncBatchClient:
        """The official SDK's asynchronous client; close it after use. Slow the first time: keep it off a loop."""
        return self.account.sdk_async_client()

    async def aclient(self) -> AsyncClient:
        """Runs conversations on an event loop; close it after use. Nothing here blocks the loop."""
        connection = await self.aget_connection(self.azure_batch_conn_id)
        return await account_of(connection).async_client()

    def perform(self, flow: Flow[T]) -> T:
        """Run a conversation to its end."""
        return self.client.perform(flow)

    def _ask(self, call: calls.Call) -> Any:
        return self.perform(patiently(call, Patience())).data

    def create_job(self, body: Mapping[str, Any], owner: Owner) -> submitting.Submission:
        """Create a job, or go on with it when this very try has created it already.

        Args:
            body: the request body, such as :meth:`airflow_provider_jobmanager.batch.Job.serialize` returns it.
            owner: the try that submits. Its mark must be in the body's metadata.

        Raises:
            NotOurJob: a job of that id exists and is not this try's.
        """
        return self.perform(submitting.create(body, owner))

    def get_job(self, job_id: str, select: tuple[str, ...] = ()) -> Json:
        """The job as the service describes it (wire names), only the members of ``select`` when given."""
        return dict(self._ask(calls.get("jobs", job_id, select=select)))

    def get_task(self, job_id: str, task_id: str, select: tuple[str, ...] = ()) -> Json:
        """A task of a job likewise; the job manager is an ordinary task under its id."""
        return dict(self._ask(calls.get("jobs", job_id, "tasks", task_id, select=select)))

    def list_tasks(self, job_id: str, select: tuple[str, ...] = ()) -> list[Json]:
        """All tasks of a job, the manager among them."""
        return list(self._ask(calls.rows("jobs", job_id, "tasks", select=select)))

    def terminate_job(
        self, job_id: str, reason: str, owner: Owner | None = None, *, created_at: str | None = None
    ) -> str:
        """End a job and make sure that it is ending; returns its state afterwards, ``gone`` when it was deleted.

        Args:
            job_id: the job.
            reason: becomes the job's ``terminateReason``.
            owner: when given, the job must carry a mark of the same task instance.
            created_at: when given, the job must have been created then (its ``creationTime``).

        Raises:
            NotOurJob: the job carries another mark, or none, or was created later. Nothing was done to it.
        """
        return self.perform(stopping.terminate(job_id, reason, owner=owner, created_at=created_at))

    def delete_job(self, job_id: str, owner: Owner, *, created_at: str | None = None) -> str:
        """Delete a job of ours that is over, with its tasks and their files.

        Args:
            job_id: the job.
            owner: the job must carry a mark of the same task instance.
            created_at: when given, the job must have been created then.

        Returns:
            ``gone``, or the state of a job that goes on and was left alone.

        Raises:
            NotOurJob: the job carries another mark, or none, or was created later. Nothing was done to it.
        """
        return self.perform(stopping.remove(job_id, owner=owner, created_at=created_at))

    def get_verdict(
        self, job_id: str, *, wait_for: WaitFor = "job", children_count: bool | None = None
    ) -> Verdict | None:
        """How the job ended and why; None while it goes on.

        Args:
            job_id: the job.
            wait_for: the end of the whole ``"job"`` or of the ``"job_manager"`` alone.
            children_count: whether failed children make an otherwise succeeded job fail; None for when the job outlives
                its manager (its ``killJobOnCompletion`` is false).
        """
        verdict = self.perform(flows.read_verdict(job_id, wait_for=wait_for, children_count=children_count))
        if verdict is not None and verdict.status == "lost":
            return verdict.evolve(never_seen=True)  # it is not there, and nobody followed it
        return verdict

    def test_connection(self) -> tuple[bool, str]:
        """One cheap authorised request, tried once; says who we are to which account, or what to change."""
        try:
            account = self.account
            with closing(account.client()) as client:
                client.call(calls.rows("jobs", select=("id",), limit=1))
        except JobManagerError as error:
            return False, str(error)
        who = account.credential.whoever()
        return True, f"Connected to {account.endpoint} with {account.credential}{f' ({who})' if who else ''}."
