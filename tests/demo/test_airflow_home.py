from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import psutil
import pytest

from airflow_provider_jobmanager.demo.airflow_api import AirflowApi, AirflowApiError
from airflow_provider_jobmanager.demo.airflow_home import AirflowHome, AirflowHomeError
from airflow_provider_jobmanager.triggers.ending import AIRFLOW_3_3

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ECHO = """
from airflow.sdk import dag, task

@dag(schedule=None, params={"word": "nothing"})
def echo():
    @task
    def say(word, params=None):
        print("the word is", params["word"])
        return {"word": params["word"], "index": word}

    say.override(task_id="mapped").expand(word=[0, 1])
    say("single")

echo()
"""

NAP = """
from datetime import timedelta
from airflow.sdk import dag
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor

@dag(schedule=None)
def nap():
    # Counted from the start of the run: a worker that takes longer to come up has nothing left to defer.
    TimeDeltaSensor(task_id="sleep", delta=timedelta(seconds=20), deferrable=True)

nap()
"""


def test_a_run_and_everything_the_api_tells_of_it(airflow: AirflowHome) -> None:
    api = airflow.api
    airflow.add_dag("echo", ECHO)
    run = api.trigger("echo", {"word": "snow"})
    assert api.wait_for_run("echo", run).state == "success"
    single = api.task_instance("echo", run, "say")
    assert (single.state, single.try_number, single.map_index) == ("success", 1, -1)
    assert sorted((found.task_id, found.map_index) for found in api.task_instances("echo", run)) == [
        ("mapped", 0),
        ("mapped", 1),
        ("say", -1),
    ]
    assert api.xcoms("echo", run, "mapped", 1) == {"return_value": {"word": "snow", "index": 1}}
    assert "the word is snow" in api.log("echo", run, "say", 1)
    assert api.extra_links("echo", run, "say") == {}

    api.clear("echo", run, [("mapped", 1)])
    api.wait_until(
        lambda: api.task_instance("echo", run, "mapped", 1),
        lambda found: found.state == "success" and found.try_number == 2,
        "the cleared task to run again",
        60,
    )
    assert [found.try_number for found in api.tries("echo", run, "mapped", 1)] == [1, 2]
    assert api.task_instance("echo", run, "mapped", 0).try_number == 1

    api.wait_for_run("echo", run)
    api.mark("echo", run, "say", "failed")
    assert api.task_instance("echo", run, "say").state == "failed"


@pytest.mark.skipif(not AIRFLOW_3_3, reason="Airflow 3.2 does not say that its database was busy")
def test_a_database_that_somebody_holds_is_waited_for(airflow: AirflowHome) -> None:
    airflow.add_dag("echo", ECHO)
    run = airflow.api.trigger("echo")
    airflow.api.wait_for_run("echo", run)
    statuses: list[int] = []

    def let_go(response: httpx.Response) -> None:
        statuses.append(response.status_code)
        if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and held.in_transaction:
            held.execute("ROLLBACK")

    with closing(sqlite3.connect(airflow.root / "airflow.db", isolation_level=None, timeout=60)) as held:
        held.execute("BEGIN IMMEDIATE")
        with AirflowApi(airflow.url) as api:
            api._client.event_hooks["response"].append(let_go)
            api.mark("echo", run, "say", "failed")
    assert HTTPStatus.INTERNAL_SERVER_ERROR in statuses
    assert airflow.api.task_instance("echo", run, "say").state == "failed"


def test_a_deferred_task_outlives_a_killed_triggerer(airflow: AirflowHome) -> None:
    airflow.add_dag("nap", NAP)
    airflow.pause("triggerer")
    try:
        run = airflow.api.trigger("nap")
        airflow.api.wait_for_task("nap", run, "sleep", {"deferred"})
    finally:
        airflow.kill("triggerer")
        assert not airflow.component("triggerer").pids
        airflow.restart("triggerer")
    assert airflow.api.wait_for_run("nap", run).state == "success"
    airflow.wait_healthy()


def test_a_dag_file_that_cannot_be_imported_says_why(airflow: AirflowHome) -> None:
    with pytest.raises(AirflowHomeError, match="no_such_module"):
        airflow.add_dag("broken", "import no_such_module")
    (airflow.dags / "broken.py").unlink()


