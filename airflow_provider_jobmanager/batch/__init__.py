"""What Batch means: pure rules, no Airflow, no network, no clock of its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.job import Job
    from airflow_provider_jobmanager.batch.job_manager_task import JobManagerTask
    from airflow_provider_jobmanager.batch.verdict import Verdict

__all__ = ["Job", "JobManagerTask", "Verdict"]

_HOMES = {"Job": "job", "JobManagerTask": "job_manager_task", "Verdict": "verdict"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a DAG file that uses the sensor alone has no need of the payload.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
