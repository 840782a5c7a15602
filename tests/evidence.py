"""What an Airflow wrote while a test failed: the test's own words rarely say why a task of another process failed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

_TASK_LINES = 25
_TROUBLE_LINES = 8
_LINE = 600
_DETAIL = 2000
_TROUBLE = re.compile(
    r"\[(error|critical) |^[\w.]+(Error|Exception|Exit)\b|executor event with state|reported that the task"
)

# Links that a task has none of, and logs of components that serve none.
_USUAL = re.compile(r"XCom not found|served logs|NewConnectionError|port=8794|Connection refused")


def evidence(airflow: AirflowHome, since: float) -> Iterator[tuple[str, str]]:
    """Titles and texts of the logs that were written since then (seconds since the epoch), the most telling last."""
    fresh = sorted((path for path in airflow.logs.rglob("*.log") if path.stat().st_mtime >= since), key=_age)
    for path in fresh:
        lines = path.read_text(errors="replace").splitlines()
        name = str(path.relative_to(airflow.logs))
        if path.parent == airflow.logs:
            trouble = [line[:_LINE] for line in lines if _TROUBLE.search(line) and not _USUAL.search(line)]
            if trouble:
                yield f"the last trouble in {name}", "\n".join(trouble[-_TROUBLE_LINES:])
        elif "run_id=" in name:
            yield f"the end of {name}", "\n".join(map(_readable, lines[-_TASK_LINES:]))


def _age(path: Path) -> tuple[bool, float]:
    return "run_id=" in str(path), path.stat().st_mtime


def _readable(line: str) -> str:
    try:
        entry: Mapping[str, object] = json.loads(line)
    except ValueError:
        return line
    told = (str(entry[name]) for name in ("timestamp", "level", "event", "error_detail") if entry.get(name))
    return " ".join(told)[:_DETAIL]
