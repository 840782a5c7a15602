"""The commands with a connection that only Airflow's database knows."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local import LocalBatch


@pytest.fixture
def home(tmp_path: Path, migrated_databases: Path, local_batch: LocalBatch) -> AirflowHome:
    """An Airflow that does not run, with a connection ``in_db``."""
    credentials = {"AIRFLOW_API_USERNAME": "admin", "AIRFLOW_API_PASSWORD": "admin"}
    home = AirflowHome(tmp_path, environment=credentials)
    home.migrate(migrated_databases)
    added = run(home, "airflow", "connections", "add", "in_db", "--conn-json", local_batch.connection_json())
    assert added.returncode == 0, added.stdout
    return home


def run(home: AirflowHome, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=home.environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_connection_in_the_database_is_found(home: AirflowHome) -> None:
    cli = "airflow_provider_jobmanager.cli"

    examined = run(home, cli, "doctor", "--conn-id", "in_db")
    assert "ok  Connection 'in_db': http://127.0.0.1:" in examined.stdout, examined.stdout + examined.stderr
    assert examined.returncode == 0

    listed = run(home, cli, "orphans", "--conn-id", "in_db")
    assert "0 active jobs of this provider" in listed.stdout, listed.stdout + listed.stderr
    assert listed.returncode == 0

    for command in ("doctor", "orphans"):
        missing = run(home, cli, command, "--conn-id", "nobody")
        said = missing.stdout if command == "doctor" else missing.stderr
        assert "The connection 'nobody' can't be used: The conn_id `nobody` isn't defined" in said
        assert "Traceback" not in missing.stdout + missing.stderr
        assert missing.returncode == {"doctor": 1, "orphans": 2}[command]
