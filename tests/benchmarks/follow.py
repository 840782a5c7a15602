"""Following many jobs, side by side with the Microsoft provider's trigger: `python tests/benchmarks/follow.py`.

Both follow the same jobs on the same bare HTTP server, one after the other, each in a fresh process whose loop holds
nothing else, as a triggerer's. The peer has an environment of its own, made on first use with ``--peer-environment``'s
folder (``.venv-peer``); it is no dependency of anything here. Prints each figure beside its target, and ends with 1
when one is missed. It takes about ten minutes.

Requests and CPU are counted over the seconds of the run, imports left out, and the cost of watching the loop, which is
measured on an idle one before; memory is what the process grew by. A stall is how late the loop was, its hold how much
processor time its thread took meanwhile: on a machine that others use too the first tells of them as well. Imports
count as stalls, from compiled files, as an installed package has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
PEER = ("apache-airflow==3.3.2", "apache-airflow-providers-microsoft-azure==15.2.1", "azure-batch==15.1.0", "psutil")
ALONE = 10_000
"""Waiting triggers in one loop; the peer is not asked to."""


def peer_python(folder: Path) -> Path:
    """The interpreter of the peer's environment, made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER], check=True)
    return python


def run(python: Path | str, home: str, kind: str, *arguments: object) -> dict[str, Any]:
    """One run in a process of its own; `follower.py` names the arguments."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))},
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "OTEL_SDK_DISABLED": "true",
    }
    done = subprocess.run(
        [python, HERE / "follower.py", kind, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def misses(ours: Mapping[str, Any], peer: Mapping[str, Any] | None, interval: float) -> list[str]:
    """The targets that a pair of runs does not meet."""
    count = ours["count"]
    limits = {
        "requests": 8 + count / 100 + count,
        "missed": 0,
        "twice": 0,
        "wrong": 0,
    }
    if peer is not None:  # the many alone have to work; how well is printed
        limits["longest_stall"] = 0.1
    if count == 1000:
        # With more, a second or two of every tick go by until the bare server has answered for all who ended.
        limits["median_lag"] = interval / 2 + 1
    if peer is not None and count >= 1000:
        limits["cpu"] = peer["cpu"] / 5
    if peer is not None and count >= 5000:
        limits["memory"] = peer["memory"] / 2
    return [f"{name} {ours[name]:.4g} > {limit:.4g}" for name, limit in limits.items() if ours[name] > limit]


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 100, 1000, 5000])
    parser.add_argument("--alone", type=int, default=ALONE, help="triggers in one loop without the peer; 0 for none")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--peer-environment", type=Path, default=Path(".venv-peer"))
    options = parser.parse_args()
    peer = peer_python(options.peer_environment)
    table = Table(
        "jobs",
        "",
        "requests",
        "CPU s",
        "memory MiB",
        "median lag s",
        "longest stall (hold) ms",
        "events",
        "missed target",
    )
    bad = 0
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            [sys.executable, HERE / "bare_service.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            for python, kind in ((sys.executable, "ours"), (peer, "peer")):
                run(python, home, kind, url, 1, 2, 0.5)  # writes the compiled files
            for count in [*options.counts, *([options.alone] if options.alone else [])]:
                arguments = (url, count, options.seconds, options.interval)
                ours = run(sys.executable, home, "ours", *arguments)
                theirs = run(peer, home, "peer", *arguments) if count in options.counts else None
                missed = misses(ours, theirs, options.interval)
                bad += len(missed)
                for name, figures in (("this provider", ours), ("AzureBatchTrigger", theirs)):
                    if figures is not None:
                        table.add_row(*_row(name, figures), "\n".join(missed) if figures is ours else "")
                print(json.dumps([ours, theirs]), file=sys.stderr, flush=True)
        finally:
            server.communicate()
    Console(width=150).print(table)
    return 1 if bad else 0


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    count = figures["count"]
    events = f"{figures['in_time']} of {count} in time"
    events += "".join(f", {figures[what]} {what}" for what in ("missed", "twice", "wrong") if figures[what])
    lag = figures["median_lag"]
    return [
        f"{count:,}",
        name,
        f"{figures['requests']:,}",
        f"{figures['cpu']:.2f}",
        f"{figures['memory']:.0f}",
        "-" if lag is None else f"{lag:.2f}",
        f"{figures['longest_stall'] * 1000:.0f} ({figures['longest_hold'] * 1000:.0f})",
        events,
    ]


if __name__ == "__main__":
    raise SystemExit(main())
