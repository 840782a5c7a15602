"""The Azure CLI from PyPI, in a virtual environment of its own: its pins go with nobody else's."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from attrs import frozen

from tests.azurite import cache

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.local import LocalBatch

VERSION = "2.91.0"
INSTALL_SECONDS = 1200


def install() -> Path:
    """The program ``az``, installed at the first call."""
    folder = cache() / "azure-cli"
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder / ".installed"
    with (folder.parent / "azure-cli.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != VERSION:
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            uv = shutil.which("uv")
            pip = (uv, "pip", "install", "-p", str(folder)) if uv else (str(folder / "bin" / "pip"), "install", "-q")
            _run(*pip, f"azure-cli=={VERSION}")
            done.write_text(VERSION)
    return folder / "bin" / "az"


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")


@frozen
class AzureCli:
    """``az batch`` against one account.

    Attributes:
        program: where ``az`` is.
        batch: the service.
        home: for its configuration; nothing of the user's is read.
    """

    program: Path
    batch: LocalBatch
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command: ``run("job", "show", "--job-id", "x")``."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "AZURE_CONFIG_DIR": str(self.home / "azure"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_BATCH_ACCOUNT": self.batch.account,
            "AZURE_BATCH_ACCESS_KEY": self.batch.key,
            "AZURE_BATCH_ENDPOINT": self.batch.url,
        }
        return subprocess.run(
            [str(self.program), "batch", *arguments, "--output", "json"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.home,
            timeout=120,
            check=False,
        )

    def __call__(self, *arguments: str) -> Any:
        """What a command that must succeed printed, parsed; None when it printed nothing."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, f"az batch {' '.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
        return json.loads(ended.stdout) if ended.stdout.strip() else None
