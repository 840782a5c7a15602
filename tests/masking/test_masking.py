"""Secrets of an operator's arguments: veiled in what Airflow stores, whole in what is sent."""

from __future__ import annotations

import copy
import json
import logging
from enum import Enum
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_jobmanager import masking
from airflow_provider_jobmanager.batch.marks import marked_names
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.errors import PayloadError
from airflow_provider_jobmanager.masking import Veiled, unveil
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator
from airflow_provider_jobmanager.operators.payload import job_of, request_body

OWNER = Owner("d", "t", "r")
SIGNATURE = "SgnAtUrE%2Bplanted%3D"
PASSWORD = "planted-pass-word"
SHORT = "pw1"
REGISTRY = "planted-registry-pw"
SECRETS = (SIGNATURE, PASSWORD, REGISTRY, "SgnAtUrE+planted=")
ARGUMENTS: dict[str, Any] = {
    "command_line": f"/bin/sh -c 'fetch https://s.example/c/x?sv=1&sig={SIGNATURE}&se=2; use {PASSWORD}'",
    "pool_id": "p",
    "environment_settings": [
        {"name": "DB_PASSWORD", "value": PASSWORD},
        {"name": "PIN", "value": SHORT, "secret": True},
        {"name": "PLAIN", "value": "shown"},
        {"name": "TEMPLATED_TOKEN", "value": "{{ params.token }}"},
    ],
    "resource_files": [{"http_url": f"https://s.example/c/f?sv=1&sig={SIGNATURE}", "file_path": "f"}],
    "container_settings": {
        "image_name": "i",
        "registry": {"username": "u", "password": REGISTRY, "registry_server": "r.example"},
    },
}


def an_operator(**more: Any) -> Operator:
    with DAG("d", schedule=None, params={"token": "planted-by-a-param"}):
        return Operator(task_id="t", **{**ARGUMENTS, **more})


def test_every_secret_is_told_to_airflows_masker(masked: list[str]) -> None:
    an_operator()
    assert {*SECRETS, SHORT} <= set(masked)
    assert not any("{{" in secret for secret in masked)


def test_what_is_sent_is_whole() -> None:
    body = job_of(an_operator(), "j").serialize()["jobManagerTask"]
    assert body["commandLine"] == ARGUMENTS["command_line"]
    assert [setting["value"] for setting in body["environmentSettings"]][:2] == [PASSWORD, SHORT]
    assert body["resourceFiles"][0]["httpUrl"].endswith(SIGNATURE)
    assert body["containerSettings"]["registry"]["password"] == REGISTRY


def test_the_serialized_dag_never_had_them() -> None:
    operator = an_operator()
    text = json.dumps(DagSerialization.serialize_dag(operator.dag), default=str)
    for secret in (*SECRETS, f'"{SHORT}"'):
        assert secret not in text
    assert "https://s.example/c/x?sv=1&sig=***&se=2; use ***" in text
    assert "shown" in text


def test_no_representation_shows_them() -> None:
    operator = an_operator()
    shown = [repr(getattr(operator, name)) + str(getattr(operator, name)) for name in operator.template_fields]
    for secret in (*SECRETS, SHORT):
        assert secret not in "".join(shown)


def test_rendering_reaches_what_is_veiled_and_masks_what_it_brings(masked: list[str]) -> None:
    operator = an_operator()
    operator.render_template_fields({"params": {"token": "rendered-token"}})

    values = {item["name"]: item["value"] for item in operator.environment_settings}
    assert isinstance(values["TEMPLATED_TOKEN"], Veiled)
    assert values["TEMPLATED_TOKEN"].value == "rendered-token"
    assert "rendered-token" in masked
    assert values["PLAIN"] == "shown"
    assert job_of(operator, "j").serialize()["jobManagerTask"]["environmentSettings"][3]["value"] == "rendered-token"


