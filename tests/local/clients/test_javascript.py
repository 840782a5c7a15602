"""``@azure/batch`` from npm, unchanged, against the local service."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.azurite import npm_install

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

VERSION = "10.2.0"
SCRIPT = Path(__file__).with_name("javascript.mjs")


def test_jobs_tasks_files_pools_and_schedules(batch: LocalBatch):
    packages = npm_install("javascript", f"@azure/batch@{VERSION}")
    environment = {
        "PATH": os.environ["PATH"],
        "NODE_PACKAGES": str(packages),
        "BATCH_ACCOUNT": batch.account,
        "BATCH_KEY": batch.key,
        "BATCH_URL": batch.url,
    }

    node = shutil.which("node")
    assert node is not None, "Node.js is needed for this test"
    ended = subprocess.run(
        [node, str(SCRIPT)], capture_output=True, text=True, env=environment, timeout=300, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, '{"done":true}\n'), ended.stderr
