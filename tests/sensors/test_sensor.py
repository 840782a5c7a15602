"""The sensor on a worker: what it looks at, when it defers and with what, and how it ends."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, XComArg, task
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import (
    AccountError,
    ConfigurationError,
    JobFailed,
    JobLost,
    JobManagerError,
    JobTimedOut,
    ServiceRefused,
    ServiceUnavailable,
)
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.sensors import job_manager
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor
from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger
from tests.sensors.sensing import CONTEXT, a_sensor, deferred
from tests.triggers.running import event_of, submit, wait_until_completed

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch


# -- at parse time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"wait_for": "task"}, "wait_for must be 'job' or 'job_manager', not 'task'"),
        ({"children": "maybe"}, "children must be 'count' or 'ignore', not 'maybe'"),
        ({"job_id": None}, "exactly one of job_id and job_schedule_id"),
        ({"job_schedule_id": "s"}, "exactly one of job_id and job_schedule_id"),
        ({"job_id": ""}, r"job_id must be the id of a job \(.*\); it came to nothing"),
        ({"job_id": "a/b"}, "job_id must be .* it came to 'a/b'"),
        ({"job_id": "x" * 65}, "job_id must be .* it came to a text of 65 characters"),
        ({"job_id": ["j"]}, "job_id must be .* it came to a list of 1 items"),
        ({"job_id": None, "job_schedule_id": "nightly:job-1"}, "job_schedule_id must be the id of a job schedule"),
        ({"poll_interval": 0}, "poll_interval must be seconds above 0, not 0"),
        ({"poll_interval": "5"}, "poll_interval must be seconds above 0, not '5'"),
        ({"out_of_sight": -1}, "out_of_sight must be seconds above 0, not -1"),
        ({"start_from_trigger": True, "deferrable": False}, "deferrable=False forbids that"),
        *(
            ({name: "false"}, f"{name} must be True or False and can't be a template; found a text of 5 characters")
            for name in ("job_must_exist", "deferrable", "start_from_trigger", "end_from_trigger")
        ),
    ],
)
def test_what_cannot_work_is_refused_when_the_dag_is_read(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Task 's': .*{said}"):
        a_sensor(**arguments)


@pytest.mark.skipif(not job_manager._RENDERS_IN_TRIGGERER, reason="Airflow 3.2 begins a templated sensor on a worker")
def test_starting_in_the_triggerer_hands_over_everything() -> None:
    sensor = a_sensor(
        job_id="{{ params.job }}", start_from_trigger=True, soft_fail=True, timeout=timedelta(hours=1), children="count"
    )
    assert sensor.start_from_trigger is True
    assert sensor.deferrable is True
    arguments = sensor.start_trigger_args
    assert arguments.trigger_cls == AzureBatchJobManagerTrigger(job_id="j").serialize()[0]
    assert arguments.timeout == timedelta(hours=1, minutes=1)
    assert arguments.next_method == "execute_complete"
    kwargs = arguments.trigger_kwargs
    assert (kwargs["job_id"], kwargs["soft_fail"], kwargs["end_from_trigger"], kwargs["children_count"]) == (
        "{{ params.job }}",
        True,
        True,
        True,
    )
    AzureBatchJobManagerTrigger(**kwargs)
    assert AzureBatchJobManagerSensor.start_trigger_args is None
    assert a_sensor().start_from_trigger is False


@pytest.mark.parametrize(
    ("timeout", "execution_timeout", "waits"),
    [
        (3600, None, 3600),
        (5, None, 5),
        (3600, 50, 37.5),  # three quarters of what there is
        (3600, 20, 15),
        (3600, 1800, 1785),
        (3600, 3600, 3585),
        (3600, 3630, 3600),
        (3600, 7200, 3600),
    ],
)
async def test_starting_in_the_triggerer_the_time_counts_from_the_tasks_start(
    timeout: float, execution_timeout: float | None, waits: float
) -> None:
    limits = {} if execution_timeout is None else {"execution_timeout": timedelta(seconds=execution_timeout)}
    arguments = a_sensor(start_from_trigger=True, timeout=timeout, **limits).start_trigger_args
    trigger = AzureBatchJobManagerTrigger(**arguments.trigger_kwargs)
    # As the scheduler does, which takes the shorter one.
    ends = min([arguments.timeout, *limits.values()])
    trigger.timeout_after = datetime.now(timezone.utc) + ends
    assert trigger._remaining() == pytest.approx(waits, abs=1)


def test_mapped_tasks_begin_on_a_worker_and_wait_in_the_triggerer() -> None:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        with pytest.warns(UserWarning, match="Task 'm': a mapped task can't start from the trigger"):
            partial = AzureBatchJobManagerSensor.partial(task_id="m", start_from_trigger=True)
        mapped = partial.expand(job_id=["a", "b"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            AzureBatchJobManagerSensor.partial(task_id="plain").expand(job_id=["a"])
        with pytest.raises(ConfigurationError, match=r"Task 'w': .*deferrable=False forbids that"):
            AzureBatchJobManagerSensor.partial(task_id="w", start_from_trigger=True, deferrable=False)
    back = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    for name in ("m", "plain"):
        assert (back.get_task(name).start_from_trigger, back.get_task(name).start_trigger_args) == (False, None)
    assert mapped.partial_kwargs["deferrable"] is True
    sensor = mapped.unmap({"job_id": "b"})
    assert (sensor.job_id, sensor.deferrable, sensor.end_from_trigger) == ("b", True, True)


def test_default_args_do_not_start_mapped_tasks_from_the_trigger() -> None:
    with DAG("d", schedule=None, default_args={"start_from_trigger": True}):
        mapped = AzureBatchJobManagerSensor.partial(task_id="m").expand(job_id=["a"])
    assert (mapped.start_from_trigger, mapped.start_trigger_args) == (False, None)
    assert mapped.unmap({"job_id": "a"}).deferrable is True


@pytest.mark.skipif(not job_manager._RENDERS_IN_TRIGGERER, reason="Airflow 3.2 begins a templated sensor on a worker")
def test_the_job_of_an_earlier_task() -> None:
    """An XComArg becomes the template that means the same, and the dependency stays."""
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:

        @task
        def submit_it() -> str:
            return "j"

        output = submit_it()
        sensor = AzureBatchJobManagerSensor(task_id="s", job_id=output, start_from_trigger=True)
    assert isinstance(sensor.job_id, XComArg)
    assert "xcom_pull" in sensor.start_trigger_args.trigger_kwargs["job_id"]
    assert sensor.upstream_task_ids == {"submit_it"}
    read_back = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag)))).get_task("s")
    assert read_back.start_from_trigger is True
    assert (
        read_back.start_trigger_args.trigger_kwargs["__var"]["job_id"]
        == sensor.start_trigger_args.trigger_kwargs["job_id"]
    )


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("name", ["job_id", "job_schedule_id"])
def test_a_template_that_comes_to_nothing(name: str, native: bool) -> None:
    with DAG("d", schedule=None, render_template_as_native_obj=native) as dag:
        sensor = AzureBatchJobManagerSensor(task_id="s", deferrable=True, **{name: "{{ params.nothing }}"})
    sensor.render_template_fields({"params": {"nothing": None if native else ""}, "dag": dag})

    for act in (sensor.poke, sensor.execute):
        with pytest.raises(ConfigurationError, match=f"Task 's': {name} must be .*; it came to nothing"):
            act(CONTEXT)


def test_airflow_3_2_begins_a_templated_sensor_on_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_manager, "_RENDERS_IN_TRIGGERER", False)
    with pytest.warns(UserWarning, match="start_from_trigger with a template needs Airflow 3.3"):
        assert a_sensor(job_id="{{ params.job }}", start_from_trigger=True).start_from_trigger is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert a_sensor(job_id="plain", start_from_trigger=True).start_from_trigger is True


# -- over the local service --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("local_batch")
class TestLooking:
    def test_a_job_that_is_over_needs_no_deferral(self) -> None:
        submit("j", "exit 0")
        wait_until_completed("j")
        assert a_sensor(deferrable=True).execute(CONTEXT)["status"] == "succeeded"

    def test_a_job_that_failed(self) -> None:
        submit("j", "exit 3")
        wait_until_completed("j")
        with pytest.raises(JobFailed, match="exited with code 3"):
            a_sensor(deferrable=True).execute(CONTEXT)
        for arguments in ({"soft_fail": True}, {"never_fail": True}):
            for deferrable in (True, False):
                with pytest.raises(AirflowSkipException):
                    a_sensor(deferrable=deferrable, **arguments).execute(CONTEXT)

    @pytest.mark.parametrize(
        ("kill", "children", "status"),
        [
            (False, None, "failed"),
            (False, "ignore", "succeeded"),
            (True, None, "succeeded"),
            (True, "count", "failed"),
        ],
    )
    async def test_failed_children(self, kill: bool, children: str | None, status: str) -> None:
        """Where nobody says whether they count, the job does: the operator that made it judges it likewise."""
        manager = {"killJobOnCompletion": kill, "runExclusive": False}
        submit("j", "sleep 2", manager=manager, onAllTasksComplete="terminatejob")
        AzureBatchJobManagerHook().client.call(
            calls.post("jobs", "j", "tasks", json={"id": "child", "commandLine": "/bin/sh -c 'exit 1'"})
        )
        sensor = a_sensor(children=children, start_from_trigger=True, end_from_trigger=False, poll_interval=0.1)

        event = await event_of(AzureBatchJobManagerTrigger(**sensor.start_trigger_args.trigger_kwargs))

        assert event.payload["status"] == status
        if status == "succeeded":
            assert sensor.poke(CONTEXT).is_done
        else:
            with pytest.raises(JobFailed, match="1 child task failed"):
                sensor.poke(CONTEXT)

    def test_deferring_hands_over_what_is_known(self) -> None:
        job = submit("j", "sleep 60")
        pause = deferred(a_sensor(deferrable=True, timeout=100, job_must_exist=False, wait_for="job_manager"))
        assert pause.timeout == timedelta(seconds=160)
        trigger = pause.trigger
        assert isinstance(trigger, AzureBatchJobManagerTrigger)
        assert (trigger.created_at, trigger.job_must_exist) == (job["creationTime"], True)
        assert (trigger.wait_for, trigger.owner, trigger.end_from_trigger) == ("job_manager", None, False)

    def test_an_id_of_digits_that_native_rendering_made_a_number(self) -> None:
        with DAG("d", schedule=None, render_template_as_native_obj=True) as dag:
            sensor = AzureBatchJobManagerSensor(task_id="s", job_id="{{ ds_nodash }}", deferrable=True)
        sensor.render_template_fields({"ds_nodash": "20260131", "dag": dag})
        submit("20260131", "sleep 60")

        assert not sensor.poke(CONTEXT).is_done
        assert deferred(sensor).trigger.job_id == "20260131"

    def test_a_job_that_is_not_there(self) -> None:
        for deferrable in (True, False):
            with pytest.raises(JobLost, match=r"Job 'j' is not there\.\n.*job_must_exist=False"):
                a_sensor(deferrable=deferrable).execute(CONTEXT)
        assert deferred(a_sensor(deferrable=True, job_must_exist=False)).trigger.job_must_exist is False

    async def test_there_and_back(self) -> None:
        submit("j", "sleep 1; exit 3")
        sensor = a_sensor(deferrable=True, poll_interval=0.2)
        event = await event_of(deferred(sensor).trigger)
        with pytest.raises(JobFailed):
            sensor.execute_complete(CONTEXT, event.payload)
        with pytest.raises(AirflowSkipException):
            a_sensor(soft_fail=True).execute_complete(CONTEXT, event.payload)

    def test_poking(self) -> None:
        submit("j", "sleep 1")
        assert a_sensor(deferrable=False).execute(CONTEXT)["status"] == "succeeded"

    def test_poking_until_its_own_timeout(self) -> None:
        submit("j", "sleep 60")
        with pytest.raises(AirflowSensorTimeout):
            a_sensor(deferrable=False, timeout=1).execute(CONTEXT)
        with pytest.raises(AirflowSkipException):
            a_sensor(deferrable=False, timeout=1, soft_fail=True).execute(CONTEXT)

    def test_a_later_job_of_the_same_id_is_another_job(self) -> None:
        job = submit("j", "sleep 60")
        sensor = a_sensor(deferrable=False)
        assert not sensor.poke(CONTEXT).is_done
        sensor._created_at = "2001-01-01T00:00:00Z"
        with pytest.raises(JobLost, match="deleted while it was followed"):
            sensor.poke(CONTEXT)
        sensor._created_at = job["creationTime"]
        assert not sensor.poke(CONTEXT).is_done

    @pytest.mark.parametrize("code", [None, "soft_fail", "never_fail"])
    async def test_deferred_until_its_own_timeout(self, code: str | None) -> None:
        """As when poking: Airflow does not retry it."""
        submit("j", "sleep 60")
        sensor = a_sensor(deferrable=True, timeout=1, poll_interval=0.1, **({code: True} if code else {}))
        pause = deferred(sensor)
        event = await event_of(pause.trigger)
        with pytest.raises(AirflowSkipException if code else AirflowSensorTimeout, match="ran out of time") as caught:
            sensor.execute_complete(CONTEXT, event.payload, **pause.kwargs)
        assert "deadline of the Airflow task passed; the job was left alone" in str(caught.value)
        if code is None:
            assert caught.value.verdict.status == "timed_out"

    async def test_a_job_that_the_service_timed_out(self) -> None:
        submit("j", "sleep 60", constraints={"maxWallClockTime": "PT1S"})
        sensor = a_sensor(deferrable=True, poll_interval=0.1)
        event = await event_of(deferred(sensor).trigger)
        with pytest.raises(JobTimedOut, match="MaxWallClockTimeExpiry"):
            sensor.execute_complete(CONTEXT, event.payload)

    def test_rescheduling(self) -> None:
        submit("j", "sleep 60")

        with pytest.raises(AirflowRescheduleException):
            a_sensor(deferrable=False, mode="reschedule").execute(CONTEXT)

    def test_poking_for_a_job_that_comes_and_goes(self, local_batch: LocalBatch) -> None:
        sensor = a_sensor(deferrable=False, job_must_exist=False)
        assert not sensor.poke(CONTEXT).is_done
        submit("j", "sleep 60")
        assert not sensor.poke(CONTEXT).is_done
        local_batch.engine.reset()
        with pytest.raises(JobLost):
            sensor.poke(CONTEXT)

    def test_trouble_while_poking_is_waited_out(self, local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(job_manager, "_LOOK_PATIENCE", 0.1)
        submit("j", "exit 0")
        wait_until_completed("j")
        local_batch.faults.add(then="answer", status=503, times=6)
        assert a_sensor(deferrable=False).execute(CONTEXT)["status"] == "succeeded"
        local_batch.faults.add(then="answer", status=503)
        with pytest.raises(ServiceUnavailable):
            a_sensor(deferrable=False, out_of_sight=1).execute(CONTEXT)

    def test_trouble_at_the_first_look_is_waited_out_in_the_triggerer(
        self, local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(job_manager, "_LOOK_PATIENCE", 0.1)
        local_batch.faults.add(then="answer", status=503)
        assert deferred(a_sensor(deferrable=True)).trigger.job_id == "j"

    def test_a_refusal_is_said_at_once(self, local_batch: LocalBatch) -> None:
        local_batch.faults.add(then="answer", status=403, code="AuthenticationFailed")
        for deferrable in (True, False):
            with pytest.raises(ServiceRefused, match="HTTP 403 AuthenticationFailed"):
                a_sensor(deferrable=deferrable).execute(CONTEXT)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"job_id": "j", "status": "out_of_sight", "reason": "no answer"}, ServiceUnavailable),
        ({"job_id": "j", "status": "misconfigured", "reason": "no account_url"}, ConfigurationError),
        ({"job_id": "j", "status": "lost"}, JobLost),
    ],
)
@pytest.mark.usefixtures("local_batch")
def test_events_that_are_no_success(event: dict[str, Any], kind: type[JobManagerError]) -> None:
    with pytest.raises(kind):
        a_sensor().execute_complete(CONTEXT, event)


@pytest.mark.parametrize("event", [{"job_id": "another", "status": "failed"}, {"queueing": {}}, None])
@pytest.mark.usefixtures("local_batch")
def test_an_event_of_another_job_ends_nothing(event: Any) -> None:
    """Airflow may give a trigger the number of one that ended, whose last word then arrives here."""
    submit("j", "sleep 60")
    submit("another", "false")
    first = deferred(a_sensor(deferrable=True))
    with pytest.raises(TaskDeferred) as again:
        a_sensor(deferrable=True).execute_complete(CONTEXT, event, **first.kwargs)
    assert again.value.trigger.serialize() == first.trigger.serialize()  # the deadline, too


def test_a_connection_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps({"conn_type": "azure_batch_job_manager"}))
    with pytest.raises(AccountError):
        a_sensor(azure_batch_conn_id="wrong", deferrable=True).execute(CONTEXT)
