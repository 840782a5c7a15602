"""Texts that Airflow shall not render: they may be secrets as any other."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from airflow.sdk import DAG, literal
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator
from airflow_provider_jobmanager.operators.payload import job_of


@pytest.mark.parametrize("mapped", [False, True])
def test_what_airflow_shall_not_render_is_veiled_as_all_else_and_sent_as_it_is(mapped: bool, masked: list[str]) -> None:
    arguments: dict[str, Any] = {
        "command_line": literal("login --password planted-option --format {{.ID}}"),
        "environment_settings": {"DB_PASSWORD": literal("planted{{in}}side"), "FORMATS": literal(["{{.A}}"])},
        "display_name": literal("{{ name }}"),
        "pool_id": "p",
    }
    with DAG("d", schedule=None) as dag:
        if mapped:
            Operator.partial(task_id="t", **arguments).expand(required_slots=[1])
        else:
            Operator(task_id="t", **arguments)
    stored = json.dumps(DagSerialization.serialize_dag(dag), default=str)
    assert not re.findall('planted[^*"]*', stored)
    assert "--format {{.ID}}" in stored
    assert {"planted-option", "planted{{in}}side"} <= {*masked}

    task: Any = dag.get_task("t")
    operator = task.unmap({"required_slots": 1}) if mapped else task
    if not mapped:
        operator.dry_run()
    operator.render_template_fields({})
    manager = job_of(operator, "j").serialize()["jobManagerTask"]
    assert manager["commandLine"] == "login --password planted-option --format {{.ID}}"
    assert manager["displayName"] == "{{ name }}"
    assert [setting["value"] for setting in manager["environmentSettings"]] == ["planted{{in}}side", '["{{.A}}"]']
    assert not re.findall('planted[^*"]*', str(operator.environment_settings) + str(operator.command_line))


def test_a_dry_run_of_what_airflow_shall_not_render_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with DAG("d", schedule=None):
        operator = Operator(
            task_id="t", command_line=literal("ps {{.ID}}"), pool_id="p", display_name=literal("{{ n }}")
        )
    operator.dry_run()
    manager = json.loads(capsys.readouterr().out)["jobManagerTask"]
    assert (manager["commandLine"], manager["displayName"]) == ("ps {{.ID}}", "{{ n }}")
