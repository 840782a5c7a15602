"""Every code block of the README does what the README says."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def block(text: str) -> str:
    """The one block that contains a text."""
    (found,) = [code for _, code in BLOCKS if text in code]
    return found.strip()


def test_there_is_no_block_that_no_test_runs() -> None:
    known = [
        "jobmanager demo",
        ".venv/bin/python -m pytest -n 2",
        'DAG("first"',
        'DAG("follow_a_job"',
        "export AIRFLOW_CONN",
        "jobmanager local",
        "(local_batch)",
    ]
    assert [text for text in known if sum(text in code for _, code in BLOCKS) != 1] == []
    assert len(BLOCKS) == len(known)


def test_the_first_commands_are_the_demo_and_the_tests() -> None:
    assert [language for language, _ in BLOCKS[:2]] == ["sh", "sh"]
    assert BLOCKS[0][1].strip().endswith("&& .venv/bin/jobmanager demo")
    assert BLOCKS[1][1].strip().endswith("&& .venv/bin/python -m pytest -n 2 --dist loadfile")


def test_the_check_script_runs_the_readme_s_test_command() -> None:
    assert block(".venv/bin/python -m pytest -n 2") in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.fresh
@pytest.mark.timeout(900)
def test_the_first_command_works_in_a_fresh_checkout_with_an_empty_home(tmp_path: Path) -> None:
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    home.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    # A plain interpreter, not the one of the environment that the tests run in.
    plain = Path(sys.base_prefix) / "bin"
    environment = {"HOME": str(home), "PATH": f"{plain}:/usr/local/bin:/usr/bin:/bin"}
    kept = {name: value for name, value in os.environ.items() if name.upper().startswith(("PIP_", "SSL_", "UV_"))}
    done = subprocess.run(
        ["sh", "-c", block("jobmanager demo")], cwd=checkout, env=environment | kept, check=False, timeout=900
    )
    assert done.returncode == 0
    # What a user installs without a checkout has the examples too.
    wheel = [".venv/bin/pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), "."]
    subprocess.run(wheel, cwd=checkout, env=environment | kept, check=True)
    (built,) = tmp_path.glob("*.whl")
    target = tmp_path / "installed"
    subprocess.run(
        [checkout / ".venv/bin/pip", "install", "--quiet", "--no-deps", "--target", target, built],
        env=environment | kept,
        check=True,
    )
    find = "from airflow_provider_jobmanager.demo.examples import examples_folder; print(examples_folder())"
    found = subprocess.run(
        [checkout / ".venv/bin/python", "-c", find],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == target / "airflow_provider_jobmanager" / "_dags_examples"
    assert (target / "airflow_provider_jobmanager/_dags_examples/managers/fan_out.py").is_file()


@pytest.mark.parametrize(
    "path", ["operators.job_manager.AzureBatchJobManagerOperator", "sensors.job_manager.AzureBatchJobManagerSensor"]
)
def test_every_argument_is_described(path: str) -> None:
    module, name = f"airflow_provider_jobmanager.{path}".rsplit(".", 1)
    arguments = [
        argument
        for argument, parameter in inspect.signature(vars(importlib.import_module(module))[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert len(arguments) > 5
    text = (ROOT / "README.md").read_text()
    assert [argument for argument in arguments if not re.search(rf"`{argument}\b", text)] == []


def test_every_field_of_the_connection_form_is_described() -> None:
    from airflow_provider_jobmanager.provider_info import get_provider_info

    (connection_type,) = get_provider_info()["connection-types"]
    text = (ROOT / "README.md").read_text()
    assert [field for field in connection_type["conn-fields"] if f"`{field}`" not in text] == []


def test_the_dags_run(airflow: AirflowHome) -> None:
    api = airflow.api
    airflow.add_dag("first", block('DAG("first"'))
    airflow.add_dag("follow_a_job", block('DAG("follow_a_job"'))
    run = api.trigger("first", {"who": "reader"})
    assert api.wait_for_run("first", run).state == "success"
    xcoms = api.xcoms("first", run, "hello")
    assert xcoms["return_value"] == xcoms["verdict"]
    assert xcoms["verdict"]["status"] == "succeeded"
    follow = api.trigger("follow_a_job", {"job_id": xcoms["job_id"]})
    assert api.wait_for_run("follow_a_job", follow).state == "success"
    assert api.xcoms("follow_a_job", follow, "wait")["return_value"]["job_id"] == xcoms["job_id"]


def test_the_tests_of_a_dag_pass(tmp_path: Path, migrated_databases: Path) -> None:
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

    home = AirflowHome(tmp_path / "airflow")
    home.migrate(migrated_databases)
    (home.dags / "first.py").write_text(block('DAG("first"'))
    (tmp_path / "test_first.py").write_text(block("(local_batch)"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_first.py"],
        cwd=tmp_path,
        env={**os.environ, "AIRFLOW_HOME": str(home.root), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_connection_is_one_that_the_hook_takes() -> None:
    from airflow.sdk import Connection

    from airflow_provider_jobmanager.connection import account_of

    shown = block("export AIRFLOW_CONN").replace('"KEY"', '"a2V5"')
    script = f'{shown}\nprintf %s "$AIRFLOW_CONN_AZURE_BATCH_DEFAULT"'
    value = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={}).stdout
    account = account_of(Connection.from_json(value, conn_id="azure_batch_default"))
    assert account.endpoint == "https://ACCOUNT.REGION.batch.azure.com"
    assert (account.credential.method, account.credential.account_name) == ("account_key", "ACCOUNT")


def test_the_local_service_prints_the_connection_and_stops_cleanly() -> None:
    command = f"exec {Path(sys.executable).parent}/{block('jobmanager local')} --port 0"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        line = service.stdout.readline()
        service.send_signal(signal.SIGTERM)
        service.stdout.read()
    assert service.returncode == 0
    assert re.fullmatch(r"AIRFLOW_CONN_AZURE_BATCH_DEFAULT='\{.*\"http://127\.0\.0\.1:\d+\".*\}'\n", line)
