"""One row a rule: what is wrong with the payload, where it is reported, and as what."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from airflow_provider_jobmanager.batch.job import Job
from airflow_provider_jobmanager.batch.job_manager_task import JobManagerTask

HTTP = {"http_url": "https://acc.blob.core.windows.net/c/in.csv", "file_path": "in.csv"}
CONTAINER = {"container_url": "https://acc.blob.core.windows.net/out"}
OUTPUT = {
    "file_pattern": "../std*.txt",
    "destination": {"container": CONTAINER},
    "upload_options": {"upload_condition": "taskcompletion"},
}
TASK: dict[str, Any] = {"id": "jobmanager", "command_line": "/bin/sh -c 'echo hi'"}
MACHINES = {
    "image_reference": {"publisher": "canonical", "offer": "ubuntu", "sku": "24_04"},
    "node_agent_sku_id": "batch.node.ubuntu 24.04",
}
POOL: dict[str, Any] = {
    "vm_size": "standard_d2s_v5",
    "virtual_machine_configuration": MACHINES,
    "target_dedicated_nodes": 1,
}
JOB: dict[str, Any] = {"id": "j", "pool_info": {"pool_id": "p"}, "job_manager_task": TASK}
RELEASE = {"command_line": "true"}


def task(**changes: Any) -> dict[str, Any]:
    return {**TASK, **changes}


def with_task(**changes: Any) -> dict[str, Any]:
    return {**JOB, "job_manager_task": task(**changes)}


def job(**changes: Any) -> dict[str, Any]:
    return {**JOB, **changes}


def auto(pool: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    spec = {"pool_lifetime_option": "job", "pool": {**POOL, **(pool or {})}, **changes}
    return job(pool_info={"auto_pool_specification": spec})


def machines(**changes: Any) -> dict[str, Any]:
    return auto({"virtual_machine_configuration": {**MACHINES, **changes}})


def files(**changes: Any) -> dict[str, Any]:
    return task(resource_files=[HTTP, {**HTTP, **changes}])


def mount(**kinds: Any) -> dict[str, Any]:
    return auto({"mount_configuration": [kinds]})


def nat(**changes: Any) -> dict[str, Any]:
    ports = {"name": "ssh", "protocol": "tcp", "backend_port": 22}
    ports |= {"frontend_port_range_start": 1000, "frontend_port_range_end": 1100, **changes}
    return auto({"network_configuration": {"endpoint_configuration": {"inbound_nat_pools": [ports]}}})


START = {"command_line": " \n"}
SPEC = "pool_info.auto_pool_specification"
NAT = f"{SPEC}.pool.network_configuration.endpoint_configuration.inbound_nat_pools[0]"
BLOB = {"account_name": "a", "container_name": "c", "relative_mount_path": "m", "account_key": "k"}
NFS = {"source": "s", "relative_mount_path": "m"}

TASK_ROWS: list[tuple[dict[str, Any], str, str]] = [
    # Ids, command line, name
    ({"command_line": "x"}, "id", "required"),
    (task(id=""), "id", "required"),
    (task(id="a b"), "id", "pattern"),
    (task(id="ä"), "id", "pattern"),
    (task(id="a\n"), "id", "pattern"),
    (task(id="x" * 65), "id", "pattern"),
    ({"id": "x"}, "command_line", "required"),
    (task(command_line=""), "command_line", "required"),
    (task(command_line=" \n"), "command_line", "required"),
    (task(command_line="a\0b"), "command_line", "characters"),
    (task(command_line="\ud800"), "command_line", "characters"),
    (task(command_line=["a"]), "command_line", "type"),
    (task(display_name="x" * 1025), "display_name", "length"),
    # Resource files
    (files(http_url=None), "resource_files[1]", "exclusive"),
    (files(auto_storage_container_name="c"), "resource_files[1]", "exclusive"),
    (files(file_path=None), "resource_files[1].file_path", "partner"),
    (files(file_path=""), "resource_files[1].file_path", "file_name"),
    (files(file_path="dir/"), "resource_files[1].file_path", "file_name"),
    (files(file_path="a/.."), "resource_files[1].file_path", "file_name"),
    (files(file_path="a\\b\\.."), "resource_files[1].file_path", "file_name"),
    (files(http_url=""), "resource_files[1].http_url", "required"),
    (task(resource_files=[{"storage_container_url": ""}]), "resource_files[0].storage_container_url", "required"),
    (
        task(resource_files=[{"auto_storage_container_name": ""}]),
        "resource_files[0].auto_storage_container_name",
        "required",
    ),
    (files(blob_prefix="p"), "resource_files[1].blob_prefix", "exclusive"),
    (files(http_url="ftp://host/x"), "resource_files[1].http_url", "url"),
    (files(file_path="../x"), "resource_files[1].file_path", "escape"),
    (files(file_path="a/../../x"), "resource_files[1].file_path", "escape"),
    (files(file_path="a\\..\\..\\x"), "resource_files[1].file_path", "escape"),
    (files(file_path="/etc/passwd"), "resource_files[1].file_path", "escape"),
    (files(file_path="C:\\x"), "resource_files[1].file_path", "escape"),
    (files(file_mode="0999"), "resource_files[1].file_mode", "pattern"),
    (files(file_mode=0o770), "resource_files[1].file_mode", "type"),
    (files(identity_reference="me"), "resource_files[1].identity_reference", "type"),
    (task(resource_files=[{"storage_container_url": "c"}]), "resource_files[0].storage_container_url", "url"),
    (
        task(resource_files=[{"auto_storage_container_name": "c", "identity_reference": {"resource_id": "/x"}}]),
        "resource_files[0].identity_reference",
        "exclusive",
    ),
    (task(resource_files=[None]), "resource_files[0]", "type"),
    (task(resource_files=HTTP), "resource_files", "type"),
    (task(resource_files=[{**HTTP, "file_path": "x" * 600_000}] * 2), "", "size"),
    # Output files
    (task(output_files=[{**OUTPUT, "file_pattern": ""}]), "output_files[0].file_pattern", "required"),
    (task(output_files=[{**OUTPUT, "destination": None}]), "output_files[0].destination", "required"),
    (task(output_files=[{**OUTPUT, "destination": {}}]), "output_files[0].destination.container", "required"),
    (
        task(output_files=[{**OUTPUT, "destination": {"container": {"path": "x"}}}]),
        "output_files[0].destination.container.container_url",
        "required",
    ),
    (
        task(output_files=[{**OUTPUT, "destination": {"container": {"container_url": "out"}}}]),
        "output_files[0].destination.container.container_url",
        "url",
    ),
    (
        task(output_files=[{**OUTPUT, "destination": {"container": {**CONTAINER, "upload_headers": [{"value": "x"}]}}}]),  # noqa: E501 - one row
        "output_files[0].destination.container.upload_headers[0].name",
        "required",
    ),
    (task(output_files=[{**OUTPUT, "upload_options": None}]), "output_files[0].upload_options", "required"),
    (
        task(output_files=[{**OUTPUT, "upload_options": {}}]),
        "output_files[0].upload_options.upload_condition",
        "required",
    ),
    (
        task(output_files=[{**OUTPUT, "upload_options": {"upload_condition": "always"}}]),
        "output_files[0].upload_options.upload_condition",
        "type",
    ),
    # Environment
    (task(environment_settings=[{"value": "x"}]), "environment_settings[0].name", "required"),
    (task(environment_settings={"": "x"}), "environment_settings[0].name", "required"),
    (task(environment_settings={"A=B": "x"}), "environment_settings[0].name", "pattern"),
    (task(environment_settings={"A": b"b"}), "environment_settings[0].value", "type"),
    (task(environment_settings={"name": "A", "value": "b"}), "environment_settings", "ambiguous"),
    # Constraints, slots, flags
    (task(constraints={"max_task_retry_count": -2}), "constraints.max_task_retry_count", "range"),
    (task(constraints={"max_task_retry_count": 2**31}), "constraints.max_task_retry_count", "range"),
    (task(constraints={"max_wall_clock_time": 0}), "constraints.max_wall_clock_time", "range"),
    (task(constraints={"retention_time": "-PT1H"}), "constraints.retention_time", "range"),
    (task(constraints={"retention_time": "soon"}), "constraints.retention_time", "type"),
    (task(constraints={"retention_time": "P99999999D"}), "constraints.retention_time", "type"),
    (task(constraints="x"), "constraints", "type"),
    (task(required_slots=0), "required_slots", "range"),
    (task(required_slots="four"), "required_slots", "type"),
    (task(required_slots=True), "required_slots", "type"),
    (task(required_slots=1.5), "required_slots", "type"),
    (task(kill_job_on_completion="yes"), "kill_job_on_completion", "type"),
    (task(run_exclusive=1), "run_exclusive", "type"),
    # Users, containers, packages, token
    (task(user_identity={}), "user_identity", "exclusive"),
    (task(user_identity={"username": "u", "auto_user": {}}), "user_identity", "exclusive"),
    (task(user_identity={"username": ""}), "user_identity.username", "required"),
    (task(user_identity={"auto_user": {"scope": "node"}}), "user_identity.auto_user.scope", "type"),
    (task(container_settings={}), "container_settings.image_name", "required"),
    (task(container_settings={"image_name": " "}), "container_settings.image_name", "required"),
    (
        task(container_settings={"image_name": "i", "registry": {"username": "u"}}),
        "container_settings.registry.password",
        "partner",
    ),
    (
        task(container_settings={"image_name": "i", "registry": {"password": "p"}}),
        "container_settings.registry.username",
        "partner",
    ),
    (
        task(container_settings={"image_name": "i", "registry": {"username": "", "password": "p"}}),
        "container_settings.registry.username",
        "required",
    ),
    (
        task(container_settings={"image_name": "i", "registry": {"username": "u", "password": ""}}),
        "container_settings.registry.password",
        "required",
    ),
    (
        task(
            container_settings={
                "image_name": "i",
                "registry": {"username": "u", "password": "p", "identity_reference": {"resource_id": "/x"}},
            }
        ),
        "container_settings.registry.identity_reference",
        "exclusive",
    ),
    (
        task(container_settings={"image_name": "i", "container_host_batch_bind_mounts": [{"source": "Home"}]}),
        "container_settings.container_host_batch_bind_mounts[0].source",
        "type",
    ),
    (task(application_package_references=[{"version": "1"}]), "application_package_references[0].application_id", "required"),  # noqa: E501 - one row
    (task(authentication_token_settings={"access": ["pool"]}), "authentication_token_settings.access[0]", "type"),
]  # fmt: skip

JOB_ROWS: list[tuple[dict[str, Any], str, str]] = [
    ({"pool_info": {"pool_id": "p"}}, "id", "required"),
    (job(id="a/b"), "id", "pattern"),
    (job(display_name="x" * 1025), "display_name", "length"),
    (job(priority=1001), "priority", "range"),
    (job(priority="-1001"), "priority", "range"),
    (job(max_parallel_tasks=0), "max_parallel_tasks", "range"),
    (job(max_parallel_tasks=-2), "max_parallel_tasks", "range"),
    (job(constraints={"max_wall_clock_time": "PT0S"}), "constraints.max_wall_clock_time", "range"),
    (job(constraints={"max_task_retry_count": -2}), "constraints.max_task_retry_count", "range"),
    (job(on_all_tasks_complete="stop"), "on_all_tasks_complete", "type"),
    (job(on_task_failure="stop"), "on_task_failure", "type"),
    (job(metadata={"": "x"}), "metadata[0].name", "required"),
    (job(metadata={"x": None}), "metadata[0].value", "required"),
    (job(network_configuration={}), "network_configuration.subnet_id", "required"),
    (with_task(id="x y"), "job_manager_task.id", "pattern"),
    # Where it runs
    ({"id": "j", "job_manager_task": TASK}, "pool_info", "required"),
    (job(pool_info={}), "pool_info", "exclusive"),
    (job(pool_info={"pool_id": "p", **auto()["pool_info"]}), "pool_info", "exclusive"),
    (job(pool_info={"pool_id": "p q"}), "pool_info.pool_id", "pattern"),
    (auto(auto_pool_id_prefix="x" * 21), f"{SPEC}.auto_pool_id_prefix", "pattern"),
    (auto(pool_lifetime_option=None), f"{SPEC}.pool_lifetime_option", "required"),
    (auto(pool_lifetime_option="jobschedule"), f"{SPEC}.pool_lifetime_option", "choice"),
    (job(pool_info={"auto_pool_specification": {"pool_lifetime_option": "job"}}), f"{SPEC}.pool", "required"),
    # The auto pool
    (auto({"vm_size": ""}), f"{SPEC}.pool.vm_size", "required"),
    (auto({"start_task": START}), f"{SPEC}.pool.start_task.command_line", "required"),
    (auto({"virtual_machine_configuration": None}), f"{SPEC}.pool.virtual_machine_configuration", "required"),
    (
        auto({"application_package_references": [{"application_id": "a"}] * 11}),
        f"{SPEC}.pool.application_package_references",
        "length",
    ),
    (auto({"task_slots_per_node": 257}), f"{SPEC}.pool.task_slots_per_node", "range"),
    (auto({"resize_timeout": "PT4M"}), f"{SPEC}.pool.resize_timeout", "range"),
    (auto({"enable_auto_scale": True, "target_dedicated_nodes": None}), f"{SPEC}.pool.auto_scale_formula", "partner"),
    (
        auto({"enable_auto_scale": True, "auto_scale_formula": "$x=1"}),
        f"{SPEC}.pool.target_dedicated_nodes",
        "exclusive",
    ),
    (auto({"auto_scale_formula": "$x=1"}), f"{SPEC}.pool.auto_scale_formula", "partner"),
    (
        auto({"auto_scale_evaluation_interval": "P8D"}),
        f"{SPEC}.pool.auto_scale_evaluation_interval",
        "range",
    ),
    (
        machines(image_reference={}),
        f"{SPEC}.pool.virtual_machine_configuration.image_reference",
        "exclusive",
    ),
    (
        machines(image_reference={"publisher": "p", "offer": "o"}),
        f"{SPEC}.pool.virtual_machine_configuration.image_reference.sku",
        "partner",
    ),
    (
        machines(image_reference={**MACHINES["image_reference"], "virtual_machine_image_id": "/x"}),  # type: ignore[dict-item]
        f"{SPEC}.pool.virtual_machine_configuration.image_reference.virtual_machine_image_id",
        "exclusive",
    ),
    (
        machines(image_reference={"shared_gallery_image_id": "/x", "community_gallery_image_id": "/y"}),
        f"{SPEC}.pool.virtual_machine_configuration.image_reference",
        "exclusive",
    ),
    (machines(data_disks=[{"lun": 64, "diskSizeGB": 1}]), f"{SPEC}.pool.virtual_machine_configuration.data_disks[0].logical_unit_number", "range"),  # noqa: E501 - one row
    (nat(name="-x"), f"{NAT}.name", "pattern"),
    (nat(name="x" * 78), f"{NAT}.name", "length"),
    (nat(backend_port=29_876), f"{NAT}.backend_port", "range"),
    (nat(backend_port=0), f"{NAT}.backend_port", "range"),
    (nat(frontend_port_range_end=1038), f"{NAT}.frontend_port_range_end", "range"),
    (nat(frontend_port_range_end=50_000), f"{NAT}.frontend_port_range_start", "range"),
    (
        nat(network_security_group_rules=[{"priority": 149, "access": "allow", "source_address_prefix": "*"}]),
        f"{NAT}.network_security_group_rules[0].priority",
        "range",
    ),
    (
        auto({"user_accounts": [{"name": "n", "password": "p", "linux_user_configuration": {"uid": 1}}]}),
        f"{SPEC}.pool.user_accounts[0].linux_user_configuration.gid",
        "partner",
    ),
    (auto({"user_accounts": [{"name": "n"}]}), f"{SPEC}.pool.user_accounts[0].password", "required"),
    (mount(), f"{SPEC}.pool.mount_configuration[0]", "exclusive"),
    (
        mount(azure_blob_file_system_configuration={**BLOB, "sas_key": "s"}),
        f"{SPEC}.pool.mount_configuration[0].azure_blob_file_system_configuration",
        "exclusive",
    ),
    (
        mount(nfs_mount_configuration={**NFS, "relative_mount_path": "../m"}),
        f"{SPEC}.pool.mount_configuration[0].nfs_mount_configuration.relative_mount_path",
        "escape",
    ),
    # The job as a whole
    (job(job_release_task=RELEASE), "job_preparation_task", "partner"),
    (
        job(job_preparation_task=RELEASE, job_release_task={**RELEASE, "max_wall_clock_time": "PT15M1S"}),
        "job_release_task.max_wall_clock_time",
        "range",
    ),
    (
        {**with_task(id="JobPreparation"), "job_preparation_task": RELEASE},
        "job_manager_task.id",
        "unique",
    ),
    (
        job(job_preparation_task={**RELEASE, "id": "x"}, job_release_task={**RELEASE, "id": "X"}),
        "job_release_task.id",
        "unique",
    ),
    (with_task(kill_job_on_completion=False), "job_manager_task.kill_job_on_completion", "never_ends"),
    (
        {**with_task(kill_job_on_completion="False"), "constraints": {"max_task_retry_count": 1}},
        "job_manager_task.kill_job_on_completion",
        "never_ends",
    ),
    (
        {**with_task(kill_job_on_completion=False), "constraints": {"max_wall_clock_time": "P10675199DT2H48M5.4775807S"}},  # noqa: E501 - one row
        "job_manager_task.kill_job_on_completion",
        "never_ends",
    ),
    (
        {**auto({"task_slots_per_node": 2}), "job_manager_task": task(required_slots=3)},
        "job_manager_task.required_slots",
        "range",
    ),
    (
        {**auto(), "job_manager_task": task(container_settings={"image_name": "i"})},
        "job_manager_task.container_settings",
        "pool",
    ),
    (
        machines(container_configuration={"type": "dockerCompatible"}),
        "job_manager_task.container_settings",
        "pool",
    ),
]  # fmt: skip

ROWS = [(JobManagerTask, *row) for row in TASK_ROWS] + [(Job, *row) for row in JOB_ROWS]


@pytest.mark.parametrize(("cls", "payload", "path", "rule"), ROWS, ids=[f"{row[2]}-{row[3]}" for row in ROWS])
def test_a_broken_rule_is_reported_where_it_is_broken(cls: Any, payload: dict[str, Any], path: str, rule: str) -> None:
    given = copy.deepcopy(payload)
    found = {(finding.path, finding.rule) for finding in cls.from_dict(payload).validate()}
    # That rule alone, so that nobody has to guess which of several messages matters.
    assert found == {(path, rule)}
    assert payload == given
    # A job's id may be derived when it runs, and only then is known how much is sent.
    later = rule == "size" or (cls is Job and path == "id" and rule == "required")
    found = {(finding.path, finding.rule) for finding in cls.from_dict(payload).validate(parse_time=True)}
    assert found == (set() if later else {(path, rule)})


GOOD: list[tuple[Any, dict[str, Any]]] = [
    (JobManagerTask, TASK),
    (JobManagerTask, files(file_path="a/../b/./in.csv", file_mode="0770")),
    (JobManagerTask, task(resource_files=[{"storage_container_url": "http://127.0.0.1:10000/dev/c?sig=x"}])),
    (JobManagerTask, task(resource_files=[{"auto_storage_container_name": "c", "blob_prefix": "p", "file_path": "d"}])),
    (JobManagerTask, task(output_files=[OUTPUT], environment_settings={"EMPTY": "", "UNSET": None})),
    (JobManagerTask, task(user_identity={"auto_user": {}}, constraints={"retention_time": 0})),
    (JobManagerTask, task(authentication_token_settings={"access": ["job"]})),
    (JobManagerTask, task(constraints={"max_wall_clock_time": "P10675199DT2H48M5.4775807S"})),
    (JobManagerTask, task(required_slots="", run_exclusive="None", constraints="None", resource_files="null")),
    (Job, JOB),
    (Job, job(metadata={"x": ""}, priority="-1000", max_parallel_tasks=-1)),
    (Job, job(job_preparation_task=RELEASE, job_release_task={**RELEASE, "max_wall_clock_time": "PT15M"})),
    (Job, {**with_task(kill_job_on_completion=False), "on_all_tasks_complete": "terminateJob"}),
    (Job, {**with_task(kill_job_on_completion=False), "constraints": {"max_wall_clock_time": "P1D"}}),
    (Job, auto()),
    (Job, auto({"target_dedicated_nodes": None, "enable_auto_scale": "true", "auto_scale_formula": "$x=1"})),
    (Job, nat()),
    (Job, {name: value for name, value in auto().items() if name != "job_manager_task"}),
    (Job, {**auto({"task_slots_per_node": 4}), "job_manager_task": task(required_slots=4)}),
    (Job, mount(azure_blob_file_system_configuration=BLOB)),
    (JobManagerTask, task(command_line="", container_settings={"image_name": "i"})),
    (
        Job,
        {
            **machines(container_configuration={"type": "dockerCompatible"}),
            "job_manager_task": task(container_settings={"image_name": "i"}),
            "job_preparation_task": RELEASE,
            "job_release_task": RELEASE,
        },
    ),
    (Job, machines(image_reference={"virtual_machine_image_id": "/x"}, data_disks=[{"lun": 0, "disk_size_gb": 8}])),
]


@pytest.mark.parametrize(("cls", "payload"), GOOD)
def test_what_is_right_is_not_complained_about(cls: Any, payload: dict[str, Any]) -> None:
    assert cls.from_dict(payload).validate() == []
    assert cls.from_dict(payload).validate(parse_time=True) == []


def test_all_broken_rules_are_reported_at_once_in_the_order_of_the_members() -> None:
    found = JobManagerTask.from_dict(task(id="a b", required_slots=0, user_identity={}, command_line="")).validate()
    assert [finding.path for finding in found] == ["id", "required_slots", "user_identity", "command_line"]


class XCom:
    """Stands for an object that Airflow resolves when the task runs."""


TEMPLATED: list[tuple[Any, dict[str, Any]]] = [
    (JobManagerTask, task(id="{{ run_id }}", command_line=XCom(), required_slots="{{ params.slots }}")),
    (JobManagerTask, task(resource_files=XCom(), environment_settings="{{ params.env }}", constraints=XCom())),
    (JobManagerTask, task(resource_files=[XCom(), {"http_url": "{{ url }}", "file_path": "../{{ x }}"}])),
    (JobManagerTask, task(user_identity={"username": "{{ a }}", "auto_user": "{{ b }}"})),
    (JobManagerTask, task(kill_job_on_completion="{% if x %}true{% endif %}")),
    (Job, {**with_task(kill_job_on_completion="{{ kill }}"), "priority": "{{ p }}"}),
    (Job, {**with_task(kill_job_on_completion=False), "on_all_tasks_complete": "{{ x }}"}),
    (Job, {**with_task(kill_job_on_completion=False), "constraints": XCom()}),
    (Job, {**with_task(kill_job_on_completion=False), "constraints": {"max_wall_clock_time": "{{ x }}"}}),
    (Job, {"pool_info": {"pool_id": "{{ var.value.pool }}"}, "job_manager_task": TASK}),
    (Job, {"pool_info": XCom(), "job_manager_task": XCom()}),
    (Job, {**auto({"task_slots_per_node": "{{ n }}"}), "job_manager_task": task(required_slots=8)}),
    (Job, {**machines(container_configuration=XCom()), "job_manager_task": task(container_settings={"image_name": "i"})}),  # noqa: E501 - one row
    (Job, {**machines(container_configuration="{{ c }}")}),
    (Job, auto({"enable_auto_scale": "{{ a }}", "auto_scale_formula": "$x=1"})),
    (Job, {**auto(), "job_manager_task": task(container_settings="{{ c }}")}),
    (Job, job(job_preparation_task=RELEASE, job_release_task={**RELEASE, "id": "{{ i }}", "max_wall_clock_time": "{{ w }}"})),  # noqa: E501 - one row
]  # fmt: skip


@pytest.mark.parametrize(("cls", "payload"), TEMPLATED)
def test_what_is_yet_to_be_rendered_is_left_alone_at_parse_time(cls: Any, payload: dict[str, Any]) -> None:
    assert cls.from_dict(payload).validate(parse_time=True) == []


def test_what_needs_no_rendering_is_checked_at_parse_time() -> None:
    payload = task(
        id="{{ x }}", required_slots=0, resource_files=[{**HTTP, "http_url": "{{ u }}", "file_path": "../x"}]
    )
    found = JobManagerTask.from_dict(payload).validate(parse_time=True)
    assert [(finding.path, finding.rule) for finding in found] == [
        ("resource_files[0].file_path", "escape"),
        ("required_slots", "range"),
    ]


def test_what_was_left_unrendered_is_no_number() -> None:
    found = JobManagerTask.from_dict(task(required_slots="{{ x }}")).validate()
    assert [str(finding) for finding in found] == [
        "required_slots: expected a whole number; found a text of 7 characters [type]"
    ]
