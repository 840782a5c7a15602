"""A sensor of a job schedule, and one whose every poke is a process of its own: what they keep to."""

from __future__ import annotations

import asyncio
import dataclasses
import warnings
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
from airflow.triggers.base import TaskFailedEvent

from airflow_provider_jobmanager.batch.report import Report
from airflow_provider_jobmanager.errors import (
    ConfigurationError,
    JobLost,
    JobTimedOut,
    ServiceRefused,
    ServiceUnavailable,
)
from airflow_provider_jobmanager.operators.outcome import raise_unless_succeeded, verdict_of_event
from airflow_provider_jobmanager.sensors import followed
from airflow_provider_jobmanager.triggers.ending import AIRFLOW_3_3
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from tests.scripted import Reply, Request, ScriptedServer, error
from tests.sensors.sensing import CONTEXT, Instance, Store, a_sensor, deferred
from tests.triggers.running import Trigger, event_of, submit

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch


@dataclasses.dataclass
class Schedule:
    """A service with one schedule, whose jobs are all completed, or all active."""

    recent: str | None
    completed: bool = True
    away: bool = False

    def answer(self, request: Request) -> Reply:
        if self.away:
            return error(503, "ServerBusy")
        if request.path == "/jobschedules/nightly":
            info = {} if self.recent is None else {"recentJob": {"id": self.recent, "url": "u"}}
            return Reply(200, {"id": "nightly", "state": "active", "executionInfo": info})
        if request.path.startswith("/jobschedules/"):
            return error(404, "JobScheduleNotFound")
        listed = request.path == "/jobs"
        job = {
            "id": self.recent if listed else unquote(request.path.removeprefix("/jobs/").removesuffix("/tasks")),
            "state": "completed" if self.completed else "active",
            "creationTime": "2026-01-01T00:00:00Z",
            "stateTransitionTime": "2026-01-01T01:00:00Z",
            "executionInfo": {"terminateReason": "AllTasksComplete"} if self.completed else {},
        }
        if request.path.endswith("/tasks"):
            return Reply(200, {"value": []})
        return Reply(200, {"value": [job] if "eq" in request.query["$filter"] else []} if listed else job)


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> Any:
    scripted = Schedule("nightly:job-7")
    with ScriptedServer(scripted.answer) as server:
        monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", server.connection)
        yield scripted


def test_the_newest_job_of_a_schedule(schedule: Schedule) -> None:
    sensor = a_sensor(job_id=None, job_schedule_id="nightly", deferrable=True)
    assert sensor.execute(CONTEXT)["job_id"] == "nightly:job-7"
    assert a_sensor(job_id=None, job_schedule_id="nightly", deferrable=False).execute(CONTEXT)["status"] == "succeeded"


