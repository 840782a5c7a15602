"""What a person needs to know of a job that did not end well, told in the triggerer where no worker will."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch.report import gather
from airflow_provider_jobmanager.errors import ServiceError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.account import AsyncClient
    from airflow_provider_jobmanager.batch.verdict import Verdict

_REPORT_SECONDS = 30.0


async def report(client: AsyncClient, verdict: Verdict, log: Any) -> None:
    """Collect it and tell it. The verdict stands, whatever can't be told of it.

    Args:
        client: where to ask.
        verdict: how the job ended.
        log: the log of the task.
    """
    try:
        found = await asyncio.wait_for(client.perform(gather(verdict)), _REPORT_SECONDS)
        lines = [*found.facts(), *found.output()]
    except (ServiceError, asyncio.TimeoutError) as error:
        log.warning("What else is known of the job could not be read: %s", error or "no answer in time")
    except Exception:
        # Nor does a defect of ours in the telling change it.
        log.exception("What else is known of the job could not be told")
    else:
        for line in lines:
            log.info("%s", line)
