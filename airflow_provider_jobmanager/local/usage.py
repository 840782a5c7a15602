"""What ran so far: the figures that ``$expand=stats`` asks for.

Members are those of the REST reference (JobStatistics, TaskStatistics, JobScheduleStatistics, PoolStatistics). Counts
and times are those of the runs there were, at once, where the real service rolls them up every half hour. Processors
and disks are not measured: their figures are zero, and those of a pool's machines left out. A node counts as one core.
Of a job's tasks and a schedule's jobs those count that are still there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import formats

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from airflow_provider_jobmanager.local.records import Doc, Job, Node, Pool, Schedule, Task

_NO_TIME = "PT0S"


def of_task(task: Task, now: datetime) -> Doc:
    """Statistics of a task, without their URL."""
    started = task.execution.get("startTime")
    created = formats.parse_timestamp(task.doc["creationTime"])
    waited = (formats.parse_timestamp(started) - created).total_seconds() if started else 0.0
    return {**_range(task.doc, now), **_work(_ran(task, now)), "waitTime": _duration(max(0.0, waited))}


def of_job(job: Job, tasks: Iterable[Task], now: datetime) -> Doc:
    """Statistics of a job, without their URL."""
    return {**_range(job.doc, now), **_sum(list(tasks), now)}


def of_schedule(schedule: Schedule, tasks: Iterable[Task], now: datetime) -> Doc:
    """Statistics of a job schedule, of the tasks of all of its jobs, without their URL."""
    return {**_range(schedule.doc, now), **_sum(list(tasks), now)}


def of_pool(pool: Pool, nodes: Iterable[Node], now: datetime) -> Doc:
    """Statistics of a pool, without their URL."""
    seconds = pool.core_seconds + sum(core_seconds(node, now) for node in nodes)
    times = _range(pool.doc, now)
    return {**times, "usageStats": {**times, "dedicatedCoreTime": _duration(seconds)}}


def core_seconds(node: Node, now: datetime) -> float:
    """How long a dedicated node has been part of its pool."""
    if not node.dedicated:
        return 0.0
    return max(0.0, (now - formats.parse_timestamp(node.doc["allocationTime"])).total_seconds())


def _range(doc: Doc, now: datetime) -> Doc:
    return {"startTime": doc["creationTime"], "lastUpdateTime": formats.timestamp(now)}


def _ran(task: Task, now: datetime) -> float:
    if task.state != "running":
        return task.ran
    return task.ran + max(0.0, (now - formats.parse_timestamp(task.execution["startTime"])).total_seconds())


def _work(seconds: float) -> Doc:
    return {
        "userCPUTime": _NO_TIME,
        "kernelCPUTime": _NO_TIME,
        "wallClockTime": _duration(seconds),
        # 64-bit integers are strings on the wire.
        "readIOps": "0",
        "writeIOps": "0",
        "readIOGiB": 0.0,
        "writeIOGiB": 0.0,
    }


def _sum(tasks: list[Task], now: datetime) -> Doc:
    results = [task.execution["result"].lower() for task in tasks if task.state == "completed"]
    return {
        **_work(sum(_ran(task, now) for task in tasks)),
        "numSucceededTasks": str(results.count("success")),
        "numFailedTasks": str(results.count("failure")),
        "numTaskRetries": str(sum(task.execution["retryCount"] for task in tasks)),
        "waitTime": _NO_TIME,  # reported for tasks and whole accounts only, says the reference
    }


def _duration(seconds: float) -> str:
    return formats.duration(int(seconds * formats.TICKS))
