"""The job manager task and all it holds, member for member as the Batch service takes it.

Names and types are those of the REST API (``learn.microsoft.com/rest/api/batchservice``, "Job - Add", version
2025-06-01). A member's comment says what the service does when it is left out.
"""

from __future__ import annotations

from typing import Any, Final

from airflow_provider_jobmanager.batch.fields import choice, duration, flag, integer, many, one, text
from airflow_provider_jobmanager.batch.model import Model

ID: Final = r"[A-Za-z0-9_-]{1,64}"
"""An id of a job, task or pool. Its case is kept; two ids that differ in case alone are the same."""

IS_ID: Final = "1 to 64 letters, digits, hyphens and underscores"
"""The same in words."""

AUTHENTICATION_TOKEN_RETIRED: Final = (
    "authentication_token_settings is retired since 2024-09-30: many Batch accounts refuse it. Give the pool a "  # noqa: S105 - no secret
    "user-assigned managed identity instead and let the command sign in with it "
    "(ManagedIdentityCredential(client_id=...) against AZ_BATCH_ACCOUNT_URL)."
)
"""Why ``authentication_token_settings`` should go, and what takes its place."""


class BatchNodeIdentityReference(Model):
    """A user-assigned managed identity of the pool. ``resource_id``: its ARM resource id."""

    resource_id: Any = text()


class ContainerRegistryReference(Model):
    """A private registry: a user name with its password, or an identity of the pool."""

    username: Any = text(empty=False)
    password: Any = text(private=True, empty=False)
    registry_server: Any = text()  # docker.io
    identity_reference: Any = one(BatchNodeIdentityReference)


class ContainerHostBatchBindMountEntry(Model):
    """A directory of the node to be mounted into the container."""

    source: Any = choice("Shared", "Startup", "VfsMounts", "Task", "JobPrep", "Applications")
    is_read_only: Any = flag()  # false


class TaskContainerSettings(Model):
    """The container to run the command in, on pools that have a container configuration, and only there."""

    image_name: Any = text(required=True)
    container_run_options: Any = text(private=True)
    registry: Any = one(ContainerRegistryReference)
    working_directory: Any = choice("taskWorkingDirectory", "containerImageDefault")  # taskWorkingDirectory
    container_host_batch_bind_mounts: Any = many(ContainerHostBatchBindMountEntry)


class ResourceFile(Model):
    """A file, or a container of them, that the service brings to the node before the command starts.

    Exactly one source: ``http_url`` (with ``file_path``), ``storage_container_url``, ``auto_storage_container_name``.
    """

    auto_storage_container_name: Any = text(empty=False)
    storage_container_url: Any = text(private=True, empty=False)
    http_url: Any = text(private=True, empty=False)
    blob_prefix: Any = text()
    file_path: Any = text()  # for containers: the working directory
    file_mode: Any = text(exact=True, pattern=r"0?[0-7]{3,4}", expected="an octal mode such as 0770")  # 0770
    identity_reference: Any = one(BatchNodeIdentityReference)


class OutputFileUploadHeader(Model):
    """A header to send with an upload."""

    name: Any = text(required=True)
    value: Any = text(private=True)


class OutputFileBlobContainerDestination(Model):
    """A container of Azure Blob storage. ``path``: a blob's name, or a prefix when the pattern has wildcards."""

    container_url: Any = text(required=True, private=True)
    path: Any = text()  # the container's root
    identity_reference: Any = one(BatchNodeIdentityReference)
    upload_headers: Any = many(OutputFileUploadHeader)


class OutputFileDestination(Model):
    """Where files go."""

    container: Any = one(OutputFileBlobContainerDestination, required=True)


class OutputFileUploadConfiguration(Model):
    """When files go: decided by the exit code alone."""

    upload_condition: Any = choice("tasksuccess", "taskfailure", "taskcompletion", required=True)


class OutputFile(Model):
    """Files to upload once the command has ended. ``file_pattern``: relative to the working directory, or absolute."""

    file_pattern: Any = text(required=True)
    destination: Any = one(OutputFileDestination, required=True)
    upload_options: Any = one(OutputFileUploadConfiguration, required=True)


