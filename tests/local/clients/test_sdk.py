"""The official Python client, synchronous and asynchronous, through every operation it has."""

from __future__ import annotations

import asyncio
import inspect
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.batch.aio import BatchClient as AsyncBatchClient
from azure.batch.models import CreateTasksError
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from airflow_provider_jobmanager.local import LocalBatch

PATIENCE = 60.0
SHELL = "/bin/sh -c '{}'"
# Known to the service and not emulated: each answers 501 and its name.
NOT_EMULATED: dict[str, tuple[Any, ...]] = {
    "begin_deallocate_node": ("local", "n", {"nodeDeallocateOption": "requeue"}),
    "begin_start_node": ("local", "n"),
    "create_node_user": ("local", "n", sdk.BatchNodeUserCreateOptions(name="u")),
    "delete_node_user": ("local", "n", "u"),
    "get_node_extension": ("local", "n", "e"),
    "get_node_remote_login_settings": ("local", "n"),
    "list_node_extensions": ("local", "n"),
    "list_pool_usage_metrics": (),
    "replace_node_user": ("local", "n", "u", sdk.BatchNodeUserReplaceOptions(password="p")),
    "upload_node_logs": (
        "local",
        "n",
        sdk.UploadBatchServiceLogsOptions(container_url="http://h/c", start_time=datetime.now(timezone.utc)),
    ),
}
# Not operations: the client's own plumbing.
PLUMBING = {"close", "send_request"}


