"""What a DAG file pays for importing operators and sensors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("azure", "aiohttp", "msal", "requests", "jwt", "starlette", "uvicorn", "airflow_provider_jobmanager.local")

SCRIPT = """
import json, sys
import airflow.sdk
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("kind", ["operators", "sensors"])
def test_a_dag_file_loads_nothing_heavy(kind: str) -> None:
    module = f"airflow_provider_jobmanager.{kind}.job_manager"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module)], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout.splitlines()[-1])

    assert module in loaded
    for heavy in HEAVY:
        assert not [name for name in loaded if name == heavy or name.startswith(f"{heavy}.")], heavy
