"""The conversation that collects what :func:`.diagnosis.diagnose` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jobmanager.batch import calls, shapes
from airflow_provider_jobmanager.batch.diagnosis import Diagnosis, Situation, diagnose, started_again
from airflow_provider_jobmanager.batch.files import unreadable
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.verdict import Verdict
from airflow_provider_jobmanager.errors import ServiceRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from airflow_provider_jobmanager.batch.calls import Answer, Flow, Json

JOB_SELECT = ("id", "state", "executionInfo", "poolInfo", "jobManagerTask", "jobPreparationTask")
"""Job members that a diagnosis needs."""

MANAGER_SELECT = ("id", "state", "previousState", "stateTransitionTime", "executionInfo", "nodeInfo")
"""Task members that a diagnosis, and those who follow a manager's output, need."""

POOL_SELECT = (
    "id",
    "state",
    "allocationState",
    "allocationStateTransitionTime",
    "resizeErrors",
    "currentDedicatedNodes",
    "currentLowPriorityNodes",
    "targetDedicatedNodes",
    "targetLowPriorityNodes",
    "enableAutoScale",
    "autoScaleEvaluationInterval",
    "autoScaleRun",
    "taskSlotsPerNode",
)
"""Pool members that a diagnosis needs."""

NODE_SELECT = (
    "id",
    "state",
    "schedulingState",
    "stateTransitionTime",
    "isDedicated",
    "runningTasksCount",
    "runningTaskSlotsCount",
    "startTaskInfo",
    "errors",
)
"""Node members that a diagnosis needs."""

START_TIMEOUT = "StartTimeout"
"""Failure code of a verdict ``timed_out`` because the job manager did not start in time."""

NODES_READ = 1000
"""Nodes that are looked at: one page."""


def situation(
    job_id: str, manager: Mapping[str, Any] | None, *, patience: Patience | None = None
) -> Flow[Situation | None]:
    """Read job, pool, nodes and preparation status; three to five requests.

    A role may allow to read the job alone: then the situation says so.

    Args:
        job_id: the job.
        manager: its manager's record, as read a moment ago.
        patience: how long to put up with a service that gives no usable answer.

    Returns:
        The situation; None when the job is gone.

    Raises:
        ServiceRefused: the job may not be read.
        ServiceUnavailable: no usable answer came.
    """
    patience = patience or Patience()
    answer = yield from _found(calls.get("jobs", job_id, select=JOB_SELECT), patience, shapes.check_job)
    if answer is None:
        return None
    job: Json = dict(answer.data)
    pool_id = str((job.get("executionInfo") or {}).get("poolId") or (job.get("poolInfo") or {}).get("poolId") or "")
    pool: Json | None = None
    nodes: list[Json] = []
    preparations: list[Json] = []
    problem = ""
    try:
        pool, nodes = yield from pool_and_nodes(pool_id, patience=patience)
        if job.get("jobPreparationTask"):
            status = calls.rows("jobs", job_id, "jobpreparationandreleasetaskstatus", limit=NODES_READ)
            rows = yield from _found(status, patience)
            preparations = [] if rows is None else rows.data
    except ServiceRefused as refusal:
        problem = unreadable(refusal).rstrip(".")
    return Situation(job, manager, pool_id, pool, nodes, preparations, answer.date, problem)


def why_not_started(job_id: str, manager_id: str, *, patience: Patience | None = None) -> Flow[Diagnosis | None]:
    """Why a manager has not started; None when it has, or when job or manager are gone.

    Raises:
        ServiceError: something could not be read.
    """
    patience = patience or Patience()
    manager = yield from manager_of(job_id, manager_id, patience=patience)
    if manager is None or has_started(manager):
        return None
    seen = yield from situation(job_id, manager, patience=patience)
    return None if seen is None else diagnose(seen)


def has_started(manager: Mapping[str, Any]) -> bool:
    """Whether a manager has ever run, even when it waits to be started again."""
    if str(manager.get("state")).lower() not in ("active", "preparing"):
        return True
    return bool(started_again(manager))


def not_started(job_id: str, manager_id: str, diagnosis: Diagnosis, seconds: float) -> Verdict:
    """The verdict on a job whose manager did not start within so many seconds."""
    return Verdict(
        job_id=job_id,
        status="timed_out",
        reason=f"Airflow: not started within {seconds:g} s",
        manager_id=manager_id,
        failure={"code": START_TIMEOUT, "message": str(diagnosis)},
    )


def pool_and_nodes(pool_id: str, *, patience: Patience | None = None) -> Flow[tuple[Json | None, list[Json]]]:
    """A pool and its nodes; None when there is no such pool.

    Raises:
        ServiceError: something could not be read.
    """
    patience = patience or Patience()
    if not pool_id:
        return None, []
    found = yield from _found(calls.get("pools", pool_id, select=POOL_SELECT), patience)
    if found is None:
        return None, []
    nodes = yield from _found(calls.rows("pools", pool_id, "nodes", select=NODE_SELECT, limit=NODES_READ), patience)
    return dict(found.data), [] if nodes is None else nodes.data


def manager_of(job_id: str, manager_id: str, *, patience: Patience | None = None) -> Flow[Json | None]:
    """The manager's record as a task; None when it or its job is gone.

    Raises:
        ServiceError: it could not be read.
    """
    request = calls.get("jobs", job_id, "tasks", manager_id, select=MANAGER_SELECT)
    answer = yield from _found(request, patience or Patience(), shapes.check_task)
    return None if answer is None else dict(answer.data)


def _found(request: calls.Call, patience: Patience, check: Callable[[Any], None] | None = None) -> Flow[Answer | None]:
    try:
        return (yield from patiently(request, patience, check))
    except ServiceRefused as refusal:
        if refusal.code in ("JobNotFound", "TaskNotFound", "PoolNotFound", "JobPreparationTaskNotSpecified"):
            return None
        raise
