"""Which children failed, how many are read, and which of them ended their job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch import flows, report
from airflow_provider_jobmanager.batch.exit_options import failure_ends_job
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.batch.report import Report
from airflow_provider_jobmanager.errors import ServiceUnavailable
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.batch.conversing import Script
from tests.batch.test_shapes import first
from tests.scripted import Reply, Request, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.batch.verdict import Verdict

EXITED = {"code": "FailureExitCode", "message": "m"}
ENDED = {"code": "TaskEnded", "message": "m"}


def child(task_id: str, failure: dict[str, str] = EXITED, **more: Any) -> dict[str, Any]:
    execution = {"exitCode": 1, "result": "failure", "failureInfo": failure, **more.pop("execution", {})}
    return {"id": task_id, "executionInfo": execution, **more}


class Pages:
    """A job whose tasks fill pages of a thousand rows."""

    def __init__(self) -> None:
        self.failures: list[dict[str, str]] = []
        self.url = ""
        self.asked = 0

    def answer(self, request: Request) -> Reply:
        if request.path.endswith("/tasks"):
            self.asked += 1
            page = int(request.query.get("$skiptoken", "0"))
            rows = [child(f"t{page}-{number}", self.failures[page]) for number in range(1000)]
            last = page == len(self.failures) - 1
            link = {} if last else {"odata.nextLink": f"{self.url}/jobs/j/tasks?$skiptoken={page + 1}"}
            return Reply(200, {"value": rows, **link})
        if "/tasks/" in request.path:
            return Reply(200, {"id": "m", "state": "completed", "executionInfo": {"exitCode": 0, "result": "success"}})
        manager = {"id": "m", "killJobOnCompletion": False}
        execution = {"terminateReason": "AllTasksComplete"}
        return Reply(200, {"id": "j", "state": "completed", "jobManagerTask": manager, "executionInfo": execution})


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    made = Pages()
    with ScriptedServer(made.answer) as server:
        made.url = server.url
        monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", server.connection)
        yield made


def verdict_on(pages: Pages) -> Verdict:
    hook = AzureBatchJobManagerHook()
    try:
        verdict = hook.get_verdict("j")
    finally:
        hook.client.close()
    assert verdict is not None
    return verdict


def test_no_more_children_are_read_than_tell_that_there_are_many(pages: Pages) -> None:
    pages.failures = [EXITED] * 30
    verdict = verdict_on(pages)
    assert (verdict.status, verdict.failed_children, verdict.more_failed_children) == ("failed", 10_000, True)
    assert pages.asked == 10
    assert "at least 10000 child tasks failed" in verdict.summary()


def test_children_that_the_end_of_their_job_ended_hide_no_failure(pages: Pages) -> None:
    """They are not counted, however many of them come first."""
    pages.failures = [*[ENDED] * 14, EXITED]
    verdict = verdict_on(pages)
    assert (verdict.status, verdict.failed_children, verdict.more_failed_children) == ("failed", 1000, False)
    assert "1000 child tasks failed" in verdict.summary()
    assert "at least" not in verdict.summary()


@pytest.mark.parametrize(("counted", "more", "said"), [(10_000, True, "at least 10,000"), (1000, False, " 1,000")])
def test_the_report_says_when_there_may_be_more(pages: Pages, counted: int, more: bool, said: str) -> None:
    pages.failures = [EXITED]
    verdict = verdict_on(pages).evolve(failed_children=counted, more_failed_children=more)
    shown = tuple(report.FailedChild(f"t{number}", 1, "FailureExitCode", "") for number in range(5))
    facts = "\n".join(Report(verdict, failed_children=shown, failed_children_count=1000).facts())
    assert f"Failed children: {said}".replace("  ", " ") in facts
    assert ("at least" in facts) is more


def test_an_odd_row_is_trouble() -> None:
    odd = [child("a"), {"id": "b", "executionInfo": "x"}]
    script = Script({"GET /jobs/j/tasks": first(odd, [child("a")])})
    assert [task["id"] for task in script.perform(flows.failed_children("j", "m"))] == ["a"]
    script = Script({"GET /jobs/j/tasks": odd})
    with pytest.raises(ServiceUnavailable, match="its executionInfo is not a mapping"):
        script.perform(flows.failed_children("j", "m", patience=Patience(0)))


# -- which of them ended the job ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "execution", "ends"),
    [
        (None, {}, True),
        ({"default": {"jobAction": "none"}}, {}, False),
        ({"default": {"jobAction": "disable"}}, {}, False),
        ({"default": {"dependencyAction": "satisfy"}}, {}, True),
        ({"exitCodes": [{"code": 1, "exitOptions": {"jobAction": "none"}}]}, {}, False),
        ({"exitCodes": [{"code": 2, "exitOptions": {"jobAction": "none"}}]}, {}, True),
        ({"exitCodeRanges": [{"start": 1, "end": 9, "exitOptions": {"jobAction": "none"}}]}, {}, False),
        ({"exitCodeRanges": [{"start": 2, "end": 9, "exitOptions": {"jobAction": "none"}}]}, {}, True),
        (
            {
                "exitCodes": [{"code": 1, "exitOptions": {"jobAction": "terminate"}}],
                "default": {"jobAction": "none"},
            },
            {},
            True,
        ),
        ({"preProcessingError": {"jobAction": "none"}}, {"exitCode": None}, False),
        ({"preProcessingError": {"jobAction": "none"}}, {}, True),
        ({"fileUploadError": {"jobAction": "none"}}, {"failureInfo": {"code": "FileUploadAccessDenied"}}, False),
        ({"fileUploadError": {"jobAction": "none"}}, {}, True),
        ({"default": "x", "exitCodes": ["y"]}, {}, True),
    ],
)
def test_what_exit_conditions_say(conditions: Any, execution: dict[str, Any], ends: bool) -> None:
    assert failure_ends_job(child("c", execution=execution, exitConditions=conditions)) is ends


def test_the_culprit_is_the_first_whose_failure_ends_the_job() -> None:
    harmless = child(
        "harmless", execution={"endTime": "2026-01-01T00:10:00Z"}, exitConditions={"default": {"jobAction": "none"}}
    )
    guilty = child("guilty", execution={"endTime": "2026-01-01T00:20:00Z"})
    late = child("late", execution={"endTime": "2026-01-01T00:30:00Z"})
    job = {
        "id": "j",
        "state": "completed",
        "jobManagerTask": {"id": "m"},
        "executionInfo": {"terminateReason": "TaskFailed"},
    }
    manager = {"id": "m", "state": "completed", "executionInfo": {"result": "failure", "failureInfo": ENDED}}
    script = Script({"GET /jobs/j/tasks/m": manager, "GET /jobs/j/tasks": [harmless, late, guilty]})

    assert script.perform(flows.read_verdict("j", job=job)).failed_task == "guilty"
    assert "exitConditions" in script.calls[-1].params["$select"]

    script = Script({"GET /jobs/j/tasks/m": manager, "GET /jobs/j/tasks": [harmless]})
    assert script.perform(flows.read_verdict("j", job=job)).failed_task == "harmless"
