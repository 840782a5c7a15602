"""What a sensor follows, kept from one poke to the next when a process of its own makes each.

In the mode ``"reschedule"`` nothing of the sensor lives on between two pokes, and Airflow deletes the task's XComs
before each. Airflow's task state store (from 3.3 on) lasts; with 3.2 every poke begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__

if TYPE_CHECKING:
    from airflow.sdk import Context

LASTS = tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 3)
"""Whether this Airflow can keep anything."""

_KEY = "airflow_provider_jobmanager.followed"


def keep(context: Context, job_id: str, created_at: str | None, log: Any) -> None:
    """Keep the job that this try follows. Trouble is logged: the poke has its answer already."""
    store = context.get("task_state_store")
    if store is None:
        return
    try:
        store.set(_KEY, {"try": _try_of(context), "job_id": job_id, "created_at": created_at})
    except Exception as error:  # noqa: BLE001 - whatever a state store backend raises
        log.warning("The next poke will not know that it follows job %s: %s", job_id, error)


def kept(context: Context) -> tuple[str, str | None] | None:
    """The job that an earlier poke of this try followed, and when it was created; None when there was none.

    Whatever a state store backend raises: who pokes without knowing would follow another job.
    """
    store = context.get("task_state_store")
    found = None if store is None else store.get(_KEY)
    # It outlives the try, and a new try follows what there is then.
    if not isinstance(found, dict) or found.get("try") != _try_of(context):
        return None
    created_at = found.get("created_at")
    return str(found["job_id"]), None if created_at is None else str(created_at)


def _try_of(context: Context) -> str:
    """Airflow's own id of this try: the same at each of its pokes, a new one for a retry and after a Clear."""
    return str(getattr(context["ti"], "id", ""))
