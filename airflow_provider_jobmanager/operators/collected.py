"""What a try took from a job before it deleted it, in case the try's own end never reaches Airflow.

A worker may die between deleting a job that succeeded and telling Airflow so. The next try finds no job then, and would
run the work a second time; what is kept here tells it better. Airflow's task state store (from 3.3 on) outlives a try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_jobmanager.batch.ownership import Owner

_KEY = "airflow_provider_jobmanager.collected"


def keep(context: Context, owner: Owner, verdict: Verdict, value: Any, log: Any) -> bool:
    """Keep a verdict and the task's return value; False when that failed, and the job should better stay.

    Airflow 3.2 has nowhere to keep them: True, and the next try may have to run the work again.
    """
    store = context.get("task_state_store")
    if store is None:
        return True
    kept = {"round": owner.job_id_prefix(), "try": owner.try_number, "verdict": verdict.as_dict(), "value": value}
    try:
        store.set(_KEY, kept)
    except Exception as error:  # noqa: BLE001 - whatever a state store backend raises, the task has succeeded
        log.warning("Job %s is not deleted, because its end could not be kept: %s", verdict.job_id, error)
        return False
    return True


def kept(context: Context, owner: Owner) -> tuple[Verdict, Any] | None:
    """What an earlier try of the same round kept."""
    store = context.get("task_state_store")
    found = None if store is None else store.get(_KEY)
    if not isinstance(found, dict) or found.get("round") != owner.job_id_prefix():
        return None
    by_try: Any = found["try"]
    if by_try < owner.first_try:
        return None
    verdict: Any = found["verdict"]
    return Verdict.from_dict(verdict), found["value"]
