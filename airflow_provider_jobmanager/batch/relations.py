"""What must hold between the members of an object: one function a class, listed at the end.

Unless a function says otherwise, its rule is stated by the REST reference of "Job - Add" at
``learn.microsoft.com/rest/api/batchservice``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_jobmanager.batch import job, pool, values
from airflow_provider_jobmanager.batch import job_manager_task as manager
from airflow_provider_jobmanager.batch.findings import Findings, ValidationError, join
from airflow_provider_jobmanager.batch.model import Model
from airflow_provider_jobmanager.batch.secrets import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_jobmanager.batch.fields import Field

_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_ROOTED = re.compile(r"[\\/]|[A-Za-z]:")


class Seen:
    """An object as a rule sees it: its members converted, with those left out that are yet to be rendered."""

    def __init__(self, path: str, fields: Mapping[str, Field], members: dict[str, Any], findings: Findings) -> None:
        self._path = path
        self._fields = fields
        self._members = members
        self._findings = findings

    def given(self, name: str) -> bool:
        """Whether the member is set, be it to a template."""
        return self._members[name] is not None

    def open(self, *names: str) -> bool:
        """Whether one of the members is yet to be rendered."""
        # An object is known, whatever in it is yet to be rendered.
        members = (self._members[name] for name in names)
        return self._findings.parse_time and any(
            values.templated(member) for member in members if not isinstance(member, Model)
        )

    def value(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """The member's value when it is known and of that type, else None."""
        value = self._members[name]
        return value if isinstance(value, kind) and not self.open(name) else None

    def object(self, name: str) -> Seen | None:
        """The object that the member holds."""
        value = self._members[name]
        if not isinstance(value, Model):
            return None
        return Seen(join(self._path, name), value._fields, _loaded(value, "", Findings()), self._findings)

    def fault(self, name: str, rule: str, message: str, found: str = "") -> None:
        """Report a broken rule at a member, or at the object itself when ``name`` is empty."""
        path = join(self._path, name) if name else self._path
        value = self._members.get(name)
        if not found and value is not None:
            found = shown(self._fields[name], value) if isinstance(value, str) else values.form(value)
        self._findings.append(ValidationError(path, rule, message, found))

    def exactly_one(self, *names: str, rule: str = "exclusive") -> None:
        """Exactly one of the members must be set."""
        given = [name for name in names if self.given(name)]
        sure = [name for name in given if not self.open(name)]
        if not given:
            self.fault("", rule, f"expected exactly one of {', '.join(names)}", "none of them")
        elif len(sure) > 1 or (len(given) > 1 and not self.open(*given)):
            self.fault("", rule, f"expected exactly one of {', '.join(names)}", " and ".join(given))

    def excludes(self, name: str, *others: str) -> None:
        """Where ``name`` is set, the others must not be."""
        clash = [other for other in others if self.given(other) and not self.open(other)]
        if clash and self.given(name) and not self.open(name):
            self.fault(name, "exclusive", f"does not go with {' and '.join(clash)}")

    def needs(self, name: str, *others: str, why: str = "") -> None:
        """Where ``name`` is set, the others must be."""
        for other in others:
            if self.given(name) and not self.given(other) and not self.open(name):
                self.fault(other, "partner", f"is needed with {name}{why}")


def _loaded(model: Model, path: str, findings: Findings) -> dict[str, Any]:
    """The members of an object, converted once more: what was appended to a list since, too."""
    return {name: field.load(getattr(model, name), join(path, name), findings) for name, field in model._fields.items()}


def shown(field: Field, value: str) -> str:
    """A text as a message may tell it: masked, bounded, on one line; only its form when it may be a secret."""
    return values.form(value) if field.private else quoted(value)


def _stays_inside(seen: Seen, name: str) -> None:
    """A path below a directory that it must not leave."""
    value = seen.value(name)
    if value is None:
        return
    depth = 0
    for step in re.split(r"[\\/]+", value):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        if depth < 0:
            break
    if depth < 0 or _ROOTED.match(value):
        seen.fault(name, "escape", "expected a relative path that stays inside its directory")


def _is_url(seen: Seen, name: str) -> None:
    value = seen.value(name)
    if value and not _URL.fullmatch(value):
        seen.fault(name, "url", "expected an http or https URL")


def _resource_file(seen: Seen) -> None:
    seen.exactly_one("http_url", "storage_container_url", "auto_storage_container_name")
    seen.needs("http_url", "file_path", why=": the file's name on the node, its directories included")
    file_path = seen.value("file_path")
    if seen.given("http_url") and file_path is not None and re.split(r"[\\/]", file_path)[-1] in {"", ".", ".."}:
        seen.fault("file_path", "file_name", "expected the file's name on the node, its directories included")
    seen.excludes("blob_prefix", "http_url")
    seen.excludes("identity_reference", "auto_storage_container_name")
    _is_url(seen, "http_url")
    _is_url(seen, "storage_container_url")
    _stays_inside(seen, "file_path")


def _container_destination(seen: Seen) -> None:
    _is_url(seen, "container_url")


def _registry(seen: Seen) -> None:
    seen.needs("username", "password")
    seen.needs("password", "username")
    seen.excludes("identity_reference", "username", "password")


def _command(seen: Seen) -> None:
    """No program can be told from nothing. A container has a program of its own.

    An empty command line runs what the image names: "Run container applications on Azure Batch" at
    ``learn.microsoft.com/azure/batch/batch-docker-container-workloads``.
    """
    command = seen.value("command_line")
    if command is not None and not command.strip() and not seen.given("container_settings"):
        seen.fault("command_line", "required", "must not be blank; it may be, with container_settings")


def _image_name(seen: Seen) -> None:
    image = seen.value("image_name")
    if image and not image.strip():
        seen.fault("image_name", "required", "must not be blank")


def _environment_setting(seen: Seen) -> None:
    # Neither Linux nor Windows can hold such a variable.
    if "=" in (name := seen.value("name") or ""):
        # What follows may be the value.
        seen.fault("name", "pattern", "must not contain =", values.form(name))


def _user_identity(seen: Seen) -> None:
    seen.exactly_one("username", "auto_user")


def _image(seen: Seen) -> None:
    market = [name for name in ("publisher", "offer", "sku") if seen.given(name)]
    others = ("virtual_machine_image_id", "shared_gallery_image_id", "community_gallery_image_id")
    if not market:
        if not any(seen.given(name) for name in others):
            message = f"expected publisher, offer and sku, or one of {', '.join(others)}"
            seen.fault("", "exclusive", message, "none of them")
        elif sum(seen.given(name) for name in others) > 1:
            seen.exactly_one(*others)
        return
    for name in others:
        seen.excludes(name, *market)
    for name in ("publisher", "offer", "sku"):
        if not seen.given(name):
            seen.fault(name, "partner", f"is needed with {market[0]}")


def _pool(seen: Seen) -> None:
    scaled = seen.value("enable_auto_scale", bool)
    if seen.open("enable_auto_scale"):
        return
    if scaled:
        if not seen.given("auto_scale_formula"):
            seen.fault("auto_scale_formula", "partner", "is needed with enable_auto_scale")
        for name in ("target_dedicated_nodes", "target_low_priority_nodes"):
            seen.excludes(name, "enable_auto_scale")
    elif seen.given("auto_scale_formula") and not seen.open("auto_scale_formula"):
        seen.fault("auto_scale_formula", "partner", "needs enable_auto_scale to be true")


def _nat_pool(seen: Seen) -> None:
    name, backend = seen.value("name"), seen.value("backend_port", int)
    if name and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", name):
        seen.fault("name", "pattern", "expected letters, digits, underscores, periods and hyphens")
    if backend in {29_876, 29_877}:
        seen.fault("backend_port", "range", "is reserved by the Batch service", str(backend))
    first, last = seen.value("frontend_port_range_start", int), seen.value("frontend_port_range_end", int)
    if first is None or last is None:
        return
    if last - first < 39:  # noqa: PLR2004 - 40 ports, both ends counted
        seen.fault("frontend_port_range_end", "range", "expected a range of at least 40 ports", f"{first} to {last}")
    elif first <= 55_000 and last >= 50_000:  # noqa: PLR2004
        seen.fault("frontend_port_range_start", "range", "ports 50000 to 55000 are reserved", f"{first} to {last}")


def _linux_user(seen: Seen) -> None:
    seen.needs("uid", "gid")
    seen.needs("gid", "uid")


def _blob_mount(seen: Seen) -> None:
    seen.exactly_one("account_key", "sas_key", "identity_reference")
    _stays_inside(seen, "relative_mount_path")


def _mount_path(seen: Seen) -> None:
    _stays_inside(seen, "relative_mount_path")


def _mount(seen: Seen) -> None:
    seen.exactly_one(
        "azure_blob_file_system_configuration",
        "nfs_mount_configuration",
        "cifs_mount_configuration",
        "azure_file_share_configuration",
    )


def _auto_pool(seen: Seen) -> None:
    if seen.value("pool_lifetime_option") == "jobschedule":
        seen.fault("pool_lifetime_option", "choice", "expected job: only jobs of a job schedule can use jobschedule")


def _pool_info(seen: Seen) -> None:
    seen.exactly_one("pool_id", "auto_pool_specification")


def _job(seen: Seen) -> None:
    # 0 is neither "no limit" nor a limit that lets anything run.
    if seen.value("max_parallel_tasks", int) == 0:
        seen.fault("max_parallel_tasks", "range", "expected -1 (no limit) or at least 1", "0")
    seen.needs("job_release_task", "job_preparation_task", why=": it runs where the preparation task ran")
    _ids_differ(seen)
    _job_ends(seen)
    _manager_fits_pool(seen)


def _ids_differ(seen: Seen) -> None:
    """The service answers 409 ``TaskIdSameAsJobPreparationTask`` or ``TaskIdSameAsJobReleaseTask``."""
    taken: dict[str, str] = {}
    tasks = {"job_preparation_task": "jobpreparation", "job_release_task": "jobrelease", "job_manager_task": None}
    for name, default in tasks.items():
        task = seen.object(name)
        if task is None or task.open("id"):
            continue
        task_id = task.value("id") or default
        if not task_id:
            continue
        other = taken.setdefault(task_id.lower(), name)
        if other != name:
            task.fault("id", "unique", f"must differ from the id of {other} in more than its case")


def _job_ends(seen: Seen) -> None:
    """A manager that leaves the job running, in a job that nothing else ends, would be waited for without end."""
    task = seen.object("job_manager_task")
    if task is None or task.value("kill_job_on_completion", bool) is not False:
        return
    if seen.open("on_all_tasks_complete") or seen.value("on_all_tasks_complete") == "terminatejob":
        return
    if seen.given("constraints"):
        constraints = seen.object("constraints")
        if constraints is None or constraints.open("max_wall_clock_time"):
            return
        limit = constraints.value("max_wall_clock_time")
        if limit is not None and values.ticks(limit) < values.LONGEST:
            return
    message = (
        "false leaves the job without an end: set on_all_tasks_complete to terminatejob, "
        "or max_wall_clock_time in the job's constraints"
    )
    task.fault("kill_job_on_completion", "never_ends", message)


def _manager_fits_pool(seen: Seen) -> None:
    """What an auto pool tells of its nodes, the job's tasks must agree with. Of a pool by id nothing is known here.

    A preparation or release task of a pool for containers may run on the node itself (the page that :func:`_command`
    names).
    """
    info = seen.object("pool_info")
    auto = info and info.object("auto_pool_specification")
    spec = auto and auto.object("pool")
    if spec is None:
        return
    machines = spec.object("virtual_machine_configuration")
    for name in ("job_manager_task", "job_preparation_task", "job_release_task"):
        task = seen.object(name)
        if task is not None and machines is not None and not task.open("container_settings"):
            _container_fits(task, machines, needed=name == "job_manager_task")
    task = seen.object("job_manager_task")
    if task is None:
        return
    slots, per_node = task.value("required_slots", int) or 1, spec.value("task_slots_per_node", int) or 1
    if slots > per_node and not spec.open("task_slots_per_node"):
        task.fault("required_slots", "range", f"expected at most {per_node}, the slots of a node", str(slots))


def _container_fits(task: Seen, machines: Seen, *, needed: bool) -> None:
    if machines.open("container_configuration"):
        return
    if task.given("container_settings") and not machines.given("container_configuration"):
        task.fault("container_settings", "pool", "needs a pool with a container_configuration")
    elif needed and machines.given("container_configuration") and not task.given("container_settings"):
        task.fault("container_settings", "pool", "must be set, since the pool has a container_configuration")


RELATIONS: Final[dict[type[Model], tuple[Callable[[Seen], None], ...]]] = {
    manager.JobManagerTask: (_command,),
    manager.TaskContainerSettings: (_image_name,),
    manager.ResourceFile: (_resource_file,),
    manager.OutputFileBlobContainerDestination: (_container_destination,),
    manager.ContainerRegistryReference: (_registry,),
    manager.EnvironmentSetting: (_environment_setting,),
    manager.UserIdentity: (_user_identity,),
    pool.ImageReference: (_image,),
    pool.PoolSpecification: (_pool,),
    pool.StartTask: (_command,),
    pool.InboundNatPool: (_nat_pool,),
    pool.LinuxUserConfiguration: (_linux_user,),
    pool.AzureBlobFileSystemConfiguration: (_blob_mount,),
    pool.NfsMountConfiguration: (_mount_path,),
    pool.CifsMountConfiguration: (_mount_path,),
    pool.AzureFileShareConfiguration: (_mount_path,),
    pool.MountConfiguration: (_mount,),
    job.JobPreparationTask: (_command,),
    job.JobReleaseTask: (_command,),
    job.AutoPoolSpecification: (_auto_pool,),
    job.PoolInfo: (_pool_info,),
    job.Job: (_job,),
}
"""Rules between members, by class."""