class EnvironmentSetting(Model):
    """An environment variable.

    ``secret`` is this package's own and never sent: true masks the value wherever it would be shown.
    """

    name: Any = text(required=True)
    value: Any = text(private=True, json=True)
    secret: Any = flag(local=True)


class TaskConstraints(Model):
    """Limits of a task."""

    max_wall_clock_time: Any = duration(low=1)  # unlimited
    retention_time: Any = duration(low=0)  # 7 days
    max_task_retry_count: Any = integer(low=-1)  # the job's; -1 is without end. Retries by node recovery don't count


class AutoUserSpecification(Model):
    """A user that the service makes."""

    scope: Any = choice("task", "pool")  # pool
    elevation_level: Any = choice("nonadmin", "admin")  # nonadmin


class UserIdentity(Model):
    """Who runs the command: a named user of the pool, or one that the service makes. Not both."""

    username: Any = text(empty=False)
    auto_user: Any = one(AutoUserSpecification)


class ApplicationPackageReference(Model):
    """An application package to put on the node."""

    application_id: Any = text(required=True)
    version: Any = text()  # the application's default version


class AuthenticationTokenSettings(Model):
    """Retired, see :data:`AUTHENTICATION_TOKEN_RETIRED`. Gives the task ``AZ_BATCH_AUTHENTICATION_TOKEN``."""

    access: Any = choice("job", many=True)


class JobManagerTask(Model):
    """The task that the service starts when a job is created, and with which the job stands or falls.

    It starts before the other tasks of its job; when it fails and is retried, it goes before them again and may
    displace a running task of the pool. It has no priority over other jobs. A shrinking pool gives up its node last.

    * **The command must be idempotent.** Retries after node recovery are not counted in ``max_task_retry_count`` and
      happen even when it is 0. What runs long should checkpoint.
    * **kill_job_on_completion (default true) ends the job when the manager completes, whether it succeeded or
      failed**; tasks that still run are ended, except job release tasks. A manager that only creates tasks and leaves
      must set it to false and have the job end otherwise (``on_all_tasks_complete="terminatejob"``).
    * **run_exclusive (default true)** keeps other tasks off the manager's node. With one node the children wait until
      the manager ends: a manager that waits for them waits for ever.

    All arguments go by name; values are checked by :meth:`validate`, never by the constructor.

    Attributes:
        id: 1 to 64 letters, digits, hyphens and underscores. Required.
        command_line: not run by a shell: write ``/bin/sh -c '…'`` or ``cmd /c …`` for expansion and redirection.
            Relative paths are relative to the working directory. Required.
        display_name: at most 1024 characters, not unique.
        container_settings: a :class:`TaskContainerSettings`; needed when the pool has a container configuration,
            forbidden when it has none.
        resource_files: list of :class:`ResourceFile`. Too many make the request too large.
        output_files: list of :class:`OutputFile`.
        environment_settings: list of :class:`EnvironmentSetting`, or a mapping from name to value (or to
            ``{"value": …, "secret": true}``). A value that is any other mapping, or a list, is sent as JSON.
        constraints: a :class:`TaskConstraints`.
        required_slots: scheduling slots that the task takes, at least 1 (the default).
        kill_job_on_completion: default true, see above.
        user_identity: a :class:`UserIdentity`; by default a user without admin rights.
        run_exclusive: default true, see above.
        application_package_references: list of :class:`ApplicationPackageReference`.
        authentication_token_settings: retired, see :data:`AUTHENTICATION_TOKEN_RETIRED`; sent as it is.
        allow_low_priority_node: default true: may run on a Spot node.
    """

    id: Any = text(required=True, pattern=ID, expected=IS_ID)
    command_line: Any = text(required=True, private=True, empty=True)
    display_name: Any = text(longest=1024)
    container_settings: Any = one(TaskContainerSettings)
    resource_files: Any = many(ResourceFile)
    output_files: Any = many(OutputFile)
    environment_settings: Any = many(EnvironmentSetting, named=True)
    constraints: Any = one(TaskConstraints)
    required_slots: Any = integer(low=1)
    kill_job_on_completion: Any = flag()
    user_identity: Any = one(UserIdentity)
    run_exclusive: Any = flag()
    application_package_references: Any = many(ApplicationPackageReference)
    authentication_token_settings: Any = one(AuthenticationTokenSettings)
    allow_low_priority_node: Any = flag()
