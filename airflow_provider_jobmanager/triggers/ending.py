"""How a trigger ends an Airflow task without a worker, as far as the Airflow at hand can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.sdk.bases.xcom import BaseXCom
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from collections.abc import Mapping

AIRFLOW_3_3 = tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 3)
"""From 3.3 on, a task that fails in the triggerer gets its retries; before, it would be failed for good there."""


def end_of_task(event: Mapping[str, Any], *, soft_fail: bool) -> TriggerEvent:
    """The event that ends a task as its job ended; on Airflow 3.2 a failure goes back to a worker.

    Args:
        event: what a worker would be resumed with.
        soft_fail: skip the task instead of failing it.
    """
    if event["status"] == "succeeded":
        return TaskSuccessEvent()
    if soft_fail:
        return TaskSkippedEvent()
    return TaskFailedEvent() if AIRFLOW_3_3 else TriggerEvent(dict(event))


async def push_xcoms(ti: Any, values: Mapping[str, Any], log: Any, *, as_links: bool = False) -> None:
    """Store XComs of a task from the triggerer.

    Not as part of the event that ends the task: what comes with that, a task downstream reads as the text of its JSON
    (Airflow 3.3.2 encodes it once more).

    Args:
        ti: the task instance as the trigger has it; None outside a triggerer, where nothing is stored.
        values: by key.
        log: the log of the task.
        as_links: store them in Airflow's database, where its API server reads links, whatever the XCom backend is.
    """
    if ti is None or not getattr(getattr(ti, "task", None), "do_xcom_push", True):
        return
    names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id}
    names["map_index"] = -1 if ti.map_index is None else ti.map_index
    try:
        xcom = BaseXCom if as_links else await sync_to_async(_backend)()
        for key, value in values.items():
            if hasattr(xcom, "aset"):
                # Many at once: the triggerer's supervisor takes all that are there at each of its turns, and a turn
                # may take seconds while hundreds of tasks end.
                await xcom.aset(key, value, **names)
            else:
                await sync_to_async(xcom.set)(key, value, **names)
    except Exception:
        # The job has ended as it has; a task must not fail for what could not be written down of it.
        log.exception("XComs %s could not be stored.", ", ".join(values))


def _backend() -> Any:
    from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415 - loads the backend: off the event loop

    return XCom
