"""Every way to stop a task stops its job, through a real API server, scheduler, worker and triggerer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.cli import main
from airflow_provider_jobmanager.triggers.ending import AIRFLOW_3_3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from tests.chaos.account import Jobs, Seen

DAG = """
import os
import signal
from datetime import timedelta
from airflow.sdk import DAG
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

class Impatient(AzureBatchJobManagerOperator):
    deferral_margin = 2.0

class Forgetful(AzureBatchJobManagerOperator):
    def execute_complete(self, context, event):
        super().execute_complete(context, event)
        os.kill(os.getpid(), signal.SIGKILL)

def task(operator=AzureBatchJobManagerOperator, **options):
    settings = {"command_line": "/bin/sleep 600", "deferrable": True, **options}
    return operator(
        task_id="work", azure_batch_conn_id="azure_batch_chaos", pool_id="local", run_exclusive=False,
        poll_interval=1, **settings,
    )
"""

DAGS = {
    "deferred": "task()",
    "on_worker": "task(deferrable=False)",
    "left_alone": "task(on_kill_action='leave')",
    "out_of_time": "task(timeout=8)",
    "execution_timeout_deferred": "task(execution_timeout=timedelta(seconds=8))",
    "execution_timeout_on_worker": "task(deferrable=False, execution_timeout=timedelta(seconds=8), retries=0)",
    "airflow_gave_up": "task(Impatient, timeout=8)",
    "deleted": "task(Forgetful, command_line='/bin/sleep 1', on_finish_action='delete', retries=1, "
    "retry_delay=timedelta(seconds=1))",
    "short": "task(command_line='/bin/sleep 8', timeout=600)",
}


@pytest.fixture(scope="module", autouse=True)
def dags(airflow: AirflowHome, jobs: Jobs) -> None:
    text = DAG + "".join(
        f"\nwith DAG('cancel_{name}', schedule=None):\n    {source}\n" for name, source in DAGS.items()
    )
    text += "\nwith DAG('cancel_run_out_of_time', schedule=None, dagrun_timeout=timedelta(seconds=15)):\n    task()\n"
    (airflow.dags / "cancelling.py").write_text(text)
    for name in (*DAGS, "run_out_of_time"):
        airflow.wait_for_dag(f"cancel_{name}")


@contextmanager
def without_triggerer(airflow: AirflowHome) -> Iterator[None]:
    """Meanwhile there is no triggerer.

    Not a frozen one: the last words of its triggers could reach the tasks of the tests that follow, under numbers that
    SQLite gave away again, and sooner than Airflow can bear (apache/airflow#71580).
    """
    airflow.kill("triggerer")
    try:
        yield
    finally:
        airflow.restart("triggerer")


class Task:
    """A task that runs."""

    def __init__(self, airflow: AirflowHome, jobs: Jobs, name: str, state: str) -> None:
        self.airflow = airflow
        self.jobs = jobs
        self.dag_id = f"cancel_{name}"
        self.run_id = airflow.api.trigger(self.dag_id)
        self.wait_for({state})
        self.wait_for_jobs(lambda found: len(found) == 1 and found[0].active)
        if state == "deferred":
            self.wait_for_triggerer()

    def wait_for_triggerer(self, try_number: int = 1) -> None:
        """Airflow tells a trigger of a kill only once a triggerer runs it."""
        api = self.airflow.api
        api.wait_until(lambda: self.log(try_number), lambda log: "Following job" in log, "a triggerer", 240)

    def wait_for(self, states: set[str]) -> str | None:
        return self.airflow.api.wait_for_task(self.dag_id, self.run_id, "work", states).state

    def wait_for_jobs(self, good: Callable[[list[Seen]], bool]) -> list[Seen]:
        return self.jobs.wait(good, self.dag_id, self.run_id)

    def mark(self, state: str) -> None:
        self.airflow.api.mark(self.dag_id, self.run_id, "work", state)

    def clear(self) -> None:
        self.airflow.api.clear(self.dag_id, self.run_id, ["work"])

    def log(self, try_number: int = 1) -> str:
        return self.airflow.api.log(self.dag_id, self.run_id, "work", try_number)

    def ended_by_airflow(self) -> Seen:
        (job,) = self.wait_for_jobs(lambda found: not found[0].active)
        assert job.reason.startswith("Airflow: ")
        assert f"{self.dag_id}.work run {self.run_id} try 1 " in job.reason
        return job


@pytest.fixture
def begin(airflow: AirflowHome, jobs: Jobs) -> Callable[..., Task]:
    return lambda name, state="deferred": Task(airflow, jobs, name, state)


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_deferred_task_ends_its_job(begin: Callable[..., Task], state: str) -> None:
    task = begin("deferred")
    task.mark(state)

    assert "was killed" in task.ended_by_airflow().reason
    assert task.wait_for({"failed", "success"}) == state


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_task_on_a_worker_ends_its_job(begin: Callable[..., Task], state: str) -> None:
    task = begin("on_worker", "running")
    task.mark(state)

    assert "was killed" in task.ended_by_airflow().reason


def test_failing_the_dag_run_ends_the_job(begin: Callable[..., Task]) -> None:
    task = begin("deferred")
    task.airflow.api.mark_run(task.dag_id, task.run_id, "failed")

    task.ended_by_airflow()


def test_a_dag_run_that_runs_out_of_time_ends_the_job(begin: Callable[..., Task]) -> None:
    task = begin("run_out_of_time")

    assert "was killed" in task.ended_by_airflow().reason


def test_clearing_a_deferred_task_ends_its_job_and_starts_another(begin: Callable[..., Task]) -> None:
    task = begin("deferred")
    task.clear()

    found = task.wait_for_jobs(lambda found: sorted(job.active for job in found) == [False, True])
    old = next(job for job in found if not job.active)
    new = next(job for job in found if job.active)
    assert "try 1 was killed" in old.reason or "try 2 follows" in old.reason
    assert (old.mark["airflow_try_number"], new.mark["airflow_try_number"]) == ("1", "2")
    task.wait_for({"deferred"})
    task.wait_for_triggerer(try_number=2)
    task.mark("failed")
    task.wait_for_jobs(lambda found: not any(job.active for job in found))


def test_clearing_a_task_on_a_worker_ends_its_job_and_starts_another(begin: Callable[..., Task]) -> None:
    task = begin("on_worker", "running")
    task.clear()

    found = task.wait_for_jobs(lambda found: sorted(job.active for job in found) == [False, True])
    assert {job.mark["airflow_try_number"] for job in found} == {"1", "2"}
    task.mark("failed")
    task.wait_for_jobs(lambda found: not any(job.active for job in found))


def test_a_job_is_left_when_the_user_wants_that(begin: Callable[..., Task]) -> None:
    task = begin("left_alone")
    task.mark("failed")
    cancelled = begin("deferred")
    cancelled.mark("failed")
    cancelled.ended_by_airflow()  # a kill that began later is through

    (job,) = task.jobs.of(task.dag_id, task.run_id)
    assert job.active


@pytest.mark.parametrize("name", ["out_of_time", "execution_timeout_deferred"])
def test_a_deadline_while_deferred_ends_the_job_and_says_so(begin: Callable[..., Task], name: str) -> None:
    task = begin(name)

    assert task.wait_for({"failed"}) == "failed"
    job = task.ended_by_airflow()
    assert "deadline" in job.reason
    assert "deadline" in task.log()
    assert "JobTimedOut" in task.log()
    assert "0:05:00" <= job.max_wall_clock <= "0:05:08"  # what the service would have done by itself


def test_an_execution_timeout_on_a_worker_ends_the_job(begin: Callable[..., Task]) -> None:
    task = begin("execution_timeout_on_worker", "running")

    assert task.wait_for({"failed"}) == "failed"
    task.ended_by_airflow()


def test_a_wait_that_airflow_ends_itself_ends_the_job(begin: Callable[..., Task], airflow: AirflowHome) -> None:
    """The triggerer is away when the deadline comes; Airflow's own limit follows, and no ``execute_complete`` does."""
    task = begin("airflow_gave_up")
    with without_triggerer(airflow):
        assert task.wait_for({"failed"}) == "failed"
        job = task.ended_by_airflow()
    assert "ran out of time while deferred" in job.reason


def test_a_triggerer_that_ends_takes_no_job_with_it(begin: Callable[..., Task], airflow: AirflowHome) -> None:
    task = begin("short")
    airflow.restart("triggerer")

    assert task.wait_for({"failed", "success"}) == "success"
    (job,) = task.jobs.of(task.dag_id, task.run_id)
    assert job.reason == "JMComplete"


def test_a_task_that_is_killed_before_any_triggerer_has_it_leaves_an_orphan_that_can_be_found(
    airflow: AirflowHome, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Airflow tells nobody of such a kill; all that is left is to look for the job."""
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_CHAOS", jobs.service.connection_json())
    monkeypatch.setenv("AIRFLOW_API_USERNAME", "admin")
    monkeypatch.setenv("AIRFLOW_API_PASSWORD", "admin")
    command = ["orphans", "--conn-id", "azure_batch_chaos", "--airflow-url", airflow.url]
    with without_triggerer(airflow):
        run_id = airflow.api.trigger("cancel_deferred")
        airflow.api.wait_for_task("cancel_deferred", run_id, "work", {"deferred"})
        (job,) = jobs.of("cancel_deferred", run_id)
        assert main(command) in {0, 1}
        assert f"kept    {job.id}" in capsys.readouterr().out
        airflow.api.mark("cancel_deferred", run_id, "work", "failed")

    assert main(command) == 1
    assert f"orphan  {job.id}" in capsys.readouterr().out
    assert main([*command, "--terminate"]) == 0
    (ended,) = jobs.wait(lambda found: not found[0].active, "cancel_deferred", run_id)
    assert ended.reason == "jobmanager orphans: the task is failed"


@pytest.mark.skipif(not AIRFLOW_3_3, reason="Airflow 3.2 keeps nothing from one try to the next")
def test_a_job_that_was_deleted_is_not_run_again_when_its_worker_died_with_the_news(
    airflow: AirflowHome, jobs: Jobs
) -> None:
    jobs.service.journal.clear()
    run_id = airflow.api.trigger("cancel_deleted")

    assert airflow.api.wait_for_task("cancel_deleted", run_id, "work").state == "success"

    assert airflow.api.task_instance("cancel_deleted", run_id, "work").try_number == 2
    assert airflow.api.xcoms("cancel_deleted", run_id, "work")["return_value"]["status"] == "succeeded"
    assert sum(entry.operation == "create_job" for entry in jobs.service.journal) == 1
    assert jobs.of("cancel_deleted", run_id) == []


def test_a_full_account_is_waited_for_without_a_worker(airflow: AirflowHome, jobs: Jobs) -> None:
    def trigger() -> str:
        task = airflow.api.task_instance("cancel_short", run_id, "work")
        return (task.raw["trigger"] or {}).get("classpath", "")

    jobs.service.faults.add(operation="create_job", then="answer", status=409, code="ActiveJobAndScheduleQuotaReached")
    run_id = airflow.api.trigger("cancel_short")
    airflow.api.wait_until(trigger, lambda path: "AzureBatchQuotaTrigger" in path, "the wait for the quota", 240)
    assert jobs.of("cancel_short", run_id) == []
    jobs.service.faults.clear()

    assert airflow.api.wait_for_task("cancel_short", run_id, "work").state == "success"
    (job,) = jobs.of("cancel_short", run_id)
    assert job.mark["airflow_try_number"] == "1"
