"""What importing an operator costs a DAG file, after ``airflow.sdk``: ours beside the Microsoft provider's.

    python -m tests.benchmarks.imports [--peer PYTHON] [--runs N]

Each import runs in a fresh interpreter with byte code in place, as in an installed Airflow. The Microsoft provider
lives in a virtual environment of its own (``.venv-peer``, made at the first run: some minutes), apart from ours. Ours
has to stay under 30 ms; the exit code tells.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LIMIT_MS = 30.0
OURS = ("airflow_provider_jobmanager.operators.job_manager", "airflow_provider_jobmanager.sensors.job_manager")
PEER = "airflow.providers.microsoft.azure.operators.batch"
PEER_PACKAGES = ("apache-airflow==3.3.2", "apache-airflow-providers-microsoft-azure==15.2.1")
HEAVY = ("azure.batch", "azure.identity", "aiohttp")

_SCRIPT = """
import json, sys, time
import airflow.sdk
wall, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"wall": wall * 1000, "cpu": cpu * 1000, "modules": list(sys.modules)}))
"""


def main() -> int:
    """Measure and print; 0 when ours stay under the limit."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peer", help="a Python that has the Microsoft provider installed")
    options.add_argument("--runs", type=int, default=9, help="imports to take the median of")
    chosen = options.parse_args()
    peer = chosen.peer or peer_python(Path(".venv-peer"))

    print(f"{'import, after airflow.sdk':58} {'wall ms':>8} {'CPU ms':>8}  heavy modules")
    worst = 0.0
    with tempfile.TemporaryDirectory() as byte_code:
        for python, module in [*((sys.executable, ours) for ours in OURS), (peer, PEER)]:
            wall, cpu, heavy = measure(python, module, chosen.runs, byte_code)
            print(f"{module:58} {wall:8.1f} {cpu:8.1f}  {', '.join(heavy) or 'none'}")
            if module in OURS:
                worst = max(worst, cpu)
    print(f"limit for ours: {LIMIT_MS:.0f} ms of CPU time")
    return 0 if worst < LIMIT_MS else 1


def measure(python: str, module: str, runs: int, byte_code: str) -> tuple[float, float, list[str]]:
    """Medians of wall and CPU milliseconds, and which heavy modules were loaded."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPYCACHEPREFIX"] = byte_code
    results = []
    for _ in range(runs + 1):
        done = subprocess.run(
            [python, "-c", _SCRIPT, module], env=environment, capture_output=True, text=True, check=True
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
    results = results[1:]  # the first one wrote the byte code
    loaded = results[0]["modules"]
    return (
        statistics.median(result["wall"] for result in results),
        statistics.median(result["cpu"] for result in results),
        [heavy for heavy in HEAVY if heavy in loaded],
    )


def peer_python(folder: Path) -> str:
    """The Python of an environment with the Microsoft provider."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return str(python)


if __name__ == "__main__":
    sys.exit(main())
