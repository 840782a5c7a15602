"""From the operator's arguments to the request body of the job to create."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch.job import AutoPoolSpecification, Job, PoolInfo
from airflow_provider_jobmanager.batch.job_manager_task import AUTHENTICATION_TOKEN_RETIRED, JobManagerTask
from airflow_provider_jobmanager.batch.marks import marked_names, marks
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.secrets import redact, secret_values
from airflow_provider_jobmanager.batch.values import holds_templates, templated, unset
from airflow_provider_jobmanager.errors import ConfigurationError, PayloadError
from airflow_provider_jobmanager.masking import unveil
from airflow_provider_jobmanager.operators.backstop import bound
from airflow_provider_jobmanager.operators.kept_logs import output_file
from airflow_provider_jobmanager.operators.result import check_result_pool
from airflow_provider_jobmanager.operators.times import shortest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_jobmanager.batch.findings import ValidationError
    from airflow_provider_jobmanager.errors import ServiceRefused

MANAGER_FIELDS = (
    "command_line",
    "display_name",
    "container_settings",
    "resource_files",
    "output_files",
    "environment_settings",
    "constraints",
    "required_slots",
    "kill_job_on_completion",
    "user_identity",
    "run_exclusive",
    "application_package_references",
    "authentication_token_settings",
    "allow_low_priority_node",
)
"""Arguments of the operator that are fields of JobManagerTask under their own names; its ``id`` is
``job_manager_id``."""

_OWN_ARGUMENTS = {
    "id": "job_id",
    "pool_info": "pool_id or auto_pool",
    "job_manager_task": "the operator's own arguments",
}

_ARGUMENTS = {
    "id": "job_id",
    "pool_info.pool_id": "pool_id",
    "pool_info.auto_pool_specification": "auto_pool",
    "job_manager_task.id": "job_manager_id",
    "job_manager_task": "",
}


_ADDED_LATER = 128
"""Bytes of a request that are only known when it is sent: the backstop (:mod:`.backstop`), a derived id's number."""


def job_of(operator: Any, job_id: Any, owner: Owner | None = None, *, parse_time: bool = False) -> Job:
    """The whole job that an operator's arguments describe.

    Args:
        operator: holds the arguments as attributes.
        job_id: id of the job, None to leave it out (at parse time it may not be known).
        owner: the try whose logs are kept where ``keep_logs`` says; None at parse time.
        parse_time: leave out what has yet to be rendered.

    Raises:
        ConfigurationError: an argument is of the wrong kind, has an unknown member, or stands twice.
    """
    arguments = {name: unveil(getattr(operator, name)) for name in ("job", "auto_pool", *MANAGER_FIELDS)}
    settings = Job() if parse_time and templated(arguments["job"]) else _settings(arguments["job"])
    for name, argument in _OWN_ARGUMENTS.items():
        if getattr(settings, name) is not None:
            raise ConfigurationError(f"job: {name!r} does not belong here; give it as {argument}.")
    if (operator.pool_id is None) == (operator.auto_pool is None):
        given = "neither was" if operator.pool_id is None else "both were"
        raise ConfigurationError(f"Give exactly one of pool_id (a pool that exists) and auto_pool; {given} given.")
    settings.id = job_id
    settings.pool_info = PoolInfo.from_dict(
        {"auto_pool_specification": arguments["auto_pool"]}
        if operator.pool_id is None
        else {"pool_id": operator.pool_id}
    )
    if isinstance(settings.pool_info.auto_pool_specification, AutoPoolSpecification):
        check_result_pool(operator.result_file, settings.pool_info.auto_pool_specification)
    settings.job_manager_task = JobManagerTask.from_dict(
        {"id": operator.job_manager_id, **{name: arguments[name] for name in MANAGER_FIELDS}}
    )
    if operator.keep_logs is not None and owner is not None:
        kept = output_file(unveil(operator.keep_logs), owner, parse_time=parse_time)
        settings.job_manager_task.output_files = [*_listed(settings.job_manager_task.output_files), kept]
    return settings


def _settings(job: Any) -> Job:
    return Job() if job is None or (isinstance(job, str) and unset(job)) else Job.from_dict(job)


def _listed(value: Any) -> list[Any]:
    """A list that may be unset, or yet to be rendered."""
    return [] if value is None else value if isinstance(value, list) else [value]


def given_id(job_id: Any) -> Any:
    """The job id that the user gave; None when one is to be derived. 0 is one: so native rendering returns "0"."""
    return None if isinstance(job_id, str) and not job_id else job_id


