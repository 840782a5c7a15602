"""The trigger: waits for a job in the triggerer and brings back the verdict."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_jobmanager.batch import flows
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor, moment
from airflow_provider_jobmanager.connection import DEFAULT_CONN_ID, account_of
from airflow_provider_jobmanager.errors import ServiceError
from airflow_provider_jobmanager.following import Broken, Ended, GaveUp, Recovered, Trouble, Wait, follow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_jobmanager.account import Account, AsyncClient

FIRST_EVENT_SECONDS = 5.0
"""No event sooner than this after the deferral, unless the poll interval is shorter: with Airflow's default
``[workers] min_heartbeat_interval`` an earlier one can make the scheduler fail the task."""

OUT_OF_SIGHT = "out_of_sight"
DEADLINE = "DeadlineExceeded"


class AzureBatchJobManagerTrigger(BaseTrigger):
    """Wait for an Azure Batch job; the event is the verdict as JSON.

    Args:
        job_id: the job; any job of the account.
        azure_batch_conn_id: connection to the account.
        poll_interval: seconds between two looks. All waits of an account share one poll, at the shortest interval.
        wait_for: the end of the ``"job"``, or of the ``"job_manager"`` alone.
        manager_id: id of the job manager task; learned from the job when empty.
        created_at: the job's creation time (ISO 8601), which tells it from a later job of the same id.
        children_count: whether failed children make an otherwise succeeded job fail.
        job_must_exist: whether a job that is not there is lost; False waits for it to appear.
        deadline: time (seconds since the epoch, this machine's clock) when to stop waiting.
        out_of_sight: seconds without any usable answer of the service after which to stop waiting.
        owner: the try that owns the job, for ending it at the deadline and on a kill; None never ends the job.
        on_kill_action: ``"terminate"`` or ``"leave"`` the job at the deadline and on a kill.
    """

    def __init__(
        self,
        *,
        job_id: str,
        azure_batch_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 5.0,
        wait_for: WaitFor = "job",
        manager_id: str = "",
        created_at: str | None = None,
        children_count: bool = False,
        job_must_exist: bool = True,
        deadline: float | None = None,
        out_of_sight: float = 3600.0,
        owner: dict[str, Any] | None = None,
        on_kill_action: str = "terminate",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own has no annotations
        self.job_id = job_id
        self.azure_batch_conn_id = azure_batch_conn_id
        self.poll_interval = poll_interval
        self.wait_for = wait_for
        self.manager_id = manager_id
        self.created_at = created_at
        self.children_count = children_count
        self.job_must_exist = job_must_exist
        self.deadline = deadline
        self.out_of_sight = out_of_sight
        self.owner = owner
        self.on_kill_action = on_kill_action

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the database keeps: the class and its arguments, none of them a secret."""
        names = (
            "job_id",
            "azure_batch_conn_id",
            "poll_interval",
            "wait_for",
            "manager_id",
            "created_at",
            "children_count",
            "job_must_exist",
            "deadline",
            "out_of_sight",
            "owner",
            "on_kill_action",
        )
        path = f"{AzureBatchJobManagerTrigger.__module__}.{AzureBatchJobManagerTrigger.__qualname__}"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event."""
        begun = time.monotonic()
        event = await self._wait()
        await asyncio.sleep(min(FIRST_EVENT_SECONDS, self.poll_interval) - (time.monotonic() - begun))
        yield TriggerEvent(event)

    async def _wait(self) -> dict[str, Any]:
        account = await self._account()
        self.log.info("Following job %s on %s.", self.job_id, account.endpoint)
        created = moment(self.created_at)
        async with follow(
            account,
            self.job_id,
            interval=self.poll_interval,
            since=created,
            created_at=created,
            out_of_sight=self.out_of_sight,
        ) as wait:
            watches = [asyncio.ensure_future(self._job(wait))]
            if self.wait_for == "job_manager":
                watches.append(asyncio.ensure_future(self._manager(wait)))
            try:
                done, _ = await asyncio.wait(watches, timeout=self._remaining(), return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return next(iter(done)).result()
                return await self._out_of_time(wait.client)
            finally:
                for watch in watches:
                    watch.cancel()

    async def _job(self, wait: Wait) -> dict[str, Any]:
        while True:
            news = await wait.news()
            if isinstance(news, Ended):
                if news.job is None and not self.job_must_exist:
                    await wait.spare()
                    wait.again()
                    continue
                async with wait.reading() as client:
                    verdict = await client.perform(
                        flows.read_verdict(
                            self.job_id,
                            job=news.job,
                            wait_for=self.wait_for,
                            manager_id=self.manager_id,
                            children_count=self.children_count,
                        )
                    )
                if verdict is not None:
                    self.log.info("%s", verdict.summary())
                    return verdict.as_dict()
            elif isinstance(news, Trouble):
                self.log.warning("The Batch service can't be asked at the moment: %s", news.error)
            elif isinstance(news, Recovered):
                self.log.info("The Batch service answers again, after %.0f s.", news.seconds)
            elif isinstance(news, GaveUp):
                return {"job_id": self.job_id, "status": OUT_OF_SIGHT, "reason": str(news.error)}
            elif isinstance(news, Broken):
                raise news.error

    async def _manager(self, wait: Wait) -> dict[str, Any]:
        while True:
            await wait.spare()
            try:
                verdict = await wait.client.perform(
                    flows.read_verdict(self.job_id, wait_for=self.wait_for, children_count=self.children_count)
                )
            except ServiceError as error:
                # The shared poll meets the same trouble, says so, and gives up in time.
                self.log.debug("%s", error)
            else:
                if verdict is not None:
                    self.log.info("%s", verdict.summary())
                    return verdict.as_dict()
            await asyncio.sleep(self.poll_interval)

    async def _out_of_time(self, client: AsyncClient) -> dict[str, Any]:
        reason = "The deadline of the Airflow task passed"
        if self.owner is not None and self.on_kill_action == "terminate":
            owner = Owner(**self.owner)
            reason = f"Airflow: deadline of {owner} passed"
            state = await client.perform(flows.terminate(self.job_id, reason, owner=owner))
            self.log.info("Out of time: job %s was told to end and is %s.", self.job_id, state)
        verdict = Verdict(job_id=self.job_id, status="timed_out", reason=reason, manager_id=self.manager_id)
        return verdict.evolve(failure={"code": DEADLINE, "message": reason}).as_dict()

    def _remaining(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.time())

    async def _account(self) -> Account:
        return account_of(await BaseHook.aget_connection(self.azure_batch_conn_id))
