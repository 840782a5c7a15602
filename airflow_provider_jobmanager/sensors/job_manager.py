"""The sensor: follows a job that somebody else started, to its end."""

from __future__ import annotations

import time
import warnings
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs
from attrs import frozen

from airflow_provider_jobmanager.batch.ids import followed_id
from airflow_provider_jobmanager.batch.values import templated
from airflow_provider_jobmanager.batch.verdict import Verdict, moment
from airflow_provider_jobmanager.errors import (
    ConfigurationError,
    JobManagerError,
    JobOutcomeError,
    ServiceUnavailable,
)
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.operators.flags import check_flag
from airflow_provider_jobmanager.operators.outcome import (
    is_news_of,
    raise_unless_succeeded,
    report_on,
    verdict_of_event,
)
from airflow_provider_jobmanager.operators.times import check_seconds
from airflow_provider_jobmanager.provider_info import DEFAULT_CONN_ID
from airflow_provider_jobmanager.sensors import followed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_jobmanager.batch.calls import Json
    from airflow_provider_jobmanager.batch.verdict import WaitFor
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

_RENDERS_IN_TRIGGERER = tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 3)
_TRIGGER = "airflow_provider_jobmanager.triggers.job_manager.AzureBatchJobManagerTrigger"
_LOOK_PATIENCE = 10.0
_AFTER_TIMEOUT = 60.0
"""Seconds after the sensor's timeout at which Airflow ends the deferral, should no triggerer have done it."""
_LAST_WORD = 15.0
_OWN_DEADLINE = "DeadlineExceeded"  # batch.stopping.DEADLINE, which a DAG file does not load
_NO_TRIGGERER = "start_from_trigger waits in the triggerer, and deferrable=False forbids that."


@frozen
class _Sighting:
    """What a look showed.

    Attributes:
        job_id: the job, empty while a schedule has made none.
        verdict: None while the job goes on.
    """

    job_id: str
    verdict: Verdict | None = None


