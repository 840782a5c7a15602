"""Answers that are JSON and yet none of Batch: trouble that is waited out."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_jobmanager.batch import flows, shapes
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.errors import ServiceUnavailable
from tests.batch.conversing import Script

JOB: dict[str, Any] = {
    "id": "j",
    "state": "completed",
    "creationTime": "2026-01-01T00:00:00Z",
    "jobManagerTask": {"id": "m", "killJobOnCompletion": True},
    "executionInfo": {"terminateReason": "JMComplete", "poolId": "p"},
}
MANAGER: dict[str, Any] = {
    "id": "m",
    "state": "completed",
    "executionInfo": {"exitCode": 0, "result": "success", "retryCount": 0, "requeueCount": 0},
}
ODD_JOBS = [
    (None, "it is not a mapping"),
    ({}, "it has no id"),
    ({**JOB, "id": 5}, "its id is not a text"),
    ({**JOB, "executionInfo": "x"}, "its executionInfo is not a mapping"),
    ({**JOB, "jobManagerTask": "x"}, "its jobManagerTask is not a mapping"),
    ({**JOB, "jobManagerTask": {"id": ["m"]}}, "its jobManagerTask.id is not a text"),
    ({**JOB, "executionInfo": {"terminateReason": [1]}}, "its executionInfo.terminateReason is not a text"),
    ({**JOB, "executionInfo": {"schedulingError": "x"}}, "its executionInfo.schedulingError is not a mapping"),
    ({**JOB, "executionInfo": {"endTime": "soon"}}, "its executionInfo.endTime is not a time"),
    ({**JOB, "creationTime": 5}, "its creationTime is not a time"),
]
ODD_MANAGERS = [
    ({"id": "m"}, "it has no state"),
    ({**MANAGER, "executionInfo": "x"}, "its executionInfo is not a mapping"),
    ({**MANAGER, "executionInfo": {"retryCount": "many"}}, "its executionInfo.retryCount is not a whole number"),
    ({**MANAGER, "executionInfo": {"exitCode": True}}, "its executionInfo.exitCode is not a whole number"),
    ({**MANAGER, "executionInfo": {"failureInfo": "x"}}, "its executionInfo.failureInfo is not a mapping"),
    ({**MANAGER, "executionInfo": {"failureInfo": {"code": 1}}}, "its executionInfo.failureInfo.code is not a text"),
]


def first(odd: Any, then: Any) -> Any:
    """Answers oddly once."""
    answers = [odd]
    return lambda _call: answers.pop() if answers else then


@pytest.mark.parametrize(("odd", "said"), ODD_JOBS)
def test_an_odd_job_is_trouble(odd: Any, said: str) -> None:
    with pytest.raises(ServiceUnavailable, match=said):
        shapes.check_job(odd)
    script = Script({"GET /jobs/j": first(odd, JOB), "GET /jobs/j/tasks/m": MANAGER})
    assert script.perform(flows.read_verdict("j")).status == "succeeded"
    assert script.paused > 0

    script = Script({"GET /jobs/j": odd})
    with pytest.raises(ServiceUnavailable, match=f"GET /jobs/j: The answer does not describe a job of Batch: {said}"):
        script.perform(flows.read_verdict("j", patience=Patience(5.0)))


@pytest.mark.parametrize(("odd", "said"), ODD_MANAGERS)
def test_an_odd_manager_is_trouble(odd: Any, said: str) -> None:
    script = Script({"GET /jobs/j/tasks/m": first(odd, MANAGER)})
    assert script.perform(flows.read_verdict("j", job=JOB)).status == "succeeded"

    script = Script({"GET /jobs/j/tasks/m": odd})
    with pytest.raises(ServiceUnavailable, match=said):
        script.perform(flows.read_verdict("j", job=JOB, patience=Patience(5.0)))


def test_an_odd_schedule_is_trouble() -> None:
    good = {"id": "s", "executionInfo": {"recentJob": {"id": "s:job-1"}}}
    script = Script({"GET /jobschedules/s": first({"executionInfo": {"recentJob": "s:job-1"}}, good)})
    assert script.perform(flows.newest_job("s")) == "s:job-1"


def test_what_is_not_there_or_not_read_may_be_anything() -> None:
    shapes.check_job({"id": "j", "executionInfo": None, "priority": "x", "jobManagerTask": {"commandLine": 5}})
    shapes.check_task({"id": "m", "executionInfo": {"failureInfo": None, "containerInfo": "x"}})