class Client:
    """One way to call either client; what is listed is a list, what is downloaded is bytes, what is begun has ended."""

    def __init__(self, client: BatchClient | AsyncBatchClient) -> None:
        self.client = client
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            self.used.add(name)
            if name.startswith("begin_"):
                options.setdefault("polling_interval", 0.05)
            if isinstance(self.client, BatchClient):
                return await asyncio.to_thread(self._sync, name, args, options)
            return await self._async(name, args, options)

        return call

    def _sync(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        result = getattr(self.client, name)(*args, **options)
        if name.startswith("list_"):
            return list(result)
        if name.startswith("download_"):
            return b"".join(result)
        return result.result() if name.startswith("begin_") else result

    async def _async(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        result = getattr(self.client, name)(*args, **options)
        if name.startswith("list_"):
            return [row async for row in result]
        result = await result
        if name.startswith("download_"):
            return b"".join([chunk async for chunk in result])
        return await result.result() if name.startswith("begin_") else result

    async def until(self, condition: Callable[[Any], object], name: str, *args: Any) -> Any:
        """What an operation gives once a condition holds of it."""
        end = time.monotonic() + PATIENCE
        while True:
            found = await getattr(self, name)(*args)
            if condition(found):
                return found
            assert time.monotonic() < end, found
            await asyncio.sleep(0.02)

    async def until_state(self, state: str, name: str, *args: Any) -> Any:
        """A resource once it is in a state."""
        return await self.until(lambda found: found.state == state, name, *args)

    async def until_gone(self, name: str, *args: Any) -> None:
        """Returns once a resource is not there any more."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                await getattr(self, name)(*args)
            except ResourceNotFoundError:
                return
            assert time.monotonic() < end
            await asyncio.sleep(0.02)


@pytest.fixture(params=["sync", "aio"])
async def client(request: pytest.FixtureRequest, batch: LocalBatch) -> AsyncIterator[Client]:
    credential = AzureNamedKeyCredential(batch.account, batch.key)
    if request.param == "sync":
        with BatchClient(batch.url, credential) as synchronous:
            yield Client(synchronous)
    else:
        async with AsyncBatchClient(batch.url, credential) as asynchronous:
            yield Client(asynchronous)


def on(pool_id: str) -> sdk.BatchPoolInfo:
    return sdk.BatchPoolInfo(pool_id=pool_id)


def a_task(task_id: str, command: str = "/bin/true", **more: Any) -> sdk.BatchTaskCreateOptions:
    return sdk.BatchTaskCreateOptions(id=task_id, command_line=command, **more)


def a_pool(pool_id: str, nodes: int = 1, **more: Any) -> sdk.BatchPoolCreateOptions:
    image = sdk.BatchVmImageReference(publisher="canonical", offer="ubuntu-24_04-lts", sku="server", version="latest")
    machine = sdk.VirtualMachineConfiguration(image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04")
    more.setdefault("target_dedicated_nodes", nodes)
    return sdk.BatchPoolCreateOptions(
        id=pool_id, vm_size="STANDARD_D2S_V3", virtual_machine_configuration=machine, **more
    )


async def walk_jobs(client: Client) -> None:
    manager = sdk.BatchJobManagerTask(id="manager", command_line=SHELL.format("echo hi"), run_exclusive=False)
    await client.create_job(sdk.BatchJobCreateOptions(id="Managed", pool_info=on("local"), job_manager_task=manager))
    ended = await client.until_state("completed", "get_job", "managed")
    assert ended.id == "Managed"
    assert ended.execution_info.termination_reason == "JMComplete"

    await client.create_job(sdk.BatchJobCreateOptions(id="plain", pool_info=on("nowhere"), priority=3))
    with pytest.raises(ResourceExistsError) as exists:
        await client.create_job(sdk.BatchJobCreateOptions(id="PLAIN", pool_info=on("nowhere")))
    assert exists.value.error.code == "JobExists"
    await client.update_job("plain", sdk.BatchJobUpdateOptions(priority=9))
    found = await client.get_job("plain")
    assert (found.priority, found.constraints.max_task_retry_count) == (9, 0)
    with pytest.raises(ResourceModifiedError):
        await client.update_job(
            "plain", sdk.BatchJobUpdateOptions(priority=1), etag="0x0", match_condition=MatchConditions.IfNotModified
        )
    found.priority = 4
    await client.replace_job("plain", found)
    assert (await client.get_job("plain", select=["id", "priority"])).priority == 4
    await client.begin_disable_job("plain", sdk.BatchJobDisableOptions(disable_tasks="requeue"))
    assert (await client.get_job("plain")).state == "disabled"
    await client.begin_enable_job("plain")
    assert (await client.get_job("plain")).state == "active"
    rows = await client.list_jobs(filter="state eq 'active' and startswith(id,'pl')", select=["id", "state"])
    assert [row.id for row in rows] == ["plain"]
    assert [row.id for row in await client.list_jobs(max_results=1)] == ["Managed", "plain"]
    await client.begin_terminate_job("plain", options={"terminateReason": "enough"})
    assert (await client.get_job("plain")).execution_info.termination_reason == "enough"
    await client.begin_delete_job("plain", force=True)
    await client.until_gone("get_job", "plain")


async def walk_tasks(client: Client) -> None:
    preparation = sdk.BatchJobPreparationTask(command_line="/bin/true")
    job = sdk.BatchJobCreateOptions(
        id="tasks",
        pool_info=on("local"),
        uses_task_dependencies=True,
        job_preparation_task=preparation,
        job_release_task=sdk.BatchJobReleaseTask(command_line="/bin/true"),
    )
    await client.create_job(job)
    await client.create_task("tasks", a_task("first", SHELL.format("printf hello; mkdir d; printf x > d/f")))
    await client.create_task(
        "tasks", a_task("second", SHELL.format("exit 3"), depends_on=sdk.BatchTaskDependencies(task_ids=["first"]))
    )
    group = sdk.BatchTaskGroup(task_values=[a_task("g1"), a_task("first")])
    rows = {row.task_id: row for row in (await client.create_task_collection("tasks", group)).result_values}
    assert rows["g1"].status.lower() == "success"
    assert (rows["first"].status, rows["first"].error.code) == ("clienterror", "TaskExists")
    many = await client.create_tasks("tasks", [a_task(f"m{number:03d}") for number in range(120)])
    assert len(many.result_values) == 120
    settings = sdk.MultiInstanceSettings(coordination_command_line="/bin/true", number_of_instances=2)
    with pytest.raises(CreateTasksError) as refused:  # and not asked again without end
        await client.create_tasks("tasks", [a_task("multi", multi_instance_settings=settings)])
    assert [row.error.code for row in refused.value.failure_tasks] == ["NotImplemented"]

    first = await client.until_state("completed", "get_task", "tasks", "first")
    second = await client.until_state("completed", "get_task", "tasks", "second")
    assert (first.execution_info.exit_code, first.execution_info.result) == (0, "success")
    assert second.execution_info.exit_code == 3
    assert second.execution_info.failure_info.code == "FailureExitCode"
    assert await client.list_subtasks("tasks", "first") == []
    failed = await client.list_tasks("tasks", filter="executionInfo/exitCode eq 3", select=["id"])
    assert [row.id for row in failed] == ["second"]
    counts = await client.until(lambda found: found.task_counts.failed == 1, "get_job_task_counts", "tasks")
    assert counts.task_counts.succeeded >= 1
    status = await client.list_job_preparation_and_release_task_status("tasks")
    assert {row.job_preparation_task_execution_info.state for row in status} == {"completed"}

    await client.reactivate_task("tasks", "second")
    await client.until_state("completed", "get_task", "tasks", "second")
    await client.create_task("tasks", a_task("long", "/bin/sleep 600"))
    long = await client.get_task("tasks", "long")
    long.constraints = sdk.BatchTaskConstraints(max_task_retry_count=2, retention_time=timedelta(days=1))
    await client.replace_task("tasks", "long", long)
    assert (await client.get_task("tasks", "long")).constraints.max_task_retry_count == 2
    await client.terminate_task("tasks", "long")
    ended = await client.until_state("completed", "get_task", "tasks", "long")
    assert ended.execution_info.failure_info.code == "TaskEnded"
    await client.delete_task("tasks", "long")
    with pytest.raises(ResourceNotFoundError) as gone:
        await client.get_task("tasks", "long")
    assert gone.value.error.code == "TaskNotFound"


async def walk_files(client: Client) -> None:
    """Files of the tasks that :func:`walk_tasks` left."""
    listed = await client.list_task_files("tasks", "first", recursive=True)
    assert {row.name for row in listed} == {"stdout.txt", "stderr.txt", "wd", "wd/d", "wd/d/f"}
    assert await client.download_task_file("tasks", "first", "stdout.txt") == b"hello"
    assert await client.download_task_file("tasks", "first", "stdout.txt", ocp_range="bytes=1-2") == b"el"
    assert await client.download_task_file("tasks", "first", "wd/d/f") == b"x"
    properties = await client.get_task_file_properties("tasks", "first", "stdout.txt")
    assert (properties.content_length, properties.is_directory) == (5, False)
    with pytest.raises(ResourceNotFoundError):
        await client.get_task_file_properties("tasks", "first", "nothing.txt")
    await client.delete_task_file("tasks", "first", "wd/d", recursive=True)
    assert "wd/d" not in {row.name for row in await client.list_task_files("tasks", "first", recursive=True)}

    info = (await client.get_task("tasks", "first")).node_info
    root = info.task_root_directory
    names = {row.name for row in await client.list_node_files("local", info.node_id, recursive=True)}
    assert f"{root}/stdout.txt" in names
    assert await client.download_node_file("local", info.node_id, f"{root}/stdout.txt") == b"hello"
    properties = await client.get_node_file_properties("local", info.node_id, f"{root}/stdout.txt")
    assert properties.content_length == 5
    await client.delete_node_file("local", info.node_id, f"{root}/stdout.txt")
    assert "stdout.txt" not in {row.name for row in await client.list_task_files("tasks", "first")}


async def walk_pools(client: Client) -> None:
    assert await client.pool_exists("local") is True
    with pytest.raises(ResourceNotFoundError):  # the client never gets to its own False
        await client.pool_exists("p")
    await client.create_pool(a_pool("p", metadata=[sdk.BatchMetadataItem(name="a", value="b")]))
    found = await client.until(lambda pool: pool.allocation_state == "steady", "get_pool", "P")
    assert (found.id, found.vm_size, found.current_dedicated_nodes) == ("p", "standard_d2s_v3", 1)
    await client.update_pool("p", sdk.BatchPoolUpdateOptions(metadata=[sdk.BatchMetadataItem(name="c", value="d")]))
    assert (await client.get_pool("p")).metadata[0].name == "c"
    await client.replace_pool_properties(
        "p", sdk.BatchPoolReplaceOptions(application_package_references=[], metadata=[])
    )
    assert not (await client.get_pool("p")).metadata
    assert [pool.id for pool in await client.list_pools(max_results=1)] == ["local", "p"]
    assert [pool.id for pool in await client.list_pools(filter="startswith(id,'P')")] == ["p"]

    await client.begin_resize_pool("p", sdk.BatchPoolResizeOptions(target_dedicated_nodes=3))
    await client.until(lambda pool: pool.current_dedicated_nodes == 3, "get_pool", "p")
    (counts,) = await client.list_pool_node_counts(filter="poolId eq 'p'")
    assert (counts.pool_id, counts.dedicated.total) == ("p", 3)

    await client.enable_pool_auto_scale(
        "p", sdk.BatchPoolEnableAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes = 2;")
    )
    await client.until(lambda pool: pool.current_dedicated_nodes == 2, "get_pool", "p")
    run = await client.evaluate_pool_auto_scale(
        "p", sdk.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes = 1 + 3;")
    )
    assert run.results.startswith("$TargetDedicatedNodes=4;")
    await client.disable_pool_auto_scale("p")
    assert (await client.get_pool("p")).enable_auto_scale is False
    # Nothing may be left to stop, which is a refusal by name then.
    try:
        await client.begin_stop_pool_resize("p")
    except ResourceExistsError as error:
        assert error.error.code == "OperationInvalidForCurrentState"  # noqa: PT017 - either is right
    assert await client.list_supported_images(filter="osType eq 'linux'")


async def walk_nodes(client: Client) -> None:
    """Nodes of the pool that :func:`walk_pools` left; both go in the end."""
    nodes = await client.until(
        lambda rows: len(rows) == 2 and all(row.state == "idle" for row in rows), "list_nodes", "p"
    )
    node = await client.get_node("p", nodes[0].id)
    assert node.is_dedicated is True
    await client.disable_node_scheduling(
        "p", node.id, sdk.BatchNodeDisableSchedulingOptions(node_disable_scheduling_option="requeue")
    )
    assert (await client.get_node("p", node.id)).scheduling_state == "disabled"
    await client.enable_node_scheduling("p", node.id)
    assert (await client.get_node("p", node.id)).scheduling_state == "enabled"
    await client.begin_reboot_node("p", node.id, options={"nodeRebootOption": "requeue"})
    await client.until_state("idle", "get_node", "p", node.id)
    await client.begin_reimage_node("p", node.id, options={"nodeReimageOption": "requeue"})
    await client.until_state("idle", "get_node", "p", node.id)
    await client.begin_remove_nodes("p", sdk.BatchNodeRemoveOptions(node_ids=[node.id]))
    await client.until(lambda rows: len(rows) == 1, "list_nodes", "p")
    await client.begin_delete_pool("p")
    await client.until_gone("get_pool", "p")


async def walk_schedules(client: Client) -> None:
    specification = sdk.BatchJobSpecification(pool_info=on("nowhere"), priority=2)
    schedule = sdk.BatchJobScheduleConfiguration(recurrence_interval=timedelta(hours=1))
    await client.create_job_schedule(
        sdk.BatchJobScheduleCreateOptions(id="hourly", schedule=schedule, job_specification=specification)
    )
    assert await client.job_schedule_exists("hourly") is True
    with pytest.raises(ResourceNotFoundError):
        await client.job_schedule_exists("nothing")
    found = await client.until(lambda row: row.execution_info.recent_job is not None, "get_job_schedule", "hourly")
    assert found.execution_info.recent_job.id == "hourly:job-1"
    assert found.execution_info.next_run_time == found.creation_time + timedelta(hours=1)
    (job,) = await client.list_jobs_from_schedule("hourly")
    assert (job.id, job.priority) == ("hourly:job-1", 2)
    assert [row.id for row in await client.list_job_schedules(filter="startswith(id,'h')")] == ["hourly"]
    await client.update_job_schedule(
        "hourly", sdk.BatchJobScheduleUpdateOptions(metadata=[sdk.BatchMetadataItem(name="a", value="b")])
    )
    found = await client.get_job_schedule("hourly")
    assert found.metadata[0].name == "a"
    await client.replace_job_schedule("hourly", found)
    await client.disable_job_schedule("hourly")
    assert (await client.get_job_schedule("hourly")).state == "disabled"
    await client.enable_job_schedule("hourly")
    assert (await client.get_job_schedule("hourly")).state == "active"
    await client.begin_terminate_job_schedule("hourly")
    assert (await client.get_job_schedule("hourly")).state == "completed"
    ended = await client.until_state("completed", "get_job", "hourly:job-1")
    assert ended.execution_info.termination_reason == "TerminateJobSchedule"
    await client.begin_delete_job_schedule("hourly")
    await client.until_gone("get_job_schedule", "hourly")


async def walk_applications(client: Client) -> None:
    assert await client.list_applications() == []
    with pytest.raises(ResourceNotFoundError) as missing:
        await client.get_application("nothing")
    assert missing.value.error.code == "ApplicationNotFound"


async def walk_what_is_not_emulated(client: Client) -> None:
    (node, *_) = await client.list_nodes("local")
    for name, arguments in NOT_EMULATED.items():
        given = tuple(node.id if argument == "n" else argument for argument in arguments)
        with pytest.raises(HttpResponseError) as refused:
            await getattr(client, name)(*given)
        assert refused.value.status_code == 501, name
        assert refused.value.error.code == "NotImplemented", name


@pytest.mark.timeout(300)
async def test_every_operation(client: Client):
    await walk_jobs(client)
    await walk_tasks(client)
    await walk_files(client)
    await walk_pools(client)
    await walk_nodes(client)
    await walk_schedules(client)
    await walk_applications(client)
    await walk_what_is_not_emulated(client)

    operations = {name for name, _ in inspect.getmembers(BatchClient, inspect.isfunction) if not name.startswith("_")}
    assert client.used == operations - PLUMBING
