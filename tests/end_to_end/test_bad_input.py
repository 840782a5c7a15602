"""What a user gets wrong, and what Airflow then says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.demo.airflow_home import AirflowHomeError, free_port
from airflow_provider_jobmanager.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

DAG_FILE = """
from airflow.sdk import DAG
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG("{dag_id}", schedule=None):
    AzureBatchJobManagerOperator(task_id="run", {arguments})
"""


def dag_file(dag_id: str, **arguments: Any) -> str:
    return DAG_FILE.format(dag_id=dag_id, arguments=", ".join(f"{name}={value!r}" for name, value in arguments.items()))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"command_line": "true"}, "exactly one of pool_id"),
        ({"command_line": "true", "pool_id": "a", "auto_pool": {}}, "exactly one of pool_id"),
        ({"command_line": "true", "pool_id": "local", "job_id": "j" * 65}, "job_id"),
        ({"command_line": "true", "pool_id": "local", "job_id": "a/b"}, "job_id"),
        ({"command_line": "true", "pool_id": "local", "job_manager_id": "a/b"}, "job_manager_id"),
        ({"command_line": "", "pool_id": "local"}, "command_line"),
        ({"command_line": "true", "pool_id": "local", "kill_job_on_completion": False}, "kill_job_on_completion"),
        ({"command_line": "true", "pool_id": "local", "on_kill_action": "shrug"}, "on_kill_action"),
        ({"command_line": "true", "pool_id": "local", "wait_for": "godot"}, "wait_for"),
    ],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(arguments: dict[str, Any], named: str) -> None:
    from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

    with pytest.raises(ConfigurationError) as caught:
        AzureBatchJobManagerOperator(task_id="run", **arguments)
    message = str(caught.value)
    assert named in message
    assert len(message.splitlines()) <= 2


def test_airflow_shows_a_wrong_argument_as_an_import_error(airflow: AirflowHome) -> None:
    with pytest.raises(AirflowHomeError, match="exactly one of pool_id"):
        airflow.add_dag("no_pool", dag_file("no_pool", command_line="true"))
    (airflow.dags / "no_pool.py").unlink()


@pytest.fixture(scope="module")
def connections(batch: LocalBatch, airflow: AirflowHome) -> dict[str, str]:
    """Connections that cannot work, stored in Airflow's database: ids and passwords."""
    wrong = {
        "without_url": {"login": batch.account, "password": batch.key, "extra": "{}"},
        "wrong_key": {"login": batch.account, "password": "d3Jvbmc=", "extra": json.dumps({"account_url": batch.url})},
    }
    for conn_id, fields in wrong.items():
        body = {"connection_id": conn_id, "conn_type": "azure_batch_job_manager", **fields}
        airflow.api.request("POST", "/connections", json=body)
    return {conn_id: fields["password"] for conn_id, fields in wrong.items()}


@pytest.mark.parametrize(
    ("conn_id", "said"),
    [
        ("without_url", ["Connection 'without_url': there is no account_url"]),
        ("wrong_key", ["ServiceRefused", "AuthenticationFailed"]),
        ("not_there", ["not_there"]),
    ],
)
def test_a_wrong_connection_is_named_in_the_task_log(
    airflow: AirflowHome, connections: dict[str, str], conn_id: str, said: list[str]
) -> None:
    arguments = {"command_line": "true", "pool_id": "local", "azure_batch_conn_id": conn_id}
    dag_id = airflow.add_dag(f"with_{conn_id}", dag_file(f"with_{conn_id}", **arguments))
    run = airflow.api.trigger(dag_id)
    assert airflow.api.wait_for_run(dag_id, run).state == "failed"
    log = airflow.api.log(dag_id, run, "run")
    for text in said:
        assert text in log
    assert connections.get(conn_id, "no secret") not in log


def test_an_endpoint_that_nobody_listens_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

    url = f"http://127.0.0.1:{free_port()}"
    fields = {"conn_type": "azure_batch_job_manager", "login": "a", "password": "a2V5", "extra": {"account_url": url}}
    monkeypatch.setenv("AIRFLOW_CONN_NOBODY", json.dumps(fields))
    good, message = AzureBatchJobManagerHook("nobody").test_connection()
    assert not good
    assert url in message
    assert len(message.splitlines()) <= 2
    assert "a2V5" not in message
