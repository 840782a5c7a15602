"""How fast the local Batch service is, and how much memory it takes: `python tests/benchmarks/local_service.py`.

The service runs in a process of its own with a state directory, as users start it; the client is the official one.
Prints each figure beside its target, and ends with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import psutil
from attrs import field, frozen
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.core.credentials import AzureNamedKeyCredential
from rich.console import Console
from rich.table import Table

from airflow_provider_jobmanager.local.settings import DEFAULT_ACCOUNT, DEFAULT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = """
import sys
from airflow_provider_jobmanager.local import LocalBatch, Settings
with LocalBatch(Settings(port=0, state_dir=sys.argv[1])) as batch:
    print(batch.url, flush=True)
    sys.stdin.read()
"""
START_SECONDS = 60
POOL = sdk.BatchPoolInfo(pool_id="nowhere")


@frozen
class Figure:
    """Something measured.

    Attributes:
        what: what it is.
        value: what came out.
        limit: what it must not exceed.
        unit: of both.
        remark: what else is worth knowing.
    """

    what: str
    value: float
    limit: float
    unit: str
    remark: str = field(default="")

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.limit


@contextlib.contextmanager
def server() -> Iterator[tuple[str, psutil.Process]]:
    """A service in a process of its own: its address, and the process."""
    with (
        tempfile.TemporaryDirectory(prefix="jobmanager-benchmark-") as folder,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            if not ready:
                raise RuntimeError(f"The service did not listen within {START_SECONDS} s")
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.stdin.close()
            process.wait(60)


def cpu(process: psutil.Process) -> float:
    """Seconds of processor time that service and client took so far: what a busy machine does not stretch."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, psutil.Process()))


def create_jobs(client: BatchClient, count: int, first: int = 0) -> float:
    """Creates jobs one after the other; seconds it took."""
    started = time.perf_counter()
    for number in range(first, first + count):
        client.create_job(sdk.BatchJobCreateOptions(id=f"job-{number:05d}", pool_info=POOL))
    return time.perf_counter() - started


def list_filtered(client: BatchClient, rounds: int) -> tuple[float, int]:
    """Asks what a follower of many jobs asks; median milliseconds of an answer, and its rows."""
    wanted = "state eq 'completed' and stateTransitionTime ge DateTime'2020-01-01T00:00:00Z'"
    taken, rows = [], 0
    for _ in range(rounds):
        started = time.perf_counter()
        rows = len(list(client.list_jobs(filter=wanted, select=["id", "state", "executionInfo"])))
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken), rows


def run_tasks(client: BatchClient, count: int) -> float:
    """Runs trivial commands in one job; seconds until the last one is completed."""
    client.create_job(sdk.BatchJobCreateOptions(id="tasks", pool_info=sdk.BatchPoolInfo(pool_id="local")))
    tasks = [sdk.BatchTaskCreateOptions(id=f"t{number:04d}", command_line="/bin/true") for number in range(count)]
    started = time.perf_counter()
    client.create_tasks("tasks", tasks)
    while list(client.list_tasks("tasks", filter="state ne 'completed'", select=["id"], max_results=1)):
        time.sleep(0.05)
    taken = time.perf_counter() - started
    failed = list(client.list_tasks("tasks", filter="executionInfo/result eq 'failure'", select=["id"]))
    assert not failed, f"{len(failed)} of {count} commands failed"
    return taken


def measure(jobs: int) -> Iterator[Figure]:
    """Every figure."""
    with server() as (url, process), BatchClient(url, AzureNamedKeyCredential(DEFAULT_ACCOUNT, DEFAULT_KEY)) as client:
        empty = process.memory_info().rss / 2**20
        before = cpu(process)
        taken = create_jobs(client, 1000)
        remark = f"{cpu(process) - before:.1f} s of processor time"
        yield Figure("1,000 jobs created through one client", taken, 10, "s", remark)
        yield Figure("200 trivial task processes finished", run_tasks(client, 200), 10, "s")
        for name in ("job-00100", "job-00200"):
            client.begin_terminate_job(name, options={"terminateReason": "enough"}, polling_interval=0).result()
        create_jobs(client, jobs - 1000, first=1000)
        taken, rows = list_filtered(client, 15)
        yield Figure(f"filtered list over {jobs:,} jobs", taken, 100, "ms", f"median of 15, {rows} rows")
        memory = process.memory_info().rss / 2**20
        yield Figure(f"memory with {jobs:,} jobs", memory, 300, "MiB", f"{empty:.0f} MiB when empty")


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs for the list and the memory (10000)")
    arguments = parser.parse_args()
    console = Console()
    table = Table(title=f"Local Batch service, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for column in ("figure", "measured", "target", "", "remark"):
        table.add_column(column)
    missed = 0
    for figure in measure(arguments.jobs):
        missed += not figure.met
        table.add_row(
            figure.what,
            f"{figure.value:.1f} {figure.unit}",
            f"{figure.limit:g} {figure.unit}",
            "met" if figure.met else "MISSED",
            figure.remark,
        )
    console.print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
