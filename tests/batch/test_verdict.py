"""The verdict, row by row."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_provider_jobmanager.batch.flows import read_verdict
from airflow_provider_jobmanager.batch.marks import MASKED
from airflow_provider_jobmanager.batch.verdict import Verdict, judge, moment
from tests.batch.fake_service import FakeService, perform

SUCCESS = {"exitCode": 0, "result": "success", "retryCount": 0, "requeueCount": 0, "startTime": "2026-01-01T00:00:01Z"}
EXIT_2 = {
    "exitCode": 2,
    "result": "failure",
    "retryCount": 1,
    "requeueCount": 0,
    "failureInfo": {
        "category": "UserError",
        "code": "FailureExitCode",
        "message": "The task exited with an exit code representing a failure",
    },
}
ENDED = {
    "result": "Failure",
    "retryCount": 0,
    "requeueCount": 2,
    "failureInfo": {"category": "UserError", "code": "TaskEnded", "message": "Task Was Ended by User Request"},
}


def a_job(
    state: str = "completed", reason: str | None = None, *, kill: bool = True, **execution: Any
) -> dict[str, Any]:
    job = {
        "id": "j",
        "state": state,
        "creationTime": "2026-01-01T00:00:00Z",
        "jobManagerTask": {"id": "jm", "killJobOnCompletion": kill},
        "executionInfo": {"poolId": "p", **execution},
    }
    if reason is not None:
        job["executionInfo"]["terminateReason"] = reason
    return job


def a_manager(execution: dict[str, Any], state: str = "completed") -> dict[str, Any]:
    return {"id": "jm", "state": state, "executionInfo": execution}


RUNNING = a_manager({"retryCount": 0, "requeueCount": 0}, "running")
WITHOUT_MANAGER = {**a_job(reason="AllTasksComplete"), "jobManagerTask": None}
SCHEDULING = {"category": "UserError", "code": "AutoPoolCreationFailedWithQuotaReached", "message": "No quota"}


def test_a_failure_repeats_no_secret_of_the_job() -> None:
    settings = [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "PIN", "value": "m4rked"}]
    job = a_job(reason="TaskFailed", schedulingError={"code": "Bad", "message": "not hunter22"})
    job["jobManagerTask"]["environmentSettings"] = settings
    job["metadata"] = [{"name": MASKED, "value": '["PIN"]'}]
    failure = {"code": "ContainerInvalidSettings", "details": [{"name": "Message", "value": "-e X=hunter22 m4rked"}]}
    failed = a_manager({"result": "failure", "failureInfo": failure})
    shown = {**failure, "details": [{"name": "Message", "value": "-e X=*** ***"}]}

    assert (verdict := judge(job, failed))
    assert verdict.failure == shown
    assert (verdict := judge(job, RUNNING, failed_task={**failed, "id": "child"}))
    assert (verdict.failed_task, verdict.failure) == ("child", shown)
    del job["executionInfo"]["terminateReason"]
    assert (verdict := judge(job, RUNNING))
    assert verdict.failure == {"code": "Bad", "message": "not ***"}


@pytest.mark.parametrize(
    ("job", "manager", "options", "status"),
    [
        (a_job(reason="JMComplete"), a_manager(SUCCESS), {}, "succeeded"),
        (a_job(reason="jmcomplete"), a_manager({**SUCCESS, "result": "Success"}), {}, "succeeded"),
        (a_job(reason="JMComplete"), a_manager(EXIT_2), {}, "failed"),
        (a_job(reason="JMComplete"), a_manager(ENDED), {}, "failed"),
        (a_job(reason="JMComplete"), a_manager({**SUCCESS, "result": "failure"}), {}, "failed"),
        (a_job(reason="JMComplete"), a_manager({"exitCode": 0}), {}, "succeeded"),
        (a_job(reason="JMComplete"), a_manager({}), {}, "failed"),
        (a_job(reason="JMComplete"), RUNNING, {}, None),
        (a_job(reason="JMComplete"), RUNNING, {"settled": True}, "failed"),
        (a_job(reason="JMComplete"), None, {"settled": True}, "failed"),
        (a_job(reason="JMComplete"), a_manager(SUCCESS), {"failed_children": 3}, "succeeded"),
        (a_job(reason="JMComplete"), a_manager(SUCCESS), {"failed_children": 3, "children_count": True}, "failed"),
        (a_job(reason="AllTasksComplete", kill=False), a_manager(SUCCESS), {}, "succeeded"),
        (a_job(reason="AllTasksComplete", kill=False), a_manager(SUCCESS), {"failed_children": 2}, "failed"),
        (a_job(reason="AllTasksComplete", kill=True), a_manager(SUCCESS), {"failed_children": 2}, "succeeded"),
        (
            a_job(reason="AllTasksComplete", kill=False),
            a_manager(SUCCESS),
            {"failed_children": 2, "children_count": False},
            "succeeded",
        ),
        (
            a_job(reason="AllTasksComplete", kill=False),
            a_manager(SUCCESS),
            {"failed_children": 2, "children_count": True},
            "failed",
        ),
        (
            a_job(reason="AllTasksComplete", kill=False),
            a_manager(SUCCESS),
            {"failed_children": 0, "children_count": True},
            "succeeded",
        ),
        (a_job(reason="AllTasksComplete", kill=False), a_manager(EXIT_2), {}, "failed"),
        (a_job(reason="AllTasksComplete", kill=False), None, {}, "failed"),
        (WITHOUT_MANAGER, None, {}, "succeeded"),
        (WITHOUT_MANAGER, None, {"failed_children": 1}, "succeeded"),
        (WITHOUT_MANAGER, None, {"failed_children": 1, "children_count": True}, "failed"),
        (
            a_job(reason="AllTasksComplete", kill=False),
            None,
            {"failed_children": 1, "children_count": True},
            "failed",
        ),
        (a_job(reason="TaskFailed"), a_manager(SUCCESS), {}, "failed"),
        (a_job(reason="taskFailed"), RUNNING, {}, "failed"),
        (a_job(reason="TaskFailed"), None, {}, "failed"),
        (a_job(reason="MaxWallClockTimeExpiry"), a_manager(SUCCESS), {}, "timed_out"),
        (a_job(reason="MaxWallClockTimeExpiry"), a_manager(ENDED), {}, "timed_out"),
        (a_job(reason="MaxWallClockTimeExpiry"), None, {}, "timed_out"),
        (a_job(reason="UserTerminate"), a_manager(ENDED), {}, "cancelled"),
        (a_job(reason="UserTerminate"), RUNNING, {}, "cancelled"),
        (a_job(reason="UserTerminate"), None, {}, "cancelled"),
        (a_job(reason="TerminateJobSchedule"), a_manager(ENDED), {}, "cancelled"),
        (a_job(reason="because <I> said so"), a_manager(ENDED), {}, "cancelled"),
        (a_job(reason="UserTerminate"), a_manager(SUCCESS), {}, "succeeded"),
        (a_job(reason="UserTerminate"), a_manager(EXIT_2), {}, "failed"),
        (a_job(reason="UserTerminate", kill=False), a_manager(SUCCESS), {}, "cancelled"),
        (a_job(reason="UserTerminate", kill=False), a_manager(EXIT_2), {}, "failed"),
        (a_job(schedulingError=SCHEDULING), None, {}, "failed"),
        (a_job(schedulingError=SCHEDULING), a_manager({"retryCount": 0, "requeueCount": 0}, "active"), {}, "failed"),
        (a_job(), None, {}, "failed"),
        (a_job(), a_manager(SUCCESS), {}, "succeeded"),
        (None, None, {"job_id": "j"}, "lost"),
        (a_job("active"), RUNNING, {}, None),
        (a_job("active"), a_manager(SUCCESS), {}, None),
        (a_job("disabling"), RUNNING, {}, None),
        (a_job("disabled"), RUNNING, {}, None),
        (a_job("enabling"), RUNNING, {}, None),
        (a_job("terminating", "JMComplete"), a_manager(SUCCESS), {}, None),
        (
            a_job("terminating", "UserTerminate", schedulingError={"code": "JobTerminationAwaitingNodeProcessing"}),
            RUNNING,
            {},
            None,
        ),
        (a_job("deleting", schedulingError={"code": "JobDeletionAwaitingNodeProcessing"}), RUNNING, {}, None),
        (a_job("a state of next year"), RUNNING, {"settled": True}, None),
    ],
)
def test_each_row_of_the_table(job: Any, manager: Any, options: dict[str, Any], status: str | None) -> None:
    verdict = judge(job, manager, **options)

    assert (verdict and verdict.status) == status
    if verdict is not None:
        assert verdict.job_id == "j"


@pytest.mark.parametrize(
    ("job", "manager", "status"),
    [
        (a_job("active"), a_manager(SUCCESS), "succeeded"),
        (a_job("active"), a_manager(EXIT_2), "failed"),
        (a_job("active"), a_manager(ENDED), "failed"),
        (a_job("active"), RUNNING, None),
        (a_job("terminating", "UserTerminate"), a_manager(ENDED), "cancelled"),
        (a_job("terminating", "JMComplete"), a_manager(ENDED), "failed"),
        (a_job("terminating", "MaxWallClockTimeExpiry"), a_manager(ENDED), "timed_out"),
        (a_job(reason="UserTerminate", kill=False), a_manager(SUCCESS), "succeeded"),
        (a_job(reason="MaxWallClockTimeExpiry", kill=False), a_manager(SUCCESS), "succeeded"),
        (a_job(reason="UserTerminate"), RUNNING, "cancelled"),
        (None, None, "lost"),
    ],
)
def test_who_waits_for_the_manager_gets_the_verdict_of_the_manager(job: Any, manager: Any, status: str | None) -> None:
    verdict = judge(job, manager, job_id="j", wait_for="job_manager")

    assert (verdict and verdict.status) == status


def test_a_failure_is_told_with_all_that_is_known() -> None:
    verdict = judge(a_job(reason="JMComplete", endTime="2026-01-01T00:01:00Z"), a_manager(EXIT_2))

    assert verdict is not None
    assert (verdict.exit_code, verdict.retries, verdict.pool_id) == (2, 1, "p")
    assert verdict.failure == EXIT_2["failureInfo"]
    for part in ("'j'", "JMComplete", "'jm'", "code 2", "FailureExitCode", "1 retry"):
        assert part in verdict.summary()


def test_a_job_that_a_child_ended_names_the_child() -> None:
    child = {"id": "child-7", "executionInfo": {"failureInfo": {"code": "BlobNotFound", "message": "no such blob"}}}

    verdict = judge(a_job(reason="TaskFailed"), a_manager(ENDED), failed_task=child)

    assert verdict is not None
    assert verdict.failed_task == "child-7"
    assert "'child-7': BlobNotFound: no such blob" in verdict.summary()


def test_a_verdict_survives_the_journey_as_json() -> None:
    verdict = judge(a_job(reason="JMComplete"), a_manager(EXIT_2))

    assert verdict is not None
    assert Verdict.from_dict({**verdict.as_dict(), "added_later": 1}) == verdict


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [("2026-01-02T03:04:05Z", 0), ("2026-01-02T03:04:05.5Z", 500000), ("2026-01-02T03:04:05.1234567Z", 123456)],
)
def test_timestamps_of_any_precision_are_read(text: str, microsecond: int) -> None:
    assert moment(text) == datetime(2026, 1, 2, 3, 4, 5, microsecond, tzinfo=timezone.utc)


@pytest.mark.parametrize(("created", "status"), [(3, "succeeded"), (2, "lost"), (4, None)])
def test_a_job_is_known_by_the_time_of_its_creation_too(created: int, status: str | None) -> None:
    """One that was made later under the same id is another; one that was made before can only be an old answer."""
    service = FakeService()
    for job_id in ("a", "b", "j"):
        service._create({"id": job_id, "metadata": []})
    service.end("j", "JMComplete", exit_code=0)
    known = datetime(2026, 1, 1, 0, 0, created, tzinfo=timezone.utc)
    verdict = perform(read_verdict("j", created_at=known), service)
    assert (verdict and verdict.status) == status
