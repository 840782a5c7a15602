"""Which active jobs nobody follows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from airflow_provider_jobmanager import orphans
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.cli import main
from airflow_provider_jobmanager.demo.airflow_api import TaskInstance
from airflow_provider_jobmanager.errors import ServiceUnavailable
from airflow_provider_jobmanager.orphans import GONE, judge
from tests.batch.conversing import Script
from tests.batch.fake_service import refused

OWNER = Owner("sales", "load", "r1", -1, 1, "ti-1", 2, "2026-01-01T00:00:00+00:00")
JOB: dict[str, Any] = {"id": "j", "jobManagerTask": {"killJobOnCompletion": True}}


def task(state: str | None, try_number: int = 1) -> TaskInstance:
    return TaskInstance("load", -1, state, try_number, 2, None, {}, {})


@pytest.mark.parametrize(
    ("state", "try_number", "followed", "orphan"),
    [
        ("failed", 1, "j", True),
        ("success", 1, "j", True),
        ("skipped", 1, None, True),
        ("removed", 1, None, True),
        ("deferred", 1, "j", False),
        ("deferred", 1, "J", False),
        ("deferred", 2, "k", True),
        ("running", 2, "k", True),
        ("running", 2, None, False),
        ("running", 1, None, False),
        ("up_for_retry", 1, "j", False),
        ("queued", 1, "j", False),
        (None, 1, "j", False),
    ],
)
def test_a_job_is_an_orphan_when_nobody_follows_it(
    state: str | None, try_number: int, followed: str | None, orphan: bool
) -> None:
    assert judge(JOB, OWNER, task(state, try_number), followed)[0] is orphan


def test_a_job_whose_task_is_gone_is_an_orphan_of_its_own_kind() -> None:
    assert judge(JOB, OWNER, None, None) == (True, GONE)


def test_a_job_that_may_outlive_its_manager_is_kept_when_its_task_succeeded() -> None:
    job = {"id": "j", "jobManagerTask": {"killJobOnCompletion": False}}

    assert not judge(job, OWNER, task("success"), "j")[0]
    assert not judge(job, OWNER, task("success"), None)[0]
    assert judge(job, OWNER, task("success", 2), "k")[0]
    assert judge(job, evolve(OWNER, try_number=1), task("failed"), "j")[0]


def test_credentials_are_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("AIRFLOW_API_USERNAME", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", '{"conn_type": "azure_batch_job_manager"}')

    with pytest.raises(SystemExit) as ended:
        main(["orphans", "--airflow-url", "http://127.0.0.1:9"])

    assert ended.value.code == 2
    assert "AIRFLOW_API_USERNAME" in capsys.readouterr().err


class Airflow:
    """Knows one run, whose task has failed."""

    url = "http://127.0.0.1:9"

    def dag_run(self, _dag_id: str, _run_id: str) -> Any:
        return SimpleNamespace(raw={"start_date": "2026-01-01T00:00:00Z"})

    def task_instance(self, *_: Any) -> TaskInstance:
        return task("failed")

    def request(self, *_: Any, **__: Any) -> Any:
        return {"value": '"j"'}


def test_a_broken_mark_hides_no_other_job() -> None:
    jobs = [
        {"id": f"j{number}", "state": "active", "metadata": evolve(OWNER, run_start=start).metadata()}
        for number, start in enumerate(("soon", OWNER.run_start, "2026-01-01T00:00:00", "2025-01-01T00:00:00Z", ""))
    ]
    script = Script({"GET /jobs": jobs, "GET /jobs/j": refused(404, "JobNotFound")})
    hook: Any = SimpleNamespace(perform=script.perform)

    found = list(orphans.examine(hook, Airflow()))  # type: ignore[arg-type] # all that is asked of it

    assert [one.orphan for one in found] == [False, True, True, True, True]
    assert "its mark is broken (the start of its run is 'soon')" in found[0].why
    assert [one.gone for one in found] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("recorded", "other", "orphan"),
    [
        ("k", OWNER.metadata(), True),
        ("k", evolve(OWNER, task_id="store").metadata(), False),
        ("shelf-17", None, False),
        ("s3://bucket/xcoms/17", None, False),
    ],
)
def test_what_a_task_follows_counts_only_when_it_is_a_job_of_it(
    recorded: str, other: list[dict[str, str]] | None, orphan: bool
) -> None:
    """With an XCom backend of the user's own the API may show no more than where the id is kept."""
    job = {"id": "j", "state": "active", "metadata": OWNER.metadata()}
    answers = {"GET /jobs": [job], "GET /jobs/k": {"id": "k", "metadata": other}}
    script = Script(answers | {"GET /jobs/shelf-17": refused(404, "JobNotFound")})
    hook: Any = SimpleNamespace(perform=script.perform)
    airflow: Any = Airflow()
    airflow.task_instance = lambda *_: task("deferred", 2)
    airflow.request = lambda *_, **__: {"value": f'"{recorded}"'}

    assert [one.orphan for one in orphans.examine(hook, airflow)] == [orphan]


class NoService:
    """A hook whose service does not answer."""

    azure_batch_conn_id = "x"
    account = None

    def perform(self, flow: Any) -> Any:
        flow.close()
        raise ServiceUnavailable("busy")


@pytest.mark.parametrize(
    ("why", "advice"), [("the task is failed", ""), (GONE, "Those that this Airflow does not know were left alone")]
)
def test_only_what_was_left_alone_is_said_to_be(
    why: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = orphans.Found("j1", "active", OWNER, None, orphan=True, why=why)
    monkeypatch.setattr(orphans, "examine", lambda _hook, _api: [found])
    monkeypatch.setattr(orphans, "hook_of", lambda _conn_id: NoService())
    monkeypatch.setenv("AIRFLOW_API_USERNAME", "a")
    monkeypatch.setenv("AIRFLOW_API_PASSWORD", "b")
    assert main(["orphans", "--airflow-url", "http://127.0.0.1:9", "--terminate"]) == 1
    said = capsys.readouterr().out
    assert ("could not be ended: busy" in said) is (why != GONE)
    assert ("were left alone" in said) is bool(advice)
    assert advice in said
