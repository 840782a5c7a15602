"""The operator: runs a command as the job manager task of a new Azure Batch job."""

from __future__ import annotations

import time
import warnings
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf

from airflow_provider_jobmanager.batch.job_manager_task import AUTHENTICATION_TOKEN_RETIRED
from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor
from airflow_provider_jobmanager.connection import DEFAULT_CONN_ID
from airflow_provider_jobmanager.errors import ConfigurationError, ServiceError, ServiceRefused
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.masking import protect
from airflow_provider_jobmanager.operators.outcome import raise_unless_succeeded, verdict_of_event
from airflow_provider_jobmanager.operators.payload import (
    MANAGER_FIELDS,
    check_at_parse_time,
    explained,
    preview,
    request_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context
    from jinja2 import Environment

    from airflow_provider_jobmanager.batch.flows import Submission
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

_FIRST_OUTSIDE = 4  # the frames of this module and of Airflow's own constructor wrapper

XCOM_JOB_ID = "job_id"
XCOM_VERDICT = "verdict"


class AzureBatchJobManagerOperator(BaseOperator):
    """Run a command as the job manager task of a new Azure Batch job, and end as it ended.

    The arguments from ``command_line`` to ``allow_low_priority_node`` are the fields of
    :class:`~airflow_provider_jobmanager.batch.JobManagerTask`. They take dicts (with Python names or the REST API's
    names), objects of ``azure.batch.models`` and this provider's own objects alike, and all strings in them are
    templated.

    Args:
        command_line: what to run; no shell runs it, so write ``/bin/sh -c '…'`` for expansion and redirection.
        pool_id: a pool that exists. Exactly one of this and ``auto_pool``.
        auto_pool: specification of a pool that lives as long as the job (the REST API's ``autoPoolSpecification``).
        job_id: id of the job; by default derived from DAG, task, run, map index and try.
        job_manager_id: id of the job manager task.
        display_name: any text of up to 1024 characters.
        container_settings: the container to run in, on pools with a container configuration.
        resource_files: files to fetch before the command starts.
        output_files: files to upload after it ended.
        environment_settings: a mapping of names to values, or a list of ``{"name": …, "value": …}``.
        constraints: wall clock, retries and retention of the manager.
        required_slots: scheduling slots that the manager takes.
        kill_job_on_completion: whether the manager's end ends the job (the service's default: true).
        user_identity: who the command runs as.
        run_exclusive: no other task on the manager's node while it runs (the service's default: true).
        application_package_references: packages to deploy.
        authentication_token_settings: retired by the service; sent as it is.
        allow_low_priority_node: may run on a Spot node (the service's default: true).
        job: all other settings of the job: priority, constraints, metadata, preparation and release task, common
            environment, on_all_tasks_complete and so on.
        azure_batch_conn_id: connection to the Batch account.
        deferrable: wait in the triggerer instead of on a worker. Default: Airflow's ``[operators] default_deferrable``.
        poll_interval: seconds between two looks at the job.
        wait_for: succeed and fail with the whole ``"job"``, or with the ``"job_manager"`` alone.
        children: ``"count"`` or ``"ignore"`` failed child tasks of an otherwise succeeded job. Default: they count
            when ``kill_job_on_completion`` is false, since then nobody but the job's tasks says how it went.
        timeout: how long the task may take, in seconds or as timedelta; ``execution_timeout`` holds while deferred too.
        out_of_sight: seconds without any usable answer of the service after which the task fails and leaves the job
            alone.
        on_kill_action: ``"terminate"`` or ``"leave"`` the job when the task is killed or out of time.
        on_finish_action: ``"keep"`` the job when it is over, ``"delete"`` it, or ``"delete_on_success"``.
    """

    template_fields: Sequence[str] = (
        "azure_batch_conn_id",
        "job_id",
        "job_manager_id",
        "pool_id",
        "auto_pool",
        "job",
        *MANAGER_FIELDS,
    )
    template_fields_renderers = {  # noqa: RUF012 - as Airflow declares it
        "auto_pool": "json",
        "job": "json",
        "container_settings": "json",
        "resource_files": "json",
        "output_files": "json",
        "environment_settings": "json",
        "constraints": "json",
        "user_identity": "json",
        "application_package_references": "json",
        "authentication_token_settings": "json",
        "command_line": "bash",
    }
    operator_extra_links = links.LINKS
    ui_color = "#d9ecff"

    def __init__(
        self,
        *,
        command_line: str,
        pool_id: str | None = None,
        auto_pool: Any = None,
        job_id: str | None = None,
        job_manager_id: str = "jobmanager",
        display_name: str | None = None,
        container_settings: Any = None,
        resource_files: Any = None,
        output_files: Any = None,
        environment_settings: Any = None,
        constraints: Any = None,
        required_slots: int | str | None = None,
        kill_job_on_completion: bool | str | None = None,
        user_identity: Any = None,
        run_exclusive: bool | str | None = None,
        application_package_references: Any = None,
        authentication_token_settings: Any = None,
        allow_low_priority_node: bool | str | None = None,
        job: Mapping[str, Any] | None = None,
        azure_batch_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        poll_interval: float = 5.0,
        wait_for: WaitFor = "job",
        children: str | None = None,
        timeout: float | timedelta | None = None,
        out_of_sight: float = 3600.0,
        on_kill_action: str = "terminate",
        on_finish_action: str = "keep",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command_line = command_line
        self.pool_id = pool_id
        self.auto_pool = plain(auto_pool)
        self.job_id = job_id
        self.job_manager_id = job_manager_id
        self.display_name = display_name
        self.container_settings = plain(container_settings)
        self.resource_files = plain(resource_files)
        self.output_files = plain(output_files)
        self.environment_settings = plain(environment_settings)
        self.constraints = plain(constraints)
        self.required_slots = required_slots
        self.kill_job_on_completion = kill_job_on_completion
        self.user_identity = plain(user_identity)
        self.run_exclusive = run_exclusive
        self.application_package_references = plain(application_package_references)
        self.authentication_token_settings = plain(authentication_token_settings)
        self.allow_low_priority_node = allow_low_priority_node
        self.job = plain(job)
        self.azure_batch_conn_id = azure_batch_conn_id
        self.deferrable = conf.getboolean("operators", "default_deferrable") if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.wait_for = wait_for
        self.children = children
        self.timeout = timeout
        self.out_of_sight = out_of_sight
        self.on_kill_action = on_kill_action
        self.on_finish_action = on_finish_action
        self._submitted: tuple[str, Owner] | None = None
        self._check_arguments()
        protect(self)

    @cached_property
    def hook(self) -> AzureBatchJobManagerHook:
        """The hook of the operator's connection."""
        from airflow_provider_jobmanager.hooks.job_manager import (  # noqa: PLC0415 - a DAG file needs no hook
            AzureBatchJobManagerHook,
        )

        return AzureBatchJobManagerHook(self.azure_batch_conn_id)

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Render as any operator does; what the templates brought in of secrets is masked from then on."""
        super().render_template_fields(context, jinja_env)
        protect(self)

    def execute(self, context: Context) -> Any:
        """Submit the job, then wait for it here or in the triggerer."""
        owner = owner_of(context)
        submission = self._submit(owner)
        self._submitted = (submission.job_id, owner)
        context["ti"].xcom_push(key=XCOM_JOB_ID, value=submission.job_id)
        links.push(context["ti"], self.hook.account, submission.job_id)
        verdict = submission.verdict or self._look(submission.job_id)
        if verdict is None and self.deferrable:
            self._defer(submission, owner)
        return self._finish(context, verdict or self._wait(submission.job_id, owner))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take up the verdict that the trigger brought."""
        owner = owner_of(context)
        self._submitted = (str(event["job_id"]), owner)
        return self._finish(context, verdict_of_event(event))

    def dry_run(self) -> None:
        """Print the exact request body that a run would send, secrets masked."""
        print(preview(self))  # noqa: T201 - this is what a dry run is for

    def on_kill(self) -> None:
        """End the job when the task is killed on its worker."""
        if self._submitted is None or self.on_kill_action != "terminate":
            return
        job_id, owner = self._submitted
        state = self.hook.terminate_job(job_id, f"Airflow: {owner} was killed", owner)
        self.log.info("Job %s was told to end and is %s.", job_id, state)

    def _submit(self, owner: Owner) -> Submission:
        from airflow_provider_jobmanager.batch import flows  # noqa: PLC0415 - as above

        job_id = self.job_id or owner.job_id()
        body = request_body(self, owner, job_id)
        if owner.try_number > 1:
            taken = self.hook.perform(
                flows.take_over(owner, wait_for=self.wait_for, children_count=self._children_count)
            )
            if taken is not None:
                self.log.info("Going on with job %s of an earlier try.", taken.job_id)
                return taken
        try:
            submission = self.hook.create_job(body, owner)
        except ServiceRefused as refusal:
            raise explained(refusal, self) from refusal
        done = "was there already, made by this very try" if submission.adopted else "created"
        self.log.info("Job %s %s on %s.", submission.job_id, done, self.hook.account.endpoint)
        return submission

    def _look(self, job_id: str) -> Verdict | None:
        return self.hook.get_verdict(job_id, wait_for=self.wait_for, children_count=self._children_count)

    def _defer(self, submission: Submission, owner: Owner) -> None:
        from attrs import asdict  # noqa: PLC0415 - as above

        from airflow_provider_jobmanager.triggers.job_manager import (  # noqa: PLC0415 - as above
            AzureBatchJobManagerTrigger,
        )

        trigger = AzureBatchJobManagerTrigger(
            job_id=submission.job_id,
            azure_batch_conn_id=self.azure_batch_conn_id,
            poll_interval=self.poll_interval,
            wait_for=self.wait_for,
            manager_id=self.job_manager_id,
            created_at=submission.job.get("creationTime"),
            children_count=self._children_count,
            deadline=self._deadline(),
            out_of_sight=self.out_of_sight,
            owner=asdict(owner),
            on_kill_action=self.on_kill_action,
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def _wait(self, job_id: str, owner: Owner) -> Verdict:
        deadline = self._deadline()
        while True:
            verdict = self._look(job_id)
            if verdict is not None:
                return verdict
            if deadline is not None and time.time() >= deadline:
                reason = f"Airflow: deadline of {owner} passed"
                if self.on_kill_action == "terminate":
                    self.hook.terminate_job(job_id, reason, owner)
                return Verdict(job_id=job_id, status="timed_out", reason=reason, manager_id=self.job_manager_id)
            time.sleep(self.poll_interval)

    def _finish(self, context: Context, verdict: Verdict) -> Any:
        context["ti"].xcom_push(key=XCOM_VERDICT, value=verdict.as_dict())
        self.log.info("%s", verdict.summary())
        self._clean_up(verdict)
        raise_unless_succeeded(verdict)
        return verdict.as_dict()

    def _clean_up(self, verdict: Verdict) -> None:
        if self._submitted is None or verdict.status == "lost":
            return
        if self.on_finish_action == "delete" or (self.on_finish_action == "delete_on_success" and verdict.succeeded):
            job_id, owner = self._submitted
            try:
                self.hook.delete_job(job_id, owner)
            except ServiceError as error:
                # The verdict stands, whatever becomes of the cleaning up.
                self.log.warning("Job %s could not be deleted: %s", job_id, error)

    def _deadline(self) -> float | None:
        limits = [limit for limit in (_seconds(self.timeout), _seconds(self.execution_timeout)) if limit is not None]
        return time.time() + min(limits) if limits else None

    @property
    def _children_count(self) -> bool:
        if self.children is None:
            return str(self.kill_job_on_completion).lower() == "false"
        return self.children == "count"

    def _check_arguments(self) -> None:
        """Find at parse time what can be known then."""
        for name, allowed in (
            ("wait_for", ("job", "job_manager")),
            ("children", (None, "count", "ignore")),
            ("on_kill_action", ("terminate", "leave")),
            ("on_finish_action", ("keep", "delete", "delete_on_success")),
        ):
            if getattr(self, name) not in allowed:
                choices = " or ".join(repr(value) for value in allowed if value is not None)
                raise ConfigurationError(
                    f"Task {self.task_id!r}: {name} must be {choices}, not {getattr(self, name)!r}."
                )
        if not self.poll_interval > 0:
            raise ConfigurationError(f"Task {self.task_id!r}: poll_interval must be positive seconds.")
        check_at_parse_time(self)
        if self.authentication_token_settings is not None:
            warnings.warn(
                f"Task {self.task_id!r}: {AUTHENTICATION_TOKEN_RETIRED}",
                DeprecationWarning,
                stacklevel=_FIRST_OUTSIDE,
            )


def owner_of(context: Context) -> Owner:
    """The try that runs now."""
    ti = context["ti"]
    return Owner(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        ti_id=str(ti.id),
        max_tries=int(getattr(ti, "max_tries", 0) or 0),
    )


def _seconds(limit: float | timedelta | None) -> float | None:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit
