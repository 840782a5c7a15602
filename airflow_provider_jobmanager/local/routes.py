"""Every operation of the Batch data plane: what it is called, where it lives, and who answers it here.

The table holds the whole REST API of api-version 2025-06-01. An operation without a handler is known and not emulated:
it answers 501 and its name. Names are those of the Python SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import field, frozen

from airflow_provider_jobmanager.local import routes_files, routes_jobs, routes_pools, routes_schedules, routes_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.local.exchange import Answer, Exchange

    Handler = Callable[[Exchange], Answer]


@frozen
class Operation:
    """One operation.

    Attributes:
        name: as the Python SDK calls it.
        method: HTTP verb.
        template: its path; ``{name}`` stands for one part, ``{file*}`` for all that is left.
        handler: who answers it; None: not emulated.
    """

    name: str
    method: str
    template: str
    handler: Handler | None = None
    parts: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.template.strip("/").split("/")))

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The named parts of a path, None when the path is not this operation's."""
        names: dict[str, str] = {}
        for index, wanted in enumerate(self.parts):
            if wanted.endswith("*}"):
                rest = [unquote(part, errors="surrogateescape") for part in parts[index:]]  # names of files are bytes
                return {**names, wanted[1:-2]: "/".join(rest)} if any(rest) else None
            if index >= len(parts) or not parts[index]:
                return None
            if wanted.startswith("{"):
                names[wanted[1:-1]] = unquote(parts[index])
            elif wanted != parts[index].lower():
                return None
        return names if len(parts) == len(self.parts) else None


def _operation(method: str, template: str, name: str, handler: Handler | None = None) -> Operation:
    return Operation(name, method, template, handler)


_JOB, _TASK = "/jobs/{job}", "/jobs/{job}/tasks/{task}"
_POOL, _NODE = "/pools/{pool}", "/pools/{pool}/nodes/{node}"
_SCHEDULE = "/jobschedules/{schedule}"

OPERATIONS: tuple[Operation, ...] = (
    # -- jobs
    _operation("POST", "/jobs", "create_job", routes_jobs.create_job),
    _operation("GET", "/jobs", "list_jobs", routes_jobs.list_jobs),
    _operation("GET", _JOB, "get_job", routes_jobs.get_job),
    _operation("PATCH", _JOB, "update_job", routes_jobs.update_job),
    _operation("PUT", _JOB, "replace_job", routes_jobs.replace_job),
    _operation("DELETE", _JOB, "delete_job", routes_jobs.delete_job),
    _operation("POST", f"{_JOB}/disable", "disable_job", routes_jobs.disable_job),
    _operation("POST", f"{_JOB}/enable", "enable_job", routes_jobs.enable_job),
    _operation("POST", f"{_JOB}/terminate", "terminate_job", routes_jobs.terminate_job),
    _operation("GET", f"{_JOB}/taskcounts", "get_job_task_counts", routes_jobs.get_job_task_counts),
    _operation(
        "GET",
        f"{_JOB}/jobpreparationandreleasetaskstatus",
        "list_job_preparation_and_release_task_status",
        routes_jobs.list_preparation_and_release_status,
    ),
    # -- tasks
    _operation("POST", f"{_JOB}/tasks", "create_task", routes_tasks.create_task),
    _operation("POST", f"{_JOB}/addtaskcollection", "create_task_collection", routes_tasks.create_task_collection),
    _operation("GET", f"{_JOB}/tasks", "list_tasks", routes_tasks.list_tasks),
    _operation("GET", _TASK, "get_task", routes_tasks.get_task),
    _operation("PUT", _TASK, "replace_task", routes_tasks.replace_task),
    _operation("DELETE", _TASK, "delete_task", routes_tasks.delete_task),
    _operation("POST", f"{_TASK}/terminate", "terminate_task", routes_tasks.terminate_task),
    _operation("POST", f"{_TASK}/reactivate", "reactivate_task", routes_tasks.reactivate_task),
    _operation("GET", f"{_TASK}/subtasksinfo", "list_subtasks", routes_tasks.list_subtasks),
    # -- files of tasks
    _operation("GET", f"{_TASK}/files", "list_task_files", routes_files.list_task_files),
    _operation("GET", f"{_TASK}/files/{{file*}}", "download_task_file", routes_files.download_task_file),
    _operation("HEAD", f"{_TASK}/files/{{file*}}", "get_task_file_properties", routes_files.get_task_file_properties),
    _operation("DELETE", f"{_TASK}/files/{{file*}}", "delete_task_file", routes_files.delete_task_file),
    # -- pools
    _operation("POST", "/pools", "create_pool", routes_pools.create_pool),
    _operation("GET", "/pools", "list_pools", routes_pools.list_pools),
    _operation("GET", _POOL, "get_pool", routes_pools.get_pool),
    _operation("HEAD", _POOL, "pool_exists", routes_pools.pool_exists),
    _operation("PATCH", _POOL, "update_pool", routes_pools.update_pool),
    _operation("DELETE", _POOL, "delete_pool", routes_pools.delete_pool),
    _operation("POST", f"{_POOL}/updateproperties", "replace_pool_properties", routes_pools.replace_pool_properties),
    _operation("POST", f"{_POOL}/resize", "resize_pool", routes_pools.resize_pool),
    _operation("POST", f"{_POOL}/stopresize", "stop_pool_resize", routes_pools.stop_pool_resize),
    _operation("POST", f"{_POOL}/enableautoscale", "enable_pool_auto_scale", routes_pools.enable_pool_auto_scale),
    _operation("POST", f"{_POOL}/disableautoscale", "disable_pool_auto_scale", routes_pools.disable_pool_auto_scale),
    _operation("POST", f"{_POOL}/evaluateautoscale", "evaluate_pool_auto_scale", routes_pools.evaluate_pool_auto_scale),
    _operation("POST", f"{_POOL}/removenodes", "remove_nodes", routes_pools.remove_nodes),
    _operation("GET", "/nodecounts", "list_pool_node_counts", routes_pools.list_pool_node_counts),
    _operation("GET", "/supportedimages", "list_supported_images", routes_pools.list_supported_images),
    _operation("GET", "/poolusagemetrics", "list_pool_usage_metrics"),
    # -- nodes
    _operation("GET", f"{_POOL}/nodes", "list_nodes", routes_pools.list_nodes),
    _operation("GET", _NODE, "get_node", routes_pools.get_node),
    _operation("POST", f"{_NODE}/reboot", "reboot_node", routes_pools.reboot_node),
    _operation("POST", f"{_NODE}/start", "start_node"),
    _operation("POST", f"{_NODE}/reimage", "reimage_node", routes_pools.reimage_node),
    _operation("POST", f"{_NODE}/deallocate", "deallocate_node"),
    _operation("POST", f"{_NODE}/disablescheduling", "disable_node_scheduling", routes_pools.disable_node_scheduling),
    _operation("POST", f"{_NODE}/enablescheduling", "enable_node_scheduling", routes_pools.enable_node_scheduling),
    _operation("GET", f"{_NODE}/remoteloginsettings", "get_node_remote_login_settings"),
    _operation("POST", f"{_NODE}/uploadbatchservicelogs", "upload_node_logs"),
    _operation("POST", f"{_NODE}/users", "create_node_user"),
    _operation("PUT", f"{_NODE}/users/{{user}}", "replace_node_user"),
    _operation("DELETE", f"{_NODE}/users/{{user}}", "delete_node_user"),
    _operation("GET", f"{_NODE}/extensions", "list_node_extensions"),
    _operation("GET", f"{_NODE}/extensions/{{extension}}", "get_node_extension"),
    _operation("GET", f"{_NODE}/files", "list_node_files", routes_files.list_node_files),
    _operation("GET", f"{_NODE}/files/{{file*}}", "download_node_file", routes_files.download_node_file),
    _operation("HEAD", f"{_NODE}/files/{{file*}}", "get_node_file_properties", routes_files.get_node_file_properties),
    _operation("DELETE", f"{_NODE}/files/{{file*}}", "delete_node_file", routes_files.delete_node_file),
    # -- job schedules
    _operation("POST", "/jobschedules", "create_job_schedule", routes_schedules.create_job_schedule),
    _operation("GET", "/jobschedules", "list_job_schedules", routes_schedules.list_job_schedules),
    _operation("GET", _SCHEDULE, "get_job_schedule", routes_schedules.get_job_schedule),
    _operation("HEAD", _SCHEDULE, "job_schedule_exists", routes_schedules.job_schedule_exists),
    _operation("PATCH", _SCHEDULE, "update_job_schedule", routes_schedules.update_job_schedule),
    _operation("PUT", _SCHEDULE, "replace_job_schedule", routes_schedules.replace_job_schedule),
    _operation("DELETE", _SCHEDULE, "delete_job_schedule", routes_schedules.delete_job_schedule),
    _operation("POST", f"{_SCHEDULE}/disable", "disable_job_schedule", routes_schedules.disable_job_schedule),
    _operation("POST", f"{_SCHEDULE}/enable", "enable_job_schedule", routes_schedules.enable_job_schedule),
    _operation("POST", f"{_SCHEDULE}/terminate", "terminate_job_schedule", routes_schedules.terminate_job_schedule),
    _operation("GET", f"{_SCHEDULE}/jobs", "list_jobs_from_schedule", routes_schedules.list_jobs_from_schedule),
    # -- applications
    _operation("GET", "/applications", "list_applications", routes_schedules.list_applications),
    _operation("GET", "/applications/{application}", "get_application", routes_schedules.get_application),
)

_BY_LENGTH: dict[int, list[Operation]] = {}
for _each in OPERATIONS:
    _BY_LENGTH.setdefault(0 if _each.template.endswith("*}") else len(_each.parts), []).append(_each)


def find(method: str, path: str) -> tuple[Operation | None, dict[str, str], bool]:
    """The operation of a request.

    Args:
        method: HTTP verb.
        path: percent-encoded, as it stood on the wire.

    Returns:
        the operation or None, the named parts of the path, and whether the path has operations at all.
    """
    parts = path.strip("/").split("/")
    known = False
    for operation in (*_BY_LENGTH.get(len(parts), ()), *_BY_LENGTH[0]):
        names = operation.match(parts)
        if names is not None:
            if operation.method == method:
                return operation, names, True
            known = True
    return None, {}, known
