"""The operator: runs a command as the job manager task of a new Azure Batch job."""

from __future__ import annotations

import time
from collections import ChainMap
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf

from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.stopping import BY_AIRFLOW, out_of_time
from airflow_provider_jobmanager.batch.submitting import QUOTA_REACHED
from airflow_provider_jobmanager.errors import ConfigurationError, JobTimedOut, ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.masking import protect, renew, unveil, veiled
from airflow_provider_jobmanager.operators import collected
from airflow_provider_jobmanager.operators.checks import check_arguments, check_mapped, warn_of_token
from airflow_provider_jobmanager.operators.kept_logs import address
from airflow_provider_jobmanager.operators.names import with_names_rendered
from airflow_provider_jobmanager.operators.outcome import (
    ExitCodes,
    is_news_of,
    raise_unless_succeeded,
    report_on,
    verdict_of_event,
)
from airflow_provider_jobmanager.operators.payload import (
    MANAGER_FIELDS,
    explained,
    given_id,
    preview,
    request_body,
)
from airflow_provider_jobmanager.operators.queueing import Queueing
from airflow_provider_jobmanager.operators.result import check_result_file, read_result
from airflow_provider_jobmanager.operators.times import seconds_of, shortest
from airflow_provider_jobmanager.provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.sdk import Context
    from jinja2 import Environment

    from airflow_provider_jobmanager.batch.submitting import Submission
    from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor
    from airflow_provider_jobmanager.errors import ServiceError
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.operators.run import JobRun
    from airflow_provider_jobmanager.telling import Teller

XCOM_JOB_ID = "job_id"
XCOM_VERDICT = "verdict"

_CLOCKS_DIFFER = timedelta(hours=1)
"""How far Airflow's clock and the service's may be apart."""