class AzureBatchJobManagerSensor(BaseSensorOperator):
    """Wait until an Azure Batch job has ended; succeed or fail as it did. The job is never touched.

    Args:
        job_id: the job; templated. Exactly one of this and ``job_schedule_id``.
        job_schedule_id: follow the newest job of this schedule; templated. Which one that is, is asked once, when the
            wait begins; a schedule that has made no job yet is waited for. (In the mode ``"reschedule"`` with Airflow
            3.2, which keeps nothing between two pokes, each poke asks; the sensor warns of it.)
        azure_batch_conn_id: connection to the Batch account; templated.
        wait_for: the end of the whole ``"job"`` (as ``killJobOnCompletion`` causes it), or of the ``"job_manager"``.
        children: ``"count"`` or ``"ignore"`` failed child tasks of an otherwise succeeded job. Default: they count when
            the job's ``killJobOnCompletion`` is false, since then nobody but the job's tasks says how it went.
        job_must_exist: False waits for a job that is not there yet; True fails when it is not there. A job that was
            there and is not any more is lost. (Not so in the mode ``"reschedule"`` with Airflow 3.2: as above.)
        deferrable: wait in the triggerer. Default: Airflow's ``[operators] default_deferrable``. Otherwise ``mode``
            is ``"poke"`` or ``"reschedule"`` as with any sensor, and ``poke_interval`` holds.
        start_from_trigger: begin in the triggerer, without any worker. Templates are rendered there from Airflow 3.3
            on; with 3.2 and a template the task begins on a worker, with a warning. So do mapped tasks always.
        end_from_trigger: end in the triggerer too, without a worker. Default: as ``start_from_trigger``. On Airflow
            3.2 a failure goes back to a worker, because a task that failed in the triggerer would lose its retries; and
            with retries the end of the sensor's own ``timeout`` does, because that is not retried.
        poll_interval: seconds between two looks while deferred.
        out_of_sight: seconds without any usable answer of the service after which the task fails. In the mode
            ``"reschedule"`` the sensor's ``timeout`` alone holds.
    """

    template_fields: Sequence[str] = ("job_id", "job_schedule_id", "azure_batch_conn_id")
    operator_extra_links = links.LINKS
    ui_color = "#e6f2ff"

    def __init__(
        self,
        *,
        job_id: str | None = None,
        job_schedule_id: str | None = None,
        azure_batch_conn_id: str = DEFAULT_CONN_ID,
        wait_for: WaitFor = "job",
        children: str | None = None,
        job_must_exist: bool = True,
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        end_from_trigger: bool | None = None,
        poll_interval: float = 5.0,
        out_of_sight: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.job_schedule_id = job_schedule_id
        # Of the arguments: once rendered they don't tell any more.
        self._followed = "job_id" if job_schedule_id is None else "job_schedule_id"
        self.azure_batch_conn_id = azure_batch_conn_id
        self.wait_for = wait_for
        self.children = children
        self.job_must_exist = job_must_exist
        default = start_from_trigger or conf.getboolean("operators", "default_deferrable")
        self.deferrable = default if deferrable is None else deferrable
        self.end_from_trigger = start_from_trigger if end_from_trigger is None else end_from_trigger
        self.poll_interval = poll_interval
        self.out_of_sight = out_of_sight
        self._check_arguments(start_from_trigger=start_from_trigger)
        self._blind_since: float | None = None
        self._seen: str | None = None
        self._created_at: str | None = None
        self._deadline: float | None = None
        self._linked = False
        if start_from_trigger:
            self._start_from_trigger()

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map as any operator does. Airflow can begin no mapped task in the triggerer: it begins on a worker, then."""
        if kwargs.pop("start_from_trigger", False):
            # What Airflow takes from here for the trigger would be the same for all, and lacks what is mapped.
            if kwargs.get("deferrable") is False:
                raise ConfigurationError(f"Task {kwargs.get('task_id')!r}: {_NO_TRIGGERER}")
            end_from_trigger = kwargs.get("end_from_trigger")
            kwargs |= {"deferrable": True, "end_from_trigger": True if end_from_trigger is None else end_from_trigger}
            warnings.warn(
                f"Task {kwargs.get('task_id')!r}: a mapped task can't start from the trigger; each begins on a worker "
                "and waits in the triggerer.",
                UserWarning,
                stacklevel=2,
            )
        return super().partial(**kwargs)

    @cached_property
    def hook(self) -> AzureBatchJobManagerHook:
        """The hook of the sensor's connection."""
        from airflow_provider_jobmanager.hooks.job_manager import (  # noqa: PLC0415 - a DAG file needs no hook
            AzureBatchJobManagerHook,
        )

        return AzureBatchJobManagerHook(self.azure_batch_conn_id)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        try:
            sighting = self._look(context)
            self._blind_since = None
            if sighting.verdict is None:
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._finish(sighting.verdict))
        except ServiceUnavailable as error:
            self._blind(error)
            return PokeReturnValue(is_done=False)
        except JobManagerError as error:
            raise self._softened(error) from error

    def execute(self, context: Context) -> Any:
        """Look once; unless the job is over, wait in the triggerer or as any sensor does."""
        if not self.deferrable:
            return super().execute(context)
        try:
            sighting = self._look(context)
            if sighting.verdict is not None:
                return self._finish(sighting.verdict)
        except ServiceUnavailable as error:
            self.log.warning("The Batch service can't be asked at the moment: %s Waiting in the triggerer.", error)
            sighting = _Sighting(self._seen or self.job_id or "")
        except JobManagerError as error:
            raise self._softened(error) from error
        return self._defer(sighting)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any],
        job_id: str | None = None,
        created_at: str | None = None,
        deadline: float | None = None,
    ) -> Any:
        """Take up the verdict that the trigger brought.

        Args:
            context: Airflow's.
            event: what it brought.
            job_id: the job that was followed when the task was deferred; None when ``dag.test()`` lost it.
            created_at: when that job was created; None while nobody has seen it.
            deadline: when the wait ends, in seconds since the epoch.
        """
        if not is_news_of(event, job_id or self.job_id, context["ti"]):
            self.log.info("What a trigger brought is not for this task (job %s): going on.", job_id or self.job_id)
            if created_at or self._followed == "job_schedule_id":
                self._seen, self._created_at = job_id or None, created_at
            self._deadline = deadline
            return self.execute(context)
        try:
            return self._finish(verdict_of_event(event))
        except JobManagerError as error:
            raise self._softened(error) from error

    def _defer(self, sighting: _Sighting) -> Any:
        from airflow_provider_jobmanager.triggers.job_manager import (  # noqa: PLC0415 - as above
            AzureBatchJobManagerTrigger,
        )

        arguments = self._trigger_arguments()
        if sighting.job_id:
            arguments |= {"job_id": sighting.job_id, "job_schedule_id": ""}
        if self._seen:
            # It is there: should it go, also while no triggerer runs, it is lost.
            arguments |= {"created_at": self._created_at, "job_must_exist": True}
        now = time.time()
        deadline = now + self.timeout if self._deadline is None else self._deadline
        return self.defer(
            trigger=AzureBatchJobManagerTrigger(**arguments, deadline=deadline),
            method_name="execute_complete",
            kwargs={"job_id": sighting.job_id, "created_at": self._created_at, "deadline": deadline},
            timeout=timedelta(seconds=max(0.0, deadline - now) + _AFTER_TIMEOUT),
        )

    @property
    def _children_count(self) -> bool | None:
        return None if self.children is None else self.children == "count"

    def _trigger_arguments(self) -> dict[str, Any]:
        return {
            # The text of an XComArg is a template of the same meaning.
            "job_id": "" if self.job_id is None else str(self.job_id),
            "job_schedule_id": "" if self.job_schedule_id is None else str(self.job_schedule_id),
            "azure_batch_conn_id": str(self.azure_batch_conn_id),
            "poll_interval": self.poll_interval,
            "wait_for": self.wait_for,
            "children_count": self._children_count,
            "job_must_exist": self.job_must_exist,
            "out_of_sight": self.out_of_sight,
            "end_from_trigger": self.end_from_trigger,
            "soft_fail": self.soft_fail or self.never_fail,
            "retries_follow": bool(self.retries),
        }

    def _start_from_trigger(self) -> None:
        arguments = self._trigger_arguments()
        if not _RENDERS_IN_TRIGGERER and any("{" in arguments[name] for name in self.template_fields):
            warnings.warn(
                f"Task {self.task_id!r}: start_from_trigger with a template needs Airflow 3.3; "
                "the task begins on a worker.",
                UserWarning,
                stacklevel=4,
            )
            return
        self.start_from_trigger = True
        longest = self.timeout + _AFTER_TIMEOUT
        # Airflow ends the deferral at the task's execution_timeout too. Both count from the task's start, which the
        # trigger learns only from the time when that will be.
        limit = longest if self.execution_timeout is None else min(longest, self.execution_timeout.total_seconds())
        margin = max(limit - self.timeout, min(_LAST_WORD, limit / 4))
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=_TRIGGER,
            next_method="execute_complete",
            trigger_kwargs={**arguments, "deferral_margin": margin},
            timeout=timedelta(seconds=longest),
        )

    def _look(self, context: Context) -> _Sighting:
        from airflow_provider_jobmanager.batch import flows  # noqa: PLC0415 - as above
        from airflow_provider_jobmanager.batch.patience import Patience  # noqa: PLC0415 - as above

        self._settle_id()
        self._recall(context)
        patience = Patience(seconds=_LOOK_PATIENCE)
        job_id = self._seen or self.job_id
        if not job_id:
            job_id = self.hook.perform(flows.newest_job(str(self.job_schedule_id), patience=patience))
        if not job_id:
            self.log.info("Job schedule %s has made no job yet.", self.job_schedule_id)
            return _Sighting("")
        if not self._linked:
            links.push(context["ti"], self.hook.account, job_id)
            self._linked = True
        job = self.hook.perform(flows.find_job(job_id, patience=patience))
        if job is None and not self.job_must_exist and not self._seen:
            self.log.info("Job %s is not there yet.", job_id)
            return _Sighting(job_id)
        verdict = self.hook.perform(
            flows.read_verdict(
                job_id,
                job=job,
                wait_for=self.wait_for,
                children_count=self._children_count,
                created_at=moment(self._created_at),
                patience=patience,
            )
        )
        if job is not None:
            self._see(context, job)
        elif verdict is not None and verdict.status == "lost" and not self._seen:
            verdict = verdict.evolve(never_seen=True)
        return _Sighting(job_id, verdict)

    def _see(self, context: Context, job: Json) -> None:
        """The job is there: from now on it is this one that is followed."""
        if self._seen is None or self._created_at is None:
            self._seen, self._created_at = str(job["id"]), job.get("creationTime")
            if self._pokes_anew:
                followed.keep(context, self._seen, self._created_at, self.log)

    def _recall(self, context: Context) -> None:
        if self._pokes_anew and self._seen is None and (kept := followed.kept(context)) is not None:
            self._seen, self._created_at = kept

    @property
    def _pokes_anew(self) -> bool:
        """Whether each poke is made in a process of its own."""
        return self.reschedule and not self.deferrable

    def _settle_id(self) -> None:
        """See that a template has come to an id."""
        name = self._followed
        try:
            setattr(self, name, followed_id(name, getattr(self, name)))
        except ConfigurationError as error:
            raise self._wrong(str(error)) from None

    def _blind(self, error: ServiceUnavailable) -> None:
        """The service can't be asked: go on for as long as that may be."""
        now = time.monotonic()
        if self._blind_since is None:
            self._blind_since = now
        if now - self._blind_since >= self.out_of_sight:
            raise self._softened(error) from error
        self.log.warning("The Batch service can't be asked at the moment: %s", error)

    def _finish(self, verdict: Verdict) -> Any:
        self.log.info("%s", verdict.summary())
        raise_unless_succeeded(verdict, report_on(verdict, self.hook, self.log))
        return verdict.as_dict()

    def _softened(self, error: JobManagerError) -> Exception:
        if self.soft_fail or self.never_fail:
            return AirflowSkipException(str(error))
        if isinstance(error, JobOutcomeError) and (error.verdict.failure or {}).get("code") == _OWN_DEADLINE:
            # As when poking: Airflow does not retry it. A job that the service itself timed out is another matter.
            timeout = AirflowSensorTimeout(str(error))
            vars(timeout).update(verdict=error.verdict, report=error.report)
            return timeout
        return error

    def _check_arguments(self, *, start_from_trigger: bool) -> None:
        """Find at parse time what can be known then."""
        for name, allowed in (("wait_for", ("job", "job_manager")), ("children", (None, "count", "ignore"))):
            if getattr(self, name) not in allowed:
                choices = " or ".join(repr(value) for value in allowed if value is not None)
                raise self._wrong(f"{name} must be {choices}, not {getattr(self, name)!r}.")
        if (self.job_id is None) == (self.job_schedule_id is None):
            raise self._wrong("give exactly one of job_id and job_schedule_id.")
        if not templated(getattr(self, self._followed)):
            self._settle_id()
        try:
            check_flag("start_from_trigger", start_from_trigger)  # which the next two may follow
            for name in ("deferrable", "end_from_trigger", "job_must_exist"):
                check_flag(name, getattr(self, name))
            for name in ("poll_interval", "out_of_sight"):
                check_seconds(name, getattr(self, name))
        except ConfigurationError as error:
            raise self._wrong(str(error)) from None
        if start_from_trigger and not self.deferrable:
            raise self._wrong(_NO_TRIGGERER)
        if self._pokes_anew and not followed.LASTS and (self.job_schedule_id is not None or not self.job_must_exist):
            what = "a job that came and was deleted" if self.job_schedule_id is None else "the job that it began with"
            warnings.warn(
                f"Task {self.task_id!r}: with Airflow 3.2 a sensor in the mode 'reschedule' knows at no poke {what}; "
                "use deferrable=True or the mode 'poke', or Airflow 3.3.",
                UserWarning,
                stacklevel=4,
            )

    def _wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"Task {self.task_id!r}: {what}")