def test_the_rendered_fields_that_airflow_stores(masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    operator = an_operator()
    operator.render_template_fields({"params": {"token": "rendered-token"}})
    text = json.dumps(_serialize_rendered_fields(operator))

    for secret in (*SECRETS, f'"{SHORT}"', "rendered-token"):
        assert secret not in text
    assert json.loads(text)["environment_settings"][2] == {"name": "PLAIN", "value": "shown"}


def test_a_mapped_operator_is_veiled_and_sends_all() -> None:
    partial = {name: value for name, value in ARGUMENTS.items() if name != "command_line"}
    with DAG("d", schedule=None) as dag:
        Operator.partial(task_id="t", retries=2, **partial).expand(command_line=["a", "b"])
    text = json.dumps(DagSerialization.serialize_dag(dag), default=str)
    for secret in (*SECRETS, f'"{SHORT}"'):
        assert secret not in text
    assert "shown" in text

    operator = dag.get_task("t").unmap({"command_line": "a"})

    assert isinstance(operator, Operator)
    assert operator.retries == 2
    body = job_of(operator, "j").serialize()["jobManagerTask"]
    assert body["commandLine"] == "a"
    assert [setting["value"] for setting in body["environmentSettings"]][:2] == [PASSWORD, SHORT]
    assert body["containerSettings"]["registry"]["password"] == REGISTRY


STRUCTURED = {
    "API_TOKENS": ["tok-aaaaaa", "tok-{{ params.token }}"],
    "DB_CREDENTIALS": {"user": "some-user", "pin": "sesame123", "code": 654321},
    "PLAIN": ["shown"],
}
STRUCTURED_SECRETS = ("tok-aaaaaa", "some-user", "sesame123", "654321")


@pytest.mark.parametrize("mapped", [False, True])
def test_a_structure_under_a_telling_name_is_veiled_and_sent_whole(mapped: bool, masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    given = {"task_id": "t", "pool_id": "p", "environment_settings": STRUCTURED}
    with DAG("d", schedule=None) as dag:
        if mapped:
            Operator.partial(**given).expand(command_line=["a"])
        else:
            Operator(**given, command_line="a")
    stored = json.dumps(DagSerialization.serialize_dag(dag), default=str)
    operator = dag.get_task("t").unmap({"command_line": "a"}) if mapped else dag.get_task("t")
    told = list(masked)
    operator.render_template_fields({"params": {"token": "rendered"}})
    rendered = json.dumps(_serialize_rendered_fields(operator))

    assert {*STRUCTURED_SECRETS} <= {*told}
    assert "tok-rendered" in masked
    for secret in (*STRUCTURED_SECRETS, "tok-rendered", "tok-{{"):
        assert secret not in stored + rendered + str(operator.environment_settings)
    assert "shown" in stored
    assert "shown" in rendered
    sent = job_of(operator, "j").serialize()["jobManagerTask"]["environmentSettings"]
    assert {each["name"]: json.loads(each["value"]) for each in sent} == {
        **STRUCTURED,
        "API_TOKENS": ["tok-aaaaaa", "tok-rendered"],
    }


def test_a_key_that_is_a_secret_is_veiled_and_sent_whole(masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    tokens = {"tok-abcdefgh": "alice", "tok-ijklmnop": "{{ params.token }}"}
    operator = an_operator(environment_settings={"API_TOKENS": tokens}, command_line="use tok-abcdefgh")
    stored = json.dumps(DagSerialization.serialize_dag(operator.dag), default=str)
    running = copy.deepcopy(operator).prepare_for_execution()
    running.render_template_fields({"params": {"token": "rendered"}})
    rendered = json.dumps(_serialize_rendered_fields(running))

    assert {*tokens, "rendered"} <= {*masked}
    for text in (stored, rendered, repr(running.environment_settings), str(running.command_line)):
        assert "tok-" not in text
        assert "alice" not in text
    sent = job_of(running, "j").serialize()["jobManagerTask"]
    assert json.loads(sent["environmentSettings"][0]["value"]) == {**tokens, "tok-ijklmnop": "rendered"}
    assert sent["commandLine"] == "use tok-abcdefgh"


class Name(Enum):
    DATABASE = "DB_PASSWORD"


class Where:
    """Anything that stands for a path."""

    def __fspath__(self) -> str:
        return "/secret/place"

    __str__ = __fspath__


@pytest.mark.parametrize(
    "settings",
    [
        {"X": {"value": "/secret/place", "secret": " true "}},
        {"X": {"value": "/secret/place", "secret": "{{ params.hide }}"}},
        {Name.DATABASE: "/secret/place"},
        {"DB_PASSWORD": PurePosixPath("/secret/place")},
        {"DB_PASSWORD": Where()},
        {"DB_PASS": "/secret/place"},
        {"DB_PASSWORD": "/secret/place\n"},
        {"DB_PASSWORD": "first-line\n/secret/place"},
    ],
)
def test_however_a_secret_is_written_it_is_stored_nowhere(settings: dict[Any, Any], masked: list[str]) -> None:
    operator = an_operator(environment_settings=settings, command_line="use /secret/place")
    assert "/secret/place" not in json.dumps(DagSerialization.serialize_dag(operator.dag), default=str)
    assert "/secret/place" in masked
    operator.render_template_fields({"params": {"hide": "True\n"}})
    (sent,) = job_of(operator, "j").serialize()["jobManagerTask"]["environmentSettings"]
    assert "/secret/place" in sent["value"]


def test_a_value_that_slipped_into_a_name_is_not_told() -> None:
    with pytest.raises(PayloadError, match="must not contain =") as caught:
        an_operator(environment_settings={f"CONN={PASSWORD}": "x"})
    assert PASSWORD not in str(caught.value)


def test_a_rendered_secret_that_looks_like_a_template_is_masked(masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    operator = an_operator(
        environment_settings={"DB_PASSWORD": "{{ params.token }}"}, command_line="run {{ params.token }}"
    )
    operator.render_template_fields({"params": {"token": "ab{#cdefgh"}})
    assert "ab{#cdefgh" in masked
    assert _serialize_rendered_fields(operator)["command_line"] == "run ***"
    assert job_of(operator, "j").serialize()["jobManagerTask"]["commandLine"] == "run ab{#cdefgh"


@pytest.mark.parametrize("mark", ["yes", "1", " True\n"])
def test_a_rendered_mark_that_is_none_hides_until_it_is_refused(mark: str, masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    operator = an_operator(environment_settings={"X": {"value": "{{ params.token }}", "secret": "{{ params.mark }}"}})
    operator.render_template_fields({"params": {"token": "value-three", "mark": mark}})
    assert "value-three" in masked
    assert "value-three" not in json.dumps(_serialize_rendered_fields(operator))


def test_what_rendering_brings_into_a_mapped_task_is_masked(masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    given = {"token": "rendered-token", "command": f"get https://h/x?sig={SIGNATURE}"}
    with DAG("d", schedule=None, params=given) as dag:
        Operator.partial(
            task_id="t", pool_id="p", environment_settings=[{"name": "A_TOKEN", "value": "{{ params.token }}"}]
        ).expand(command_line=["{{ params.command }}"])
    context = {"dag": dag, "dag_run": SimpleNamespace(conf={}), "ti": SimpleNamespace(map_index=0)}

    dag.get_task("t").render_template_fields(context)

    operator = context["task"]
    text = json.dumps(_serialize_rendered_fields(operator))
    assert "get https://h/x?sig=***" in text
    assert SIGNATURE not in text
    assert "rendered-token" not in text
    assert {"rendered-token", SIGNATURE} <= set(masked)
    assert job_of(operator, "j").serialize()["jobManagerTask"]["commandLine"].endswith(SIGNATURE)


def test_a_mapping_of_names_to_values_is_veiled_by_name() -> None:
    operator = an_operator(environment_settings={"DB_PASSWORD": PASSWORD, "PLAIN": "shown"})
    assert operator.environment_settings["PLAIN"] == "shown"
    assert str(operator.environment_settings["DB_PASSWORD"]) == "***"
    assert unveil(operator.environment_settings) == {"DB_PASSWORD": PASSWORD, "PLAIN": "shown"}


def test_what_another_task_brings_stays_a_dependency() -> None:
    with DAG("d", schedule=None):
        upstream = Operator(task_id="up", command_line="x", pool_id="p")
        operator = Operator(
            task_id="t",
            command_line="x",
            pool_id="p",
            environment_settings=[{"name": "TOKEN", "value": upstream.output}],
        )
    assert operator.upstream_task_ids == {"up"}


def test_arguments_without_secrets_are_left_as_they_are() -> None:
    arguments = {"environment_settings": [{"name": "A", "value": "b"}], "command_line": "x"}
    operator = an_operator(**arguments, resource_files=None, container_settings=None)
    for name, value in arguments.items():
        assert getattr(operator, name) == value


def test_airflows_own_masker_takes_what_is_registered(caplog: pytest.LogCaptureFixture) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    masking.register({"environment_settings": [{"name": "X", "value": "registered-one", "secret": "true"}]})

    assert redact("in a line: registered-one.") == "in a line: ***."
    logging.getLogger("quiet").info("nothing")


ENVIRONMENT = [
    {"name": "DB_PASSWORD", "value": PASSWORD},
    {"name": "PLAIN", "value": "planted-and-marked", "secret": True},
    {"name": "SEEN", "value": "shown"},
]
WHOLE: dict[str, Any] = {
    "environment_settings": ENVIRONMENT,
    "resource_files": [{"http_url": f"https://s.example/c/f?sv=1&sig={SIGNATURE}&se=2", "file_path": "f"}],
    "container_settings": ARGUMENTS["container_settings"],
    "job": {"common_environment_settings": {"COMMON_SECRET": "planted-in-common"}},
    "keep_logs": {"container_url": f"https://s.example/logs?sv=1&sig={SIGNATURE}", "path": "here"},
}


@pytest.mark.parametrize("template", ["{{ params.%s | tojson }}", "{{ params.%s }}"])
def test_a_whole_structure_that_a_template_brings_as_text(masked: list[str], template: str) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    operator = an_operator(**{name: template % name for name in WHOLE})
    masked.clear()

    operator.render_template_fields({"params": WHOLE})

    planted = (*SECRETS, "planted-and-marked", "planted-in-common")
    assert set(planted) <= set(masked)
    text = json.dumps(_serialize_rendered_fields(operator))
    for secret in planted:
        assert secret not in text
    assert "https://s.example/c/f?sv=1&sig=***&se=2" in text
    assert "shown" in text
    body = request_body(operator, OWNER, "j")
    manager = body["jobManagerTask"]
    assert [setting["value"] for setting in manager["environmentSettings"]] == [PASSWORD, "planted-and-marked", "shown"]
    assert manager["resourceFiles"][0]["httpUrl"] == WHOLE["resource_files"][0]["http_url"]
    assert manager["containerSettings"]["registry"]["password"] == REGISTRY
    assert manager["outputFiles"][0]["destination"]["container"]["containerUrl"].endswith(SIGNATURE)
    assert body["commonEnvironmentSettings"][0]["value"] == "planted-in-common"
    assert marked_names(body) == {"PLAIN"}


def test_a_tuple_that_another_task_brings_is_veiled(masked: list[str]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    with DAG("d", schedule=None, render_template_as_native_obj=True) as dag:
        operator = Operator(task_id="t", command_line="x", pool_id="p", environment_settings="{{ params.env }}")
    operator.render_template_fields({"params": {"env": tuple(ENVIRONMENT)}, "dag": dag})

    text = json.dumps(_serialize_rendered_fields(operator))
    assert PASSWORD not in text
    assert "planted-and-marked" not in text
    assert "shown" in text


NAMES = {
    "azure_batch_conn_id": "north_batch",
    "job_id": "north-job",
    "job_manager_id": "north-manager",
    "pool_id": "north-pool",
    "result_file": "north.json",
    "command_line": "run north",
    "display_name": "north",
    "keep_logs": "https://north.example/logs",
    "container_settings": {"image_name": "north"},
    "resource_files": [{"http_url": "https://north.example/a", "file_path": "north"}],
    "output_files": [
        {
            "file_pattern": "north",
            "destination": {"container": {"container_url": "https://north.example/c"}},
            "upload_options": {"upload_condition": "tasksuccess"},
        }
    ],
    "environment_settings": {"PARTITION_KEY": "north", "AT": "north-east"},
    "user_identity": {"username": "north"},
    "application_package_references": [{"application_id": "north", "version": "1"}],
    "authentication_token_settings": {"access": ["job"]},
    "constraints": {"max_wall_clock_time": "PT54321S"},
    "required_slots": "1",
    "kill_job_on_completion": "true",
    "run_exclusive": "true",
    "allow_low_priority_node": "true",
    "job": {"display_name": "north", "metadata": {"A_KEY": "54321", "at": "north"}},
    "auto_pool": {
        "pool_lifetime_option": "job",
        "auto_pool_id_prefix": "north",
        "keep_alive": True,
        "pool": {
            "vm_size": "north",
            "virtual_machine_configuration": {
                "image_reference": {"offer": "north", "publisher": "north", "sku": "north"},
                "node_agent_sku_id": "north",
                "container_configuration": {"type": "dockerCompatible"},
            },
        },
    },
}


@pytest.mark.filterwarnings("ignore:.*authentication_token_settings is retired:DeprecationWarning")
@pytest.mark.parametrize("place", ["pool_id", "auto_pool"])
def test_every_argument_is_sent_whole_though_a_secret_stands_in_it(place: str) -> None:
    assert {*NAMES} == {*Operator.template_fields}
    given = {name: value for name, value in NAMES.items() if name == place or name not in {"pool_id", "auto_pool"}}
    with DAG("d", schedule=None):
        operator = Operator(task_id="t", **given)
    never_veiled = SimpleNamespace(**dict.fromkeys(NAMES) | given)
    expected = job_of(never_veiled, "north-job", OWNER).serialize()

    operator.render_template_fields({})

    assert job_of(operator, operator.job_id, OWNER).serialize() == expected
    assert "***" not in json.dumps(expected)
    for name in ("azure_batch_conn_id", "job_id", "job_manager_id", "result_file", "kill_job_on_completion"):
        assert getattr(operator, name) == given[name]


def test_each_run_in_one_process_renders_its_own_secrets() -> None:
    with DAG("d", schedule=None):
        operator = Operator(
            task_id="t",
            command_line="x --token {{ params.token }}",
            pool_id="p",
            environment_settings={"API_TOKEN": "{{ params.token }}"},
            resource_files=[{"http_url": "https://h/a?sig={{ params.token }}", "file_path": "a"}],
        )
    for token in ("one-token", "two-token"):
        running = operator.prepare_for_execution()
        running.render_template_fields({"params": {"token": token}})
        manager = job_of(running, "j").serialize()["jobManagerTask"]
        assert manager["environmentSettings"] == [{"name": "API_TOKEN", "value": token}]
        assert manager["commandLine"] == f"x --token {token}"
        assert manager["resourceFiles"][0]["httpUrl"] == f"https://h/a?sig={token}"
    assert unveil(operator.environment_settings) == {"API_TOKEN": "{{ params.token }}"}


@pytest.mark.parametrize("keep_logs", [WHOLE["keep_logs"], WHOLE["keep_logs"]["container_url"]])
def test_kept_logs_of_a_mapped_operator(keep_logs: Any) -> None:
    with DAG("d", schedule=None) as dag:
        Operator.partial(task_id="t", pool_id="p", keep_logs=keep_logs).expand(command_line=["a", "b"])
    assert SIGNATURE not in json.dumps(DagSerialization.serialize_dag(dag), default=str)

    operator = dag.get_task("t").unmap({"command_line": "a"})

    (kept,) = job_of(operator, "j", OWNER).serialize()["jobManagerTask"]["outputFiles"]
    assert kept["destination"]["container"]["containerUrl"] == WHOLE["keep_logs"]["container_url"]


def test_what_other_tasks_bring_to_a_mapped_task_is_no_template() -> None:
    brought = [{"DB_PASSWORD": "{{ 1 + 1 }}", "PLAIN": "{{ 2 + 2 }}"}]
    with DAG("d", schedule=None) as dag:
        upstream = Operator(task_id="up", command_line="x", pool_id="p")
        Operator.partial(task_id="t", command_line="{{ 3 + 3 }}", pool_id="p").expand(
            environment_settings=upstream.output
        )
    ti = SimpleNamespace(map_index=0, xcom_pull=lambda **_: brought, task=None)
    context = {"dag": dag, "dag_run": SimpleNamespace(conf={}), "ti": ti, "expanded_ti_count": 1}

    dag.get_task("t").render_template_fields(context)

    manager = job_of(context["task"], "j").serialize()["jobManagerTask"]
    assert manager["commandLine"] == "6"
    assert {each["name"]: each["value"] for each in manager["environmentSettings"]} == brought[0]
