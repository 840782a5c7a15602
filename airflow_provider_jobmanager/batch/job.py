"""A whole job to create: the manager, where it runs, and what holds for the job.

Names and types are those of the REST API (``learn.microsoft.com/rest/api/batchservice``, "Job - Add", version
2025-06-01: ``BatchJobCreateOptions``).
"""

from __future__ import annotations

from typing import Any

from airflow_provider_jobmanager.batch.fields import choice, duration, flag, integer, many, one, text
from airflow_provider_jobmanager.batch.job_manager_task import (
    ID,
    IS_ID,
    EnvironmentSetting,
    JobManagerTask,
    ResourceFile,
    TaskConstraints,
    TaskContainerSettings,
    UserIdentity,
)
from airflow_provider_jobmanager.batch.model import Model
from airflow_provider_jobmanager.batch.pool import MetadataItem, PoolSpecification


class JobConstraints(Model):
    """Limits of a job. ``max_task_retry_count`` is what tasks inherit that say nothing themselves."""

    max_wall_clock_time: Any = duration(low=1)  # unlimited
    max_task_retry_count: Any = integer(low=-1)  # 0


class JobPreparationTask(Model):
    """Runs on each node before the first task of the job there. A node on which it failed gets no task of the job."""

    id: Any = text(pattern=ID, expected=IS_ID)  # jobpreparation
    command_line: Any = text(required=True, private=True, empty=True)
    container_settings: Any = one(TaskContainerSettings)
    resource_files: Any = many(ResourceFile)
    environment_settings: Any = many(EnvironmentSetting, named=True)
    constraints: Any = one(TaskConstraints)
    wait_for_success: Any = flag()  # true
    user_identity: Any = one(UserIdentity)
    rerun_on_node_reboot_after_success: Any = flag()  # true


class JobReleaseTask(Model):
    """Runs as the job ends, on each node where its preparation task ran. It has 15 minutes at most."""

    id: Any = text(pattern=ID, expected=IS_ID)  # jobrelease
    command_line: Any = text(required=True, private=True, empty=True)
    container_settings: Any = one(TaskContainerSettings)
    resource_files: Any = many(ResourceFile)
    environment_settings: Any = many(EnvironmentSetting, named=True)
    max_wall_clock_time: Any = duration(low=1, high=15 * 60)  # 15 minutes
    retention_time: Any = duration(low=0)  # 7 days
    user_identity: Any = one(UserIdentity)


class AutoPoolSpecification(Model):
    """A pool that the service makes for the job, and deletes with it unless ``keep_alive`` is true."""

    auto_pool_id_prefix: Any = text(
        pattern=r"[A-Za-z0-9_-]{1,20}", expected="1 to 20 letters, digits, hyphens and underscores"
    )
    pool_lifetime_option: Any = choice("job", "jobschedule", required=True)
    keep_alive: Any = flag()  # false
    pool: Any = one(PoolSpecification, required=True)


class PoolInfo(Model):
    """Where the job runs: on a pool that exists, or on one made for it. Exactly one of the two."""

    pool_id: Any = text(pattern=ID, expected=IS_ID)
    auto_pool_specification: Any = one(AutoPoolSpecification)


class JobNetworkConfiguration(Model):
    """A network for the nodes that run the job's tasks. Accounts must be enabled for it."""

    subnet_id: Any = text(required=True)
    skip_withdraw_from_vnet: Any = flag(wire="skipWithdrawFromVNet")


class Job(Model):
    """A job to create.

    Attributes:
        id: 1 to 64 letters, digits, hyphens and underscores. Required when it is sent.
        display_name: at most 1024 characters.
        uses_task_dependencies: default false; tasks of the job may then depend on each other. Can't be changed later.
        priority: -1000 to 1000, default 0, among the jobs of a pool.
        allow_task_preemption: accounts must be enabled for it.
        max_parallel_tasks: -1 (the default, no limit) or at least 1; accounts must be enabled for it.
        constraints: a :class:`JobConstraints`.
        job_manager_task: a :class:`~.job_manager_task.JobManagerTask`.
        job_preparation_task: a :class:`JobPreparationTask`.
        job_release_task: a :class:`JobReleaseTask`; it needs a preparation task.
        common_environment_settings: list of ``EnvironmentSetting`` or a mapping; for every task of the job, the
            manager included. A task's own settings win.
        pool_info: a :class:`PoolInfo`. Required.
        on_all_tasks_complete: ``noaction`` (default) or ``terminatejob``.
        on_task_failure: ``noaction`` (default) or ``performexitoptionsjobaction``.
        network_configuration: a :class:`JobNetworkConfiguration`.
        metadata: list of :class:`~.pool.MetadataItem` or a mapping. Nothing can be filtered by it.
    """

    id: Any = text(required=True, late=True, pattern=ID, expected=IS_ID)
    display_name: Any = text(longest=1024)
    uses_task_dependencies: Any = flag()
    priority: Any = integer(low=-1000, high=1000)
    allow_task_preemption: Any = flag()
    max_parallel_tasks: Any = integer(low=-1)
    constraints: Any = one(JobConstraints)
    job_manager_task: Any = one(JobManagerTask)
    job_preparation_task: Any = one(JobPreparationTask)
    job_release_task: Any = one(JobReleaseTask)
    common_environment_settings: Any = many(EnvironmentSetting, named=True)
    pool_info: Any = one(PoolInfo, required=True)
    # The newest SDK calls these two all_tasks_complete_mode and task_failure_mode; the wire never changed.
    on_all_tasks_complete: Any = choice("noaction", "terminatejob", aliases=("all_tasks_complete_mode",))
    on_task_failure: Any = choice("noaction", "performexitoptionsjobaction", aliases=("task_failure_mode",))
    network_configuration: Any = one(JobNetworkConfiguration)
    metadata: Any = many(MetadataItem, named=True)
