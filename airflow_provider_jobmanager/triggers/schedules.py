"""Which job to follow where only its schedule is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.batch import flows
from airflow_provider_jobmanager.errors import ConfigurationError, ServiceRefused
from airflow_provider_jobmanager.following import Sight, insist, shared_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.account import Account
    from airflow_provider_jobmanager.batch.calls import Flow
    from airflow_provider_jobmanager.batch.patience import Patience
    from airflow_provider_jobmanager.following import Recovered, Trouble

_LOOK_SECONDS = 15.0


async def newest_job(
    job_schedule_id: str,
    account: Account,
    *,
    interval: float,
    out_of_sight: float,
    say: Callable[[Trouble | Recovered], None],
) -> str:
    """Id of the job that a schedule made last; waits for its first one.

    Args:
        job_schedule_id: the schedule.
        account: where it is.
        interval: seconds between two looks, which are never closer together than 15 s.
        out_of_sight: seconds without any usable answer of the service that are put up with.
        say: is told of trouble and of its end.

    Raises:
        ConfigurationError: there is no such schedule. That is no refusal to be waited out.
        OutOfSight: the service could not be asked for too long.
    """

    def newest(patience: Patience) -> Flow[str | None]:
        try:
            return (yield from flows.newest_job(job_schedule_id, patience=patience))
        except ServiceRefused as refusal:
            if refusal.code != "JobScheduleNotFound":
                raise
            raise ConfigurationError(f"There is no job schedule {job_schedule_id!r} on {account}.") from refusal

    async with shared_client(account) as client:
        sight = Sight(out_of_sight)
        while True:
            if job_id := await insist(client, newest, sight, say):
                return job_id
            await asyncio.sleep(max(interval, _LOOK_SECONDS))
