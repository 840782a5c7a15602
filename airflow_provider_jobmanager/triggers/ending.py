"""How a trigger ends an Airflow task without a worker, as far as the Airflow at hand can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

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
        return TaskSuccessEvent(xcoms={"return_value": dict(event)})
    if soft_fail:
        return TaskSkippedEvent()
    return TaskFailedEvent() if AIRFLOW_3_3 else TriggerEvent(dict(event))
