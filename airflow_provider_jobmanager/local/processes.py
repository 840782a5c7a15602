"""Process groups: ended whole, and found again after a restart without mistaking another process for them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A constant of this module, since type checkers take the platform they run on for the only one.
_LINUX: bool = sys.platform == "linux"
_PROC = Path("/proc")
_PASSES = 10
_START_FIELD = 19  # of /proc/PID/stat, counted after the name: field 22 of proc(5)


def kill_group(pid: int) -> None:
    """End a process group at once; nothing happens when it is gone."""
    # macOS answers EPERM for a group of which only zombies are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def wait_unreaped(pid: int) -> None:
    """Wait until a child ended, and leave it to be reaped."""
    if sys.platform == "darwin":  # which has waitid only from Python 3.13 on
        queue = select.kqueue()
        ended = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT)
        with closing(queue), suppress(ProcessLookupError):  # raised for one that ended already
            queue.control([ended], 1)
    else:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def start_time(pid: int) -> str:
    """When a process started, as the system writes it; with the pid it names a process for good. Empty when gone."""
    if _LINUX:
        try:
            text = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return text.rpartition(")")[2].split()[_START_FIELD]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def end_left_over(pid: int, started: str, directory: Path) -> None:
    """End the process group of a run of an earlier life of this service.

    Args:
        pid: leader of the group.
        started: its start time; another process that has the pid by now has another one.
        directory: the task's directory. Members of a group whose leader is gone are told by it: it stands in their
            environment.
    """
    if started and start_time(pid) == started:
        kill_group(pid)
        return
    for member in _members(pid):
        if _variable(member, b"AZ_BATCH_TASK_DIR") == str(directory):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)


def end_strays(root: Path) -> None:
    """End every process whose node's directory lies below ``root``.

    It is for times when no run is under way there: what it finds was left behind by one, perhaps of an earlier life,
    begun so shortly before its end that nobody wrote it down. On Linux only; elsewhere no environment can be looked
    into.
    """
    _end_where(b"AZ_BATCH_NODE_ROOT_DIR", lambda node: root in Path(node).parents)


def end_scattered(directory: Path) -> None:
    """End what a run in ``directory`` started outside of its process group. On Linux only, as above."""
    _end_where(b"AZ_BATCH_TASK_DIR", lambda task: task == str(directory))


def _end_where(name: bytes, is_meant: Callable[[str], bool]) -> None:
    # Again until there are none: one may have started another before it was ended.
    for _ in range(_PASSES if _LINUX else 0):
        values = {pid: _variable(pid, name) for pid in _all()}
        found = [pid for pid, value in values.items() if value is not None and is_meant(value)]
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _members(group: int) -> list[int]:
    if not _LINUX:
        return []
    members = []
    for pid in _all():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == group:
                members.append(pid)
    return members


def _all() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdecimal()]  # noqa: PTH208 - as below


def _variable(pid: int, name: bytes) -> str | None:
    """A variable of another process's environment, as it was when its program began."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - asked for every process there is
            environment = file.read()
    except OSError:
        return None
    prefix = name + b"="
    if prefix not in environment:
        return None
    entries = environment.split(b"\0")
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), None)
