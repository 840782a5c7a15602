"""From the operator's arguments to the request body: both spellings, templates, masks, and what is refused when."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import task
from airflow.serialization.serialized_objects import DagSerialization
from azure.batch import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_jobmanager.batch.job_manager_task import ResourceFile, TaskConstraints
from airflow_provider_jobmanager.batch.rules import LARGEST_REQUEST
from airflow_provider_jobmanager.errors import ConfigurationError, PayloadError, ServiceRefused
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator
from airflow_provider_jobmanager.operators.payload import explained
from airflow_provider_jobmanager.operators.queueing import Queueing
from tests.operators.parsing import OWNER, PARAMS, a_dag, an_operator, body_of

if TYPE_CHECKING:
    from pytest_mock import MockerFixture


@pytest.mark.parametrize("native", [False, True])
def test_every_string_at_any_depth_is_a_template(native: bool) -> None:
    with a_dag(render_template_as_native_obj=native) as dag:
        operator = Operator(
            task_id="t",
            command_line="/bin/sh -c 'echo {{ params.name }}'",
            pool_id="{{ params.pool }}",
            required_slots="{{ params.slots }}",
            run_exclusive="{{ params.flag }}",
            resource_files=[
                ResourceFile(http_url="https://a/{{ params.name }}", file_path="{{ params.name }}"),
                models.ResourceFile(http_url="https://b/{{ params.name }}", file_path="b"),
                {"httpUrl": "https://c/{{ params.name }}", "file_path": "c"},
            ],
            environment_settings={"NAME": "{{ params.name }}", "SLOTS": "{{ params.slots }}"},
            constraints=TaskConstraints(
                max_wall_clock_time="{{ params.hours }}", max_task_retry_count="{{ params.slots }}"
            ),
            job={"priority": "{{ params.slots }}", "metadata": {"k": "{{ params.name }}"}},
        )

    operator.render_template_fields({"params": PARAMS, "dag": dag})
    body = body_of(operator)

    manager = body["jobManagerTask"]
    assert manager["commandLine"] == "/bin/sh -c 'echo X1'"
    assert [file["httpUrl"] for file in manager["resourceFiles"]] == ["https://a/X1", "https://b/X1", "https://c/X1"]
    assert manager["resourceFiles"][0]["filePath"] == "X1"
    assert manager["environmentSettings"] == [{"name": "NAME", "value": "X1"}, {"name": "SLOTS", "value": "4"}]
    assert manager["constraints"] == {"maxWallClockTime": "PT2H", "maxTaskRetryCount": 4}
    assert (manager["requiredSlots"], manager["runExclusive"]) == (4, False)
    assert (body["priority"], body["poolInfo"]) == (4, {"poolId": "local"})
    assert body["metadata"][0] == {"name": "k", "value": "X1"}
    assert body["metadata"][1:] == OWNER.metadata()


@pytest.mark.parametrize("native", [False, True])
def test_json_that_a_template_writes_is_a_value(native: bool) -> None:
    wanted = {"screws": [1, None], "nails": {"value": 1.5, "secret": "no"}}
    with a_dag(render_template_as_native_obj=native) as dag:
        operator = Operator(
            task_id="t",
            command_line="run",
            pool_id="p",
            environment_settings={
                "WANTED": "{{ wanted | tojson }}",
                "LIST": "{{ [3, 'x'] | tojson }}",
                "NONE": "{{ {} | tojson }}",
                "HIDDEN": {"value": "{{ {'value': wanted} | tojson }}", "secret": True},
            },
            job={"common_environment_settings": [{"name": "WANTED", "value": "{{ wanted | tojson }}"}]},
        )
    operator.render_template_fields({"wanted": wanted, "dag": dag})

    body = body_of(operator)

    sent = {setting["name"]: setting["value"] for setting in body["jobManagerTask"]["environmentSettings"]}
    as_json = json.dumps(wanted, sort_keys=True)
    assert sent == {"WANTED": as_json, "LIST": '[3, "x"]', "NONE": "{}", "HIDDEN": f'{{"value": {as_json}}}'}
    assert body["commonEnvironmentSettings"] == [{"name": "WANTED", "value": as_json}]


def test_a_value_with_an_unresolved_part_waits_for_it() -> None:
    with a_dag():

        @task
        def count() -> int:
            return 1

        Operator(task_id="t", command_line="x", pool_id="p", environment_settings={"WANTED": {"nails": count()}})


def test_a_rendered_value_of_the_wrong_form_is_named_without_being_shown() -> None:
    operator = an_operator(
        required_slots="{{ params.name }}",
        constraints={"maxWallClockTime": "{{ params.name }}"},
    )
    operator.render_template_fields({"params": {**PARAMS, "name": "hunter2"}})

    with pytest.raises(PayloadError) as caught:
        body_of(operator)

    assert {error.path for error in caught.value.errors} == {
        "required_slots",
        "constraints.max_wall_clock_time",
    }
    assert "hunter2" not in str(caught.value)


def test_where_logs_are_kept_may_be_a_template() -> None:
    operator = an_operator(keep_logs="{{ params.name }}")
    container = {"container_url": "https://a.blob.core.windows.net/logs?sig=x", "path": "here"}
    operator.render_template_fields({"params": {"name": container}})
    (kept,) = body_of(operator)["jobManagerTask"]["outputFiles"]
    assert kept["destination"]["container"] == {"containerUrl": container["container_url"], "path": "here"}

    wrong = an_operator(keep_logs="{{ params.name }}")
    wrong.render_template_fields({"params": {"name": "not a URL"}})
    with pytest.raises(PayloadError, match="keep_logs can't be sent"):
        body_of(wrong)


OWN_POOL = {
    "poolLifetimeOption": "Job",
    "pool": {
        "vmSize": "standard_d2s_v3",
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "p", "offer": "o", "sku": "s"},
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
        },
        "targetDedicatedNodes": 1,
    },
}


@pytest.mark.parametrize("changes", [{"keepAlive": True}, {"keepAlive": "{{ x }}"}])
def test_a_result_file_goes_with_a_pool_that_outlives_the_job(changes: dict[str, Any]) -> None:
    an_operator(pool_id=None, auto_pool={**OWN_POOL, **changes}, result_file="r.json")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pool_id": None}, "pool_id"),
        ({"auto_pool": {}}, "both were given"),
        ({"job_id": "x" * 65}, "job_id: expected 1 to 64"),
        ({"job_id": "a/b"}, "job_id"),
        ({"job_manager_id": "a b"}, "job_manager_id"),
        ({"command_line": ""}, "command_line: must not be blank"),
        ({"command_line": " \n"}, "command_line: must not be blank"),
        ({"job": {"jobPreparationTask": {"commandLine": " "}}}, "job.job_preparation_task.command_line: must not be"),
        ({"pool_id": None, "auto_pool": OWN_POOL, "result_file": "r.json"}, "Set keep_alive in auto_pool"),
        ({"kill_job_on_completion": False}, "kill_job_on_completion: false leaves the job without an end"),
        ({"required_slots": 0}, "required_slots"),
        ({"constraints": {"maxretry": 1}}, "did you mean maxTaskRetryCount"),
        ({"environment_settings": {"A": {"value": "x", "secrte": True}}}, "did you mean secret"),
        ({"environment_settings": {"A": {"nails": float("nan")}}}, "environment_settings[0].value: expected a text"),
        ({"job": {"prio": 1}}, "did you mean priority"),
        ({"job": {"poolInfo": {"poolId": "x"}}}, "give it as pool_id or auto_pool"),
        ({"job": {"jobManagerTask": {"id": "x"}}}, "the operator's own arguments"),
        ({"job": {"priority": 2000}}, "job.priority"),
        ({"job": {"jobReleaseTask": {"commandLine": "x", "maxWallClockTime": "PT20M"}}}, "job.job_release_task"),
        ({"resource_files": [{"httpUrl": "https://h/a", "filePath": "../a"}]}, "resource_files[0].file_path"),
        ({"wait_for": "tasks"}, "wait_for must be 'job' or 'job_manager'"),
        ({"children": "some"}, "children must be"),
        ({"on_kill_action": "kill"}, "on_kill_action must be"),
        ({"on_finish_action": "drop"}, "on_finish_action must be"),
        ({"poll_interval": 0}, "poll_interval must be seconds above 0, not 0"),
        ({"poll_interval": "5"}, "poll_interval must be seconds above 0, not '5'"),
        ({"out_of_sight": float("inf")}, "out_of_sight must be seconds above 0, not inf"),
        ({"out_of_sight": 10**400}, "out_of_sight must be seconds above 0, not 1000"),
        ({"poll_interval": True}, "poll_interval"),
        ({"out_of_sight": float("nan")}, "out_of_sight"),
        ({"timeout": "PT1H"}, "timeout must be seconds above 0, as a number or a timedelta, not 'PT1H'"),
        ({"timeout": -5}, "timeout must be"),
        ({"timeout": dt.timedelta(0)}, "timeout must be"),
        ({"start_timeout": 0}, "start_timeout must be"),
        ({"quota_timeout": -1}, "quota_timeout must be 0 or more seconds"),
        (
            {"keep_logs": "not a URL"},
            "keep_logs can't be sent to the Batch service:\n  - container_url: expected an http",
        ),
        ({"keep_logs": "{'container_url': 'not a URL'}"}, "keep_logs can't be sent to the Batch service"),
        ({"keep_logs": "{'path': 'x'}"}, "keep_logs: container_url is missing"),
        ({"deferrable": "false"}, "deferrable must be True or False and can't be a template; found a text of 5"),
        ({"stream_logs": "{{ params.flag }}"}, "stream_logs must be True or False"),
        ({"stream_logs": None}, "stream_logs must be True or False"),
        ({"result_file": "/r.json?sig=SECRETSIG"}, "not '/r.json?sig=***'."),
        ({"result_file": "https://a.blob/" + "x" * 2000}, "not a text of 2015 characters."),
    ],
)
def test_what_needs_no_rendering_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        an_operator(**arguments)

    assert named in str(caught.value)


def test_a_job_that_others_end_is_allowed_to_who_waits_for_the_manager_alone() -> None:
    operator = an_operator(kill_job_on_completion=False, wait_for="job_manager")

    assert body_of(operator)["jobManagerTask"]["killJobOnCompletion"] is False


def test_xcoms_and_mapping_pass_through_parsing() -> None:
    with a_dag() as dag:

        @task
        def settings() -> dict[str, Any]:
            return {"priority": 3}

        @task
        def name() -> str:
            return "result.json"

        Operator(task_id="whole", command_line="x", pool_id="p", job=settings(), resource_files=settings())
        Operator(task_id="named", command_line="x", pool_id="p", result_file=name(), keep_logs=name())
        Operator.partial(
            task_id="mapped",
            pool_id="p",
            resource_files=[ResourceFile(http_url="https://h/{{ params.name }}", file_path="a")],
        ).expand(command_line=["a", "b", "c"])

    assert dag.get_task("named").upstream_task_ids == {"name", "name__1"}
    assert dag.get_task("whole").upstream_task_ids == {"settings", "settings__1"}
    assert DagSerialization.serialize_dag(dag)


def test_the_serialized_dag_holds_the_payload_as_plain_data() -> None:
    with a_dag() as dag:
        Operator(
            task_id="t",
            command_line="x",
            pool_id="p",
            resource_files=[models.ResourceFile(http_url="https://h/a", file_path="a")],
            constraints=TaskConstraints(max_task_retry_count=2),
        )

    (serialized,) = DagSerialization.serialize_dag(dag)["tasks"]

    text = json.dumps(serialized, default=str)
    assert "ResourceFile(" not in text
    assert "TaskConstraints(" not in text
    assert "https://h/a" in text


def test_a_request_is_measured_as_it_is_sent() -> None:
    def made(size: int) -> dict[str, Any]:
        settings = {"A": "x" * size, "B": {"value": "y", "secret": True}}
        return body_of(an_operator(environment_settings=settings, job_id="j"))

    most = LARGEST_REQUEST - len(json.dumps(made(0)))
    backstop = {"constraints": {"maxWallClockTime": f"PT{2**40}S"}}
    assert len(json.dumps({**made(most - 128), **backstop})) < LARGEST_REQUEST
    with pytest.raises(PayloadError, match=r"job: .* at most 1048576 bytes, 128 of them .*; found 1048526 bytes"):
        made(most - 50)


@pytest.mark.parametrize(("given", "sent"), [(0, "0"), (7, "7"), ("", None), (None, None)])
def test_a_job_id_that_renders_to_a_number_is_one(given: Any, sent: str | None, mocker: MockerFixture) -> None:
    with a_dag(render_template_as_native_obj=True) as dag:
        operator = Operator(task_id="t", command_line="x", pool_id="p", job_id="{{ params.j }}")
    operator.render_template_fields({"params": {"j": given}, "dag": dag})
    operator.hook = mocker.Mock()  # a cached property
    run = mocker.Mock(owner=OWNER)

    operator._submit({"dag_run": mocker.Mock(start_date=None)}, run, Queueing(began=0))

    assert run.submit.call_args.args[0].get("id") == sent


@pytest.mark.parametrize("native", [False, True])
def test_a_job_that_renders_to_nothing_is_unset(native: bool) -> None:
    with a_dag(render_template_as_native_obj=native) as dag:
        operator = Operator(task_id="t", command_line="run", pool_id="p", job="{{ params.nothing }}")

    operator.render_template_fields({"params": {"nothing": None}, "dag": dag})

    assert body_of(operator)["metadata"] == OWNER.metadata()


@pytest.mark.parametrize("whole", ["{{ params.job }}", "XComArg"])
def test_a_job_yet_to_be_rendered_hides_no_mistake_in_other_arguments(whole: str) -> None:
    with a_dag():

        @task
        def settings() -> dict[str, Any]:
            return {"on_all_tasks_complete": "terminatejob"}

        job = settings() if whole == "XComArg" else whole
        Operator(task_id="fine", command_line="x", pool_id="p", kill_job_on_completion=False, job=job)
        with pytest.raises(PayloadError) as caught:
            Operator(task_id="t", command_line="", pool_id="p", job_manager_id="a/b", job=job)
        with pytest.raises(ConfigurationError, match="pool_id"):
            Operator(task_id="u", command_line="x", job=job)

    assert {error.path for error in caught.value.errors} == {"command_line", "job_manager_id"}


def test_a_result_file_with_a_pool_yet_to_be_rendered() -> None:
    an_operator(pool_id=None, auto_pool="{{ params.pool }}", result_file="result.json")


def test_the_authentication_token_is_sent_as_it_is_with_a_warning_and_its_refusal_explained() -> None:
    with pytest.warns(DeprecationWarning, match="managed identity") as caught, a_dag():
        operator = Operator(
            task_id="t", command_line="run", pool_id="local", authentication_token_settings={"access": ["job"]}
        )

    assert caught[0].filename == __file__
    assert body_of(operator)["jobManagerTask"]["authenticationTokenSettings"] == {"access": ["job"]}
    refusal = ServiceRefused(
        status=403,
        code="Forbidden",
        message="Access is Forbidden",
        values={"Reason": "Property authenticationTokenSettings is not enabled for current account"},
    )
    assert "managed identity" in str(explained(refusal, operator))
    assert explained(refusal, an_operator()) is refusal


@pytest.mark.filterwarnings("ignore:.*authentication_token_settings is retired:DeprecationWarning")
def test_a_refusal_that_names_no_property_is_explained_when_the_token_may_be_meant() -> None:
    operator = an_operator(authentication_token_settings={"access": ["job"]})
    said = {"status": 400, "code": "UnsupportedProperty"}
    nameless = ServiceRefused(message="One of the properties specified in the request body is not supported.", **said)
    assert "managed identity" in str(explained(nameless, operator))
    for other in (
        nameless.with_hint("x"),
        ServiceRefused(message="No.", values={"PropertyName": "dependsOn"}, **said),
        ServiceRefused(message="The property 'dependsOn' is not supported.", **said),
    ):
        unset = an_operator(authentication_token_settings="{{ none }}")
        unset.render_template_fields({})
        assert explained(other, unset) is other
        if other.values or "'" in other.message:
            assert explained(other, operator) is other


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=15), inner, max_size=4),
    max_leaves=12,
)
likely_names = st.sampled_from(
    ["id", "httpUrl", "http_url", "filePath", "name", "value", "maxWallClockTime", "autoUser", "priority", "metadata"]
)
payload = json_like | st.dictionaries(likely_names, json_like, max_size=4)
arguments = st.dictionaries(
    st.sampled_from(
        [
            "command_line",
            "pool_id",
            "auto_pool",
            "job_id",
            "job_manager_id",
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
            "allow_low_priority_node",
            "authentication_token_settings",
            "job",
            "keep_logs",
            "result_file",
        ]
    ),
    payload,
    max_size=3,
)


@settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(arguments)
def test_ten_thousand_payloads_end_in_success_or_in_our_own_error(given_arguments: dict[str, Any]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            operator = Operator(**{"task_id": "t", "command_line": "run", "pool_id": "local", **given_arguments})
            json.dumps(body_of(operator))
    except ConfigurationError:
        pass
