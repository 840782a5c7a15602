"""The sensor: follows a job that somebody else started, to its end."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_jobmanager.connection import DEFAULT_CONN_ID
from airflow_provider_jobmanager.errors import ConfigurationError, JobManagerError
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.operators.outcome import raise_unless_succeeded, verdict_of_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook


class AzureBatchJobManagerSensor(BaseSensorOperator):
    """Wait until an Azure Batch job has ended; succeed or fail as it did. The job is never touched.

    Args:
        job_id: the job; templated.
        azure_batch_conn_id: connection to the Batch account; templated.
        wait_for: the end of the whole ``"job"`` (as ``killJobOnCompletion`` causes it), or of the ``"job_manager"``.
        children: ``"count"`` or ``"ignore"`` failed child tasks of an otherwise succeeded job.
        job_must_exist: False waits for a job that is not there yet; True fails at once when it is not there.
        deferrable: wait in the triggerer. Default: Airflow's ``[operators] default_deferrable``. Otherwise ``mode``
            is ``"poke"`` or ``"reschedule"`` as with any sensor, and ``poke_interval`` holds.
        poll_interval: seconds between two looks while deferred.
        out_of_sight: seconds without any usable answer of the service after which the task fails.
    """

    template_fields: Sequence[str] = ("job_id", "azure_batch_conn_id")
    operator_extra_links = links.LINKS
    ui_color = "#e6f2ff"

    def __init__(
        self,
        *,
        job_id: str,
        azure_batch_conn_id: str = DEFAULT_CONN_ID,
        wait_for: WaitFor = "job",
        children: str = "ignore",
        job_must_exist: bool = True,
        deferrable: bool | None = None,
        poll_interval: float = 5.0,
        out_of_sight: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.azure_batch_conn_id = azure_batch_conn_id
        self.wait_for = wait_for
        self.children = children
        self.job_must_exist = job_must_exist
        self.deferrable = conf.getboolean("operators", "default_deferrable") if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.out_of_sight = out_of_sight
        self._linked = False
        for name, allowed in (("wait_for", ("job", "job_manager")), ("children", ("count", "ignore"))):
            if getattr(self, name) not in allowed:
                choices = " or ".join(map(repr, allowed))
                raise ConfigurationError(
                    f"Task {self.task_id!r}: {name} must be {choices}, not {getattr(self, name)!r}."
                )

    @cached_property
    def hook(self) -> AzureBatchJobManagerHook:
        """The hook of the sensor's connection."""
        from airflow_provider_jobmanager.hooks.job_manager import (  # noqa: PLC0415 - a DAG file needs no hook
            AzureBatchJobManagerHook,
        )

        return AzureBatchJobManagerHook(self.azure_batch_conn_id)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        self._link(context)
        verdict = self._look()
        if verdict is None:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._finish(verdict))

    def execute(self, context: Context) -> Any:
        """Look once; unless the job is over, wait in the triggerer or as any sensor does."""
        if not self.deferrable:
            return super().execute(context)
        self._link(context)
        try:
            verdict = self._look()
            if verdict is not None:
                return self._finish(verdict)
        except JobManagerError as error:
            raise self._softened(error) from error
        from airflow_provider_jobmanager.triggers.job_manager import (  # noqa: PLC0415 - as above
            AzureBatchJobManagerTrigger,
        )

        trigger = AzureBatchJobManagerTrigger(
            job_id=self.job_id,
            azure_batch_conn_id=self.azure_batch_conn_id,
            poll_interval=self.poll_interval,
            wait_for=self.wait_for,
            children_count=self.children == "count",
            job_must_exist=self.job_must_exist,
            deadline=time.time() + self.timeout,
            out_of_sight=self.out_of_sight,
        )
        return self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:  # noqa: ARG002 - Airflow's signature
        """Take up the verdict that the trigger brought."""
        try:
            return self._finish(verdict_of_event(event))
        except JobManagerError as error:
            raise self._softened(error) from error

    def _link(self, context: Context) -> None:
        if not self._linked:
            links.push(context["ti"], self.hook.account, self.job_id)
            self._linked = True

    def _look(self) -> Verdict | None:
        verdict = self.hook.get_verdict(self.job_id, wait_for=self.wait_for, children_count=self.children == "count")
        if verdict is not None and verdict.status == "lost" and not self.job_must_exist:
            self.log.info("Job %s is not there yet.", self.job_id)
            return None
        return verdict

    def _finish(self, verdict: Verdict) -> Any:
        self.log.info("%s", verdict.summary())
        raise_unless_succeeded(verdict)
        return verdict.as_dict()

    def _softened(self, error: JobManagerError) -> Exception:
        return AirflowSkipException(str(error)) if self.soft_fail or self.never_fail else error
