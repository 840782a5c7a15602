"""Secrets of an operator's arguments: veiled in what Airflow stores, whole in what is sent."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_jobmanager import masking
from airflow_provider_jobmanager.masking import Veiled, unveil
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator
from airflow_provider_jobmanager.operators.payload import job_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What Airflow's masker is told."""
    told: list[str] = []
    monkeypatch.setattr(masking, "mask_secret", told.append)
    return told


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