def test_a_changed_dag_file_counts_at_once(airflow: AirflowHome) -> None:
    airflow.add_dag("changing", ECHO.replace("def echo", "def changing").replace("\necho()", "\nchanging()"))
    airflow.add_dag(
        "changing",
        ECHO.replace("def echo", "def changing").replace("\necho()", "\nchanging()").replace('"nothing"', '"new"'),
    )
    run = airflow.api.trigger("changing")
    airflow.api.wait_for_run("changing", run)
    assert airflow.api.xcoms("changing", run, "say")["return_value"]["word"] == "new"


def test_errors_of_the_api_name_request_and_answer(airflow: AirflowHome) -> None:
    with pytest.raises(AirflowApiError, match=r"GET /api/v2/dags/nobody/dagRuns/none was answered 404") as caught:
        airflow.api.dag_run("nobody", "none")
    assert caught.value.status == 404
    with pytest.raises(AirflowApiError, match=r"Waited 0.1 s for the sun; it is still 'rain'"):
        airflow.api.wait_until(lambda: "rain", lambda found: found == "sun", "the sun", 0.1)


def test_nothing_listens_outside_loopback(airflow: AirflowHome) -> None:
    listening = set()
    for pid in airflow.pids:
        # The processes of tasks and DAG files come and go.
        with suppress(psutil.NoSuchProcess):
            connections = psutil.Process(pid).net_connections("inet")
            listening |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_nothing_of_the_caller_leaks_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_MINE", "AZURE_CLIENT_SECRET", "AZ_BATCH_ACCOUNT_NAME"):
        monkeypatch.setenv(name, "the caller's")
    monkeypatch.setenv("AIRFLOW_HOME", "/nowhere")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    environment = AirflowHome(tmp_path, environment={"AIRFLOW_CONN_HERS": "{}"}).environment
    assert "the caller's" not in environment.values()
    assert environment["AIRFLOW_HOME"] == str(tmp_path)
    assert environment["AIRFLOW_CONN_HERS"] == "{}"
    assert "127.0.0.1" in environment["NO_PROXY"]


def test_keys_are_kept_and_private(tmp_path: Path) -> None:
    first, again = AirflowHome(tmp_path / "a").environment, AirflowHome(tmp_path / "a").environment
    other = AirflowHome(tmp_path / "b").environment
    assert first["AIRFLOW__CORE__FERNET_KEY"] == again["AIRFLOW__CORE__FERNET_KEY"]
    assert first["AIRFLOW__CORE__FERNET_KEY"] != other["AIRFLOW__CORE__FERNET_KEY"]
    assert (tmp_path / "a" / "keys.json").stat().st_mode & 0o077 == 0


def test_a_component_that_cannot_start_is_told_with_its_log(tmp_path: Path, migrated_databases: Path) -> None:
    with AirflowHome(tmp_path, environment={"AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"}) as home:
        home.migrate(migrated_databases)
        home.start(["scheduler"])
        with pytest.raises(AirflowHomeError, match=r"(?s)Airflow's scheduler ended with exit code 1.*NoSuchExecutor"):
            home.wait_healthy()


def test_a_failed_migration_is_told(tmp_path: Path) -> None:
    home = AirflowHome(tmp_path, database_url="sqlite:////nowhere/at/all.db")
    with pytest.raises(AirflowHomeError, match=r"(?s)db migrate.*failed with exit code 1"):
        home.migrate()


def test_an_unknown_component_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no component 'webserver'; there are api-server, scheduler"):
        AirflowHome(tmp_path).start(["webserver"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_a_component(tmp_path: Path, migrated_databases: Path, number: signal.Signals) -> None:
    with AirflowHome(tmp_path) as home:
        home.migrate(migrated_databases)
        home.start(["dag-processor"])
        home.kill("dag-processor", number)
        deadline = time.monotonic() + 30
        while home.component("dag-processor").pids and time.monotonic() < deadline:
            time.sleep(0.05)
        assert home.component("dag-processor").pids == []
        assert home.component("dag-processor").exit_code == -number