def check_at_parse_time(operator: Any) -> None:
    """Find what needs no rendering to be known to be wrong.

    Raises:
        PayloadError: rules of the Batch service are broken; names all of them.
        ConfigurationError: as :func:`job_of`.
    """
    given = given_id(operator.job_id)
    _refuse(operator, job_of(operator, "derived" if given is None else given, parse_time=True), parse_time=True)


def request_body(operator: Any, owner: Owner, job_id: str) -> dict[str, Any]:
    """The checked request body, with the owner's mark and the names of marked settings in its metadata.

    Raises:
        PayloadError: rules of the Batch service are broken; names all of them.
        ConfigurationError: as :func:`job_of`.
    """
    job = job_of(operator, job_id, owner)
    _refuse(operator, job, parse_time=False)
    return _body(operator, job, owner)


def explained(refusal: ServiceRefused, operator: Any) -> ServiceRefused:
    """A refusal of the create request, with what to change where that is known."""
    settings = unveil(operator.authentication_token_settings)
    if settings is None or (isinstance(settings, str) and unset(settings)):
        return refusal
    said = " ".join((refusal.message, *refusal.values.values())).lower()
    # Some accounts say which property it was, others only that it was one.
    nameless = refusal.code == "UnsupportedProperty" and not refusal.values and "'" not in said and '"' not in said
    if nameless or "authenticationtokensettings" in said:
        return refusal.with_hint(AUTHENTICATION_TOKEN_RETIRED)
    return refusal


def preview(operator: Any, *, rendered: bool = False) -> str:
    """The request body as JSON for a person, secrets masked; what only a run knows is filled in for show.

    What Airflow has not rendered stands in it as the template that it is, one of the whole argument ``job`` under that
    name. Then only that is checked which can be known.

    Args:
        operator: holds the arguments as attributes.
        rendered: Airflow has rendered them: what looks like a template is none.

    Raises:
        PayloadError: as :func:`request_body`, and ConfigurationError likewise.
    """
    arguments = {name: _as_template(unveil(getattr(operator, name))) for name in operator.template_fields}
    parse_time = not rendered and holds_templates(arguments)
    written = SimpleNamespace(task_id=operator.task_id, wait_for=operator.wait_for, **arguments)
    owner = Owner(dag_id=getattr(operator, "dag_id", ""), task_id=operator.task_id, run_id="dry_run")
    given = given_id(written.job_id)
    job = job_of(written, owner.job_id() if given is None else given, owner, parse_time=parse_time)
    _refuse(written, job, parse_time=parse_time)
    body = _body(written, job, owner, parse_time=parse_time)
    if parse_time and templated(written.job):
        body["job"] = written.job
    else:
        limit = shortest(operator.timeout, operator.execution_timeout)
        bound(body, limit, may_stop=operator.on_kill_action == "terminate", wait_for=operator.wait_for)
    named = marked_names({"metadata": marks(job)})
    return json.dumps(redact(body, known=secret_values(job, parse_time=parse_time), named=named), indent=2)


def _as_template(value: Any) -> Any:
    """What is yet to be rendered as text: an ``XComArg`` as the template that means the same."""
    if isinstance(value, dict):
        return {key: _as_template(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_template(item) for item in value]
    return str(value) if hasattr(value, "iter_references") else value


def _body(operator: Any, job: Job, owner: Owner, *, parse_time: bool = False) -> dict[str, Any]:
    from airflow_provider_jobmanager.batch.rules import too_large  # noqa: PLC0415 - a DAG file sends nothing

    body = job.serialize()
    body["metadata"] = [*_listed(body.get("metadata")), *marks(job), *owner.metadata()]
    if not parse_time and (errors := too_large(body, spare=_ADDED_LATER)):
        raise _broken(operator, errors)
    return body


def _refuse(operator: Any, job: Job, *, parse_time: bool) -> None:
    errors = job.validate(parse_time=parse_time)
    if operator.wait_for == "job_manager" or (parse_time and templated(unveil(operator.job))):
        # Who waits for the manager alone may leave the job's end to others. What is yet to be rendered may say it.
        errors = [error for error in errors if error.rule != "never_ends"]
    if errors:
        raise _broken(operator, errors)


def _broken(operator: Any, errors: Iterable[ValidationError]) -> PayloadError:
    named = [error._replace(path=_argument(error.path)) for error in errors]
    return PayloadError(f"The job of task {operator.task_id!r}", named)


def _argument(path: str) -> str:
    """The operator's argument that a path within the job means."""
    for prefix, argument in _ARGUMENTS.items():
        if path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")):
            return f"{argument}{path[len(prefix) :]}".lstrip(".")
    return f"job.{path}" if path else "job"