async def test_a_schedule_that_has_made_no_job_yet(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.triggers.schedules._LOOK_SECONDS", 0.1)
    schedule.recent = None
    sensor = a_sensor(job_id=None, job_schedule_id="nightly", deferrable=True, poll_interval=0.1)
    trigger = deferred(sensor).trigger
    assert (trigger.job_id, trigger.job_schedule_id) == ("", "nightly")
    trigger.deadline = datetime.now(timezone.utc).timestamp() + 0.5
    late = await event_of(trigger)
    assert late.payload["status"] == "timed_out"
    assert "'nightly' had made no job" in late.payload["reason"]
    with pytest.raises(JobTimedOut, match=r"^The wait ran out of time \(Job schedule 'nightly' had made no job until"):
        raise_unless_succeeded(verdict_of_event(late.payload), Report(verdict_of_event(late.payload)))
    schedule.recent = "nightly:job-8"
    event = await event_of(AzureBatchJobManagerTrigger(job_schedule_id="nightly", poll_interval=0.1))
    assert (event.payload["job_id"], event.payload["status"]) == ("nightly:job-8", "succeeded")


def test_a_schedule_that_is_not_there(schedule: Schedule) -> None:
    with pytest.raises(ServiceRefused, match="JobScheduleNotFound"):
        a_sensor(job_id=None, job_schedule_id="weekly", deferrable=True).execute(CONTEXT)


@pytest.mark.usefixtures("schedule")
async def test_a_schedule_that_is_not_there_is_an_error_at_once_in_the_triggerer_too() -> None:
    with pytest.raises(ConfigurationError, match=r"^There is no job schedule 'weekly' on http://127\.0\.0\.1"):
        await asyncio.wait_for(event_of(Trigger(job_schedule_id="weekly")), 60)
    trigger = Trigger(job_schedule_id="weekly", end_from_trigger=True)
    event = await asyncio.wait_for(event_of(trigger), 60)
    assert isinstance(event, TaskFailedEvent) == AIRFLOW_3_3
    (line,) = (line for line in trigger.lines.kept if line.startswith("error"))
    assert "No job of job schedule weekly can be followed: There is no job schedule 'weekly' on http" in line
    assert "left alone" not in line
    assert "Job ''" not in line


async def test_a_schedule_out_of_sight_is_named(schedule: Schedule) -> None:
    schedule.away = True
    event = (await asyncio.wait_for(event_of(Trigger(job_schedule_id="nightly", out_of_sight=0.5)), 60)).payload
    with pytest.raises(ServiceUnavailable, match=r"^Job schedule 'nightly' is out of sight: .*HTTP 503") as caught:
        verdict_of_event(event)
    assert "left alone" not in str(caught.value)


async def test_a_sensor_that_was_handed_another_tasks_event_goes_on_with_its_own_job(schedule: Schedule) -> None:
    """Though the schedule has made another one meanwhile."""
    schedule.completed = False
    first = deferred(a_sensor(job_id=None, job_schedule_id="nightly", deferrable=True))
    schedule.recent = "nightly:job-8"
    with pytest.raises(TaskDeferred) as again:
        a_sensor(job_id=None, job_schedule_id="nightly", deferrable=True).execute_complete(
            CONTEXT, {"job_id": "another", "status": "failed"}, **first.kwargs
        )
    assert again.value.trigger.serialize() == first.trigger.serialize()
    assert again.value.trigger.job_id == "nightly:job-7"


def test_a_sensor_that_knows_no_job_yet_takes_only_what_is_for_it(schedule: Schedule) -> None:
    schedule.recent = None
    context: Any = {"ti": Instance("ours")}
    event = {"job_id": "another", "status": "succeeded", "for": "theirs"}

    def resumed(event: dict[str, Any]) -> Any:
        sensor = a_sensor(job_id=None, job_schedule_id="nightly", deferrable=True)
        return sensor.execute_complete(context, event, job_id="")

    with pytest.raises(TaskDeferred):
        resumed(event)
    assert resumed(event | {"for": "ours"})["job_id"] == "another"
    assert "for" not in resumed(event | {"for": "ours"})


# -- rescheduled: each poke in a process of its own --------------------------------------------------------------


def rescheduled(context: Any, **arguments: Any) -> Any:
    """One poke; its result, or "later"."""
    sensor = a_sensor(**{"deferrable": False, "mode": "reschedule", "poke_interval": 60, **arguments})
    try:
        return sensor.execute(context)
    except AirflowRescheduleException:
        return "later"


@pytest.mark.skipif(not followed.LASTS, reason="Airflow 3.2 keeps nothing between two pokes")
def test_a_rescheduled_sensor_keeps_to_the_job_that_it_began_with(schedule: Schedule) -> None:
    context: Any = {"ti": Instance("first"), "task_state_store": Store()}
    nightly = {"job_id": None, "job_schedule_id": "nightly"}
    schedule.completed = False
    assert rescheduled(context, **nightly) == "later"
    schedule.recent = "nightly:job-8"
    assert rescheduled(context, **nightly) == "later"
    schedule.completed = True
    assert rescheduled(context, **nightly)["job_id"] == "nightly:job-7"
    # A retry is another wait.
    context["ti"] = Instance("second")
    assert rescheduled(context, **nightly)["job_id"] == "nightly:job-8"


@pytest.mark.skipif(not followed.LASTS, reason="Airflow 3.2 keeps nothing between two pokes")
def test_a_rescheduled_sensor_notices_that_its_job_was_deleted(local_batch: LocalBatch) -> None:
    context: Any = {"ti": Instance("first"), "task_state_store": Store()}
    assert rescheduled(context, job_must_exist=False) == "later"
    submit("j", "sleep 60")
    assert rescheduled(context, job_must_exist=False) == "later"
    local_batch.engine.reset()
    with pytest.raises(JobLost, match="deleted while it was followed"):
        rescheduled(context, job_must_exist=False)
    submit("j", "sleep 60")  # another job of the same id
    with pytest.raises(JobLost, match="deleted while it was followed"):
        rescheduled(context, job_must_exist=False)


def test_a_store_that_keeps_nothing_stops_no_poke(schedule: Schedule) -> None:
    class Full(Store):
        def set(self, key: str, value: Any) -> None:
            raise RuntimeError("no room")

    schedule.completed = False
    assert rescheduled({"ti": Instance("a"), "task_state_store": Full()}, job_id="nightly:job-7") == "later"


@pytest.mark.parametrize("arguments", [{"job_id": None, "job_schedule_id": "nightly"}, {"job_must_exist": False}])
def test_airflow_3_2_cannot_keep_what_a_rescheduled_sensor_follows(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.sensors.followed.LASTS", False)
    with pytest.warns(UserWarning, match="with Airflow 3.2 a sensor in the mode 'reschedule' knows at no poke"):
        a_sensor(deferrable=False, mode="reschedule", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a_sensor(deferrable=True, mode="reschedule", **arguments)
        a_sensor(deferrable=False, mode="poke", **arguments)
        a_sensor(deferrable=False, mode="reschedule")