_HOLD_NO_SECRETS = frozenset(
    {
        "azure_batch_conn_id",
        "job_id",
        "job_manager_id",
        "pool_id",
        "result_file",
        "required_slots",
        "kill_job_on_completion",
        "run_exclusive",
        "allow_low_priority_node",
    }
)
"""Template fields that are used as they are: names, numbers and flags."""


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
        job_id: id of the job; by default derived from DAG, task, run and map index. With retries, or to be cleared, one
            of your own must contain ``{{ ti.try_number }}``: Batch runs no second job of the same id.
        job_manager_id: id of the job manager task.
        display_name: any text of up to 1024 characters.
        container_settings: the container to run in, on pools with a container configuration.
        resource_files: files to fetch before the command starts.
        output_files: files to upload after it ended.
        environment_settings: a mapping of names to values, or a list of ``{"name": …, "value": …}``. A value is a text,
            ``{"value": …, "secret": true}``, or what else of mappings and lists is sent as JSON.
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
        quota_timeout: how long to wait, in seconds or as timedelta, while the account has as many active jobs as it
            may have.
        start_timeout: how long the job manager may take to start, in seconds or as timedelta; then the task fails and
            says why it did not. By default it may take for ever, and why is only told in the log.
        stream_logs: bring what the job manager prints into the task log while it runs.
        keep_logs: keep stdout and stderr as blobs: the URL of a container (with a SAS), or a mapping of
            ``container_url``, ``path`` and ``identity_reference``. Batch fails a task whose upload fails.
        result_file: a small JSON file that the job manager leaves in its working directory. Its content is returned;
            without one the verdict is. An auto pool must outlive the job for it (``keep_alive``).
        skip_on_exit_code: exit codes of the job manager, one or several, that skip the task.
        fail_without_retry_on_exit_code: exit codes that fail it for good, whatever retries are left.
    """

    deferral_margin = 600.0
    """Seconds from our own deadline to the one that Airflow enforces on a deferred task."""

    template_fields: Sequence[str] = (
        "azure_batch_conn_id",
        "job_id",
        "job_manager_id",
        "pool_id",
        "auto_pool",
        "job",
        "keep_logs",
        "result_file",
        *MANAGER_FIELDS,
    )
    template_fields_renderers = {  # noqa: RUF012 - as Airflow declares it
        "auto_pool": "json",
        "job": "json",
        "keep_logs": "json",
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
    _may_hold_secrets: Sequence[str] = tuple(name for name in template_fields if name not in _HOLD_NO_SECRETS)
    operator_extra_links = (*links.LINKS, links.KEPT_LOGS)
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
        quota_timeout: float | timedelta = 3600.0,
        start_timeout: float | timedelta | None = None,
        stream_logs: bool = False,
        keep_logs: Any = None,
        result_file: str | None = None,
        skip_on_exit_code: int | Iterable[int] | None = None,
        fail_without_retry_on_exit_code: int | Iterable[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._given: dict[str, int] = {}
        self.command_line = command_line
        self.pool_id = pool_id
        self.auto_pool = self._take("auto_pool", auto_pool)
        self.job_id = job_id
        self.job_manager_id = job_manager_id
        self.display_name = display_name
        self.container_settings = self._take("container_settings", container_settings)
        self.resource_files = self._take("resource_files", resource_files)
        self.output_files = self._take("output_files", output_files)
        self.environment_settings = self._take("environment_settings", environment_settings)
        self.constraints = self._take("constraints", constraints)
        self.required_slots = required_slots
        self.kill_job_on_completion = kill_job_on_completion
        self.user_identity = self._take("user_identity", user_identity)
        self.run_exclusive = run_exclusive
        self.application_package_references = self._take(
            "application_package_references", application_package_references
        )
        self.authentication_token_settings = self._take("authentication_token_settings", authentication_token_settings)
        self.allow_low_priority_node = allow_low_priority_node
        self.job = self._take("job", job)
        self.azure_batch_conn_id = azure_batch_conn_id
        self.deferrable = conf.getboolean("operators", "default_deferrable") if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.wait_for = wait_for
        self.children = children
        self.timeout = timeout
        self.out_of_sight = out_of_sight
        self.on_kill_action = on_kill_action
        self.on_finish_action = on_finish_action
        self.quota_timeout = quota_timeout
        self.start_timeout = start_timeout
        self.stream_logs = stream_logs
        self.keep_logs = self._take("keep_logs", keep_logs)
        self.result_file = result_file
        self.skip_on_exit_code = skip_on_exit_code
        self.fail_without_retry_on_exit_code = fail_without_retry_on_exit_code
        self._run: JobRun | None = None
        self._killed = False
        self._is_rendered = False
        check_arguments(self)
        warn_of_token(self.task_id, authentication_token_settings, stacklevel=3)  # past Airflow's constructor wrapper
        protect(self, self._may_hold_secrets, parse_time=True)

    @cached_property
    def hook(self) -> AzureBatchJobManagerHook:
        """The hook of the operator's connection."""
        from airflow_provider_jobmanager.hooks.job_manager import (  # noqa: PLC0415 - a DAG file needs no hook
            AzureBatchJobManagerHook,
        )

        return AzureBatchJobManagerHook(self.azure_batch_conn_id)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map as any operator does; arguments are checked and secrets masked in the serialized DAG here too."""
        secret = {name: kwargs[name] for name in cls._may_hold_secrets if name in kwargs}
        made = super().partial(**{**kwargs, **veiled(secret, parse_time=True)})
        group, dag = (getattr(made.kwargs[name], "default_args", None) for name in ("task_group", "dag"))
        defaults = (each or {} for each in (kwargs.get("default_args"), group, dag))
        given = dict(ChainMap(kwargs, *defaults))
        try:
            check_mapped(AzureBatchJobManagerOperator, given, task_id=made.kwargs["task_id"])
        except ConfigurationError:
            made._expand_called = True  # or Airflow adds later that the task was never mapped  # noqa: SLF001
            raise
        warn_of_token(made.kwargs["task_id"], kwargs.get("authentication_token_settings"), stacklevel=2)
        return made

    def render_template(
        self, content: Any, context: Context, jinja_env: Environment | None = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render as any operator does, and the names of mappings too."""

        def render(given: Any) -> Any:
            return super(AzureBatchJobManagerOperator, self).render_template(given, context, jinja_env, seen_oids)

        return with_names_rendered(content, render(content), render)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Environment,
        seen_oids: set[int],
    ) -> None:
        # Mapped tasks come by here as well, not by render_template_fields. What the templates brought in of secrets is
        # masked from now on, and before Airflow stores the rendered fields.
        if parent is self:
            renew(self, self._may_hold_secrets)
            # What other tasks brought to a mapped task is data, not templates: Airflow knows it by its identity.
            brought = [name for name, given in self._given.items() if given in seen_oids]
            seen_oids.update(id(getattr(self, name)) for name in brought)
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self:
            self._is_rendered = True
            protect(self, self._may_hold_secrets)

    def execute(self, context: Context) -> Any:
        """Submit the job, then wait for it here or in the triggerer."""
        return self._begin(context, Queueing(began=time.time()))

    def execute_again(self, context: Context, event: dict[str, Any]) -> Any:
        """Submit again, after a wait for the account's quota or for a service that gave no usable answer."""
        waited = event.get("queueing") if isinstance(event, dict) else None
        if waited is None or waited.get("job_id") != self._recorded_job(context):
            return self._go_on(context)
        return self._begin(context, Queueing(**waited))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take up the verdict that the trigger brought."""
        if not is_news_of(event, self._recorded_job(context), context["ti"]):
            return self._go_on(context)
        run = self._new_run(context)
        run.job_id, run.created_at = str(event["job_id"]), event.get("created_at")
        verdict = verdict_of_event(event)
        run.manager_id = verdict.manager_id
        if verdict.status == "timed_out" and verdict.reason.startswith(BY_AIRFLOW) and run.may_stop:
            run.stop("ran out of time")  # the trigger has said so already, unless the service did not hear it
        return self._finish(context, run, verdict, self._teller(run, event.get("told")))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral. When Airflow itself ended the wait, the job must not be left behind."""
        from airflow.sdk.exceptions import (  # noqa: PLC0415 - a DAG file does not need them
            TaskDeferralError,
            TaskDeferralTimeout,
        )

        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self._stop_recorded(context, "ran out of time while deferred")
            raise
        except TaskDeferralError:
            if not _will_retry(context):
                self._stop_recorded(context, "failed while deferred")
            raise

    def dry_run(self) -> None:
        """Print the exact request body that a run would send, secrets masked; templates as they are if not rendered."""
        print(preview(self, rendered=self._is_rendered))  # noqa: T201 - this is what a dry run is for

    def on_kill(self) -> None:
        """End the job when the task is killed on its worker."""
        self._killed = True
        if self._run is not None:
            self._run.kill()

    def _go_on(self, context: Context) -> Any:
        """Find the job again, after an event that was not for this try."""
        self.log.info("What a trigger brought is not of job %s: going on.", self._recorded_job(context))
        # Airflow keeps a try's start over its deferrals. The job was asked for already: that is one attempt.
        began = getattr(context["ti"], "start_date", None)
        return self._begin(context, Queueing(time.time() if began is None else began.timestamp(), attempts=1))

    def _begin(self, context: Context, queueing: Queueing) -> Any:
        from airflow.sdk.exceptions import AirflowTaskTimeout  # noqa: PLC0415 - a DAG file does not need it

        self._run = self._new_run(context)
        try:
            result = self._submit_and_wait(context, self._run, queueing)
        except AirflowTaskTimeout:
            raise  # Airflow calls `on_kill` next
        except BaseException:
            # A job that is deferred or left alone is none that a late signal to this worker should end,
            self._run = None
            raise
        self._run = None  # nor one whose manager alone was waited for.
        return result

    def _submit_and_wait(self, context: Context, run: JobRun, queueing: Queueing) -> Any:
        run.deadline = self._deadline(queueing.began)
        run.killed = self._killed  # a kill may have come before there was a run to tell of it
        if run.owner.try_number > 1 and self.on_finish_action != "keep":
            found = collected.kept(context, run.owner)
            if found is not None:
                ended, value = found
                self.log.info("An earlier try has collected this and deleted the job: %s", ended.summary())
                context["ti"].xcom_push(key=XCOM_JOB_ID, value=ended.job_id)
                context["ti"].xcom_push(key=XCOM_VERDICT, value=ended.as_dict())
                return value
        submission = self._submit(context, run, queueing)
        try:
            self._record(context, run, submission)
        except Exception:
            # A retry would find the job; nobody else would.
            if run.may_stop and not _will_retry(context):
                run.stop("failed before it could wait for the job")
            raise
        verdict = submission.verdict or (run.glance() if submission.adopted else None)
        teller = self._teller(run)
        if verdict is None and self.deferrable:
            self._defer(run, teller)
        return self._finish(context, run, verdict or run.wait(self.poll_interval, meanwhile=teller.look), teller)

    def _record(self, context: Context, run: JobRun, submission: Submission) -> None:
        """Tell Airflow which job this try follows, and where to look at it."""
        context["ti"].xcom_push(key=XCOM_JOB_ID, value=run.job_id)
        links.push(context["ti"], self.hook.account, run.job_id)
        if self.keep_logs is not None:
            where = address(unveil(self.keep_logs), Owner.of(submission.job) or run.owner)
            links.store(context["ti"], links.KEPT_LOGS.xcom_key, where)

    def _submit(self, context: Context, run: JobRun, queueing: Queueing) -> Submission:
        check_result_file(self.result_file)  # what a template came to, before there is a job
        given = given_id(self.job_id)
        if given is not None and queueing.attempts:
            # Templates may come to something else each time; the job that this try may have made has the first id.
            given = self._recorded_job(context) or given
        body = request_body(self, run.owner, run.owner.job_id() if given is None else given)
        if given is None:
            del body["id"]  # which of the derived ids it is depends on what earlier tries left
        started = context["dag_run"].start_date
        since = None if started is None else started - _CLOCKS_DIFFER
        while True:
            asked = time.time()
            try:
                submission = run.submit(body, since=since, in_doubt=queueing.attempts > 0)
            except (ServiceRefused, ServiceUnavailable) as error:
                if isinstance(error, ServiceRefused) and error.code != QUOTA_REACHED:
                    raise explained(error, self) from error
                queueing.note(run.job_id, error, asked)
                self._queue(context, run, queueing, error)
            else:
                how = "was there already; going on with it" if submission.adopted else "created"
                self.log.info("Job %s %s on %s.", run.job_id, how, self.hook.account.endpoint)
                return submission

    def _queue(self, context: Context, run: JobRun, queueing: Queueing, error: ServiceError) -> None:
        """Wait until another attempt is worth while: in the triggerer, or here.

        Raises:
            ServiceError: it is not any more, by ``quota_timeout`` or ``out_of_sight``.
            JobTimedOut: by the deadline of the task.
        """
        # Who asks what this try follows (a late kill of the try before it) gets an answer.
        context["ti"].xcom_push(key=XCOM_JOB_ID, value=run.job_id)
        quota_timeout = seconds_of(self.quota_timeout) or 0.0
        end = queueing.end(quota_timeout, self.out_of_sight)
        if run.overdue:
            reason = f"Airflow: deadline of {run.owner} passed before the job was seen to begin"
            raise JobTimedOut(out_of_time(run.job_id, reason, run.manager_id)) from error
        if time.time() >= end:
            raise queueing.given_up(error, quota_timeout, self.out_of_sight) from error
        until = end if run.deadline is None else min(run.deadline, end)
        pause = max(5.0, min(queueing.pause(), until - time.time()))
        self.log.info("Job %s can't be submitted yet; trying again in %.0f s: %s", run.job_id, pause, error)
        if self.deferrable:
            from attrs import asdict  # noqa: PLC0415 - a DAG file needs no trigger

            from airflow_provider_jobmanager.triggers.quota import AzureBatchQuotaTrigger  # noqa: PLC0415 - likewise

            may_exist = queueing.blind_since is not None and run.may_stop
            trigger = AzureBatchQuotaTrigger(
                pause,
                queueing.as_dict(),
                azure_batch_conn_id=self.azure_batch_conn_id,
                owner=asdict(run.owner) if may_exist else None,
            )
            self.defer(trigger=trigger, method_name="execute_again")
        time.sleep(pause)

    def _defer(self, run: JobRun, teller: Teller) -> None:
        from attrs import asdict, astuple  # noqa: PLC0415 - as above

        from airflow_provider_jobmanager.triggers.job_manager import (  # noqa: PLC0415 - as above
            AzureBatchJobManagerTrigger,
        )

        trigger = AzureBatchJobManagerTrigger(
            job_id=run.job_id,
            azure_batch_conn_id=self.azure_batch_conn_id,
            poll_interval=self.poll_interval,
            wait_for=self.wait_for,
            manager_id=run.manager_id,
            created_at=run.created_at,
            children_count=self._children_count,
            deadline=run.deadline,
            out_of_sight=self.out_of_sight,
            owner=asdict(run.owner),
            on_kill_action=self.on_kill_action,
            stream_logs=self.stream_logs,
            start_limit=None if teller.limit is None else astuple(teller.limit),
        )
        # Airflow's own limit is for a trigger that can't do its duty: it comes later, and says less.
        left = None if run.deadline is None else max(0.0, run.deadline - time.time()) + self.deferral_margin
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=None if left is None else timedelta(seconds=left),
        )

    def _finish(self, context: Context, run: JobRun, verdict: Verdict, teller: Teller) -> Any:
        verdict = teller.last(verdict)
        context["ti"].xcom_push(key=XCOM_VERDICT, value=verdict.as_dict())
        self.log.info("%s", verdict.summary())
        if self.wait_for == "job_manager" and str(self.kill_job_on_completion).strip().lower() == "false":
            self.log.info("Only its manager was waited for: job %s may go on without this task.", run.job_id)
        report = report_on(
            verdict, self.hook, self.log, output_told=teller.telling.told_all and not verdict.failed_task
        )
        # A job whose result could not be taken up is kept: the next try finds it, and a person may look.
        result = read_result(self.hook, verdict, self.result_file) if verdict.succeeded and self.result_file else None
        value = result if self.result_file else verdict.as_dict()
        if verdict.succeeded and self.on_finish_action != "keep":
            if collected.keep(context, run.owner, verdict, value, self.log):
                run.delete()
        elif verdict.status != "lost" and self.on_finish_action == "delete":
            run.delete()
        raise_unless_succeeded(verdict, report, self._exit_codes)
        return value

    def _stop_recorded(self, context: Context, why: str) -> None:
        """End the job that this try followed when it was deferred."""
        job_id = self._recorded_job(context)
        if job_id and self.on_kill_action == "terminate":
            run = self._new_run(context)
            run.job_id = job_id
            run.stop(why)

    @staticmethod
    def _recorded_job(context: Context) -> str | None:
        """The job that this try follows; None when it recorded none."""
        ti = context["ti"]
        job_id = ti.xcom_pull(task_ids=ti.task_id, key=XCOM_JOB_ID, map_indexes=ti.map_index)
        return str(job_id) if job_id else None

    def _new_run(self, context: Context) -> JobRun:
        from airflow_provider_jobmanager.operators.run import JobRun  # noqa: PLC0415 - a DAG file runs nothing

        self.hook.account  # noqa: B018 - a kill must not have to ask Airflow for the connection
        return JobRun(
            hook=self.hook,
            owner=owner_of(context, self.retries),
            log=self.log,
            wait_for=self.wait_for,
            children_count=self._children_count,
            may_stop=self.on_kill_action == "terminate",
            out_of_sight=self.out_of_sight,
            final_exit_codes=self._exit_codes.skip | self._exit_codes.fail,
        )

    def _teller(self, run: JobRun, told: Mapping[str, Any] | None = None) -> Teller:
        from airflow_provider_jobmanager.batch.telling import Telling  # noqa: PLC0415 - a DAG file tells nothing
        from airflow_provider_jobmanager.telling import StartLimit, Teller  # noqa: PLC0415 - as above

        telling = Telling(run.job_id, run.manager_id, output=self.stream_logs).resume(told)
        seconds = seconds_of(self.start_timeout)
        limit = None if seconds is None else StartLimit(seconds, time.time() + seconds)
        return Teller(self.hook.client, telling, self.log, limit)

    @property
    def _exit_codes(self) -> ExitCodes:
        return ExitCodes.of(self.skip_on_exit_code, self.fail_without_retry_on_exit_code)

    def _deadline(self, began: float) -> float | None:
        limit = shortest(self.timeout, self.execution_timeout)
        return None if limit is None else began + limit

    @property
    def _children_count(self) -> bool | None:
        return None if self.children is None else self.children == "count"

    def _take(self, name: str, given: Any) -> Any:
        self._given[name] = id(given)
        return plain(given)


def owner_of(context: Context, retries: int | None) -> Owner:
    """The try that runs now, of a task with so many retries."""
    ti = context["ti"]
    max_tries = int(getattr(ti, "max_tries", 0) or 0)
    return Owner(
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        ti_id=str(ti.id),
        max_tries=max_tries,
        run_start=_moment(context["dag_run"].start_date),
        first_try=max(1, max_tries - (retries or 0) + 1),
    )


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(timezone.utc).isoformat()


def _will_retry(context: Context) -> bool:
    ti = context["ti"]
    return bool(ti.max_tries) and ti.try_number <= ti.max_tries
