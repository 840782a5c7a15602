"""Whether a process is still alive, asked while it may be ending."""

from __future__ import annotations

import psutil


def alive(process: psutil.Process | int) -> bool:
    """Whether a process, or the one that has this id, still runs or is paused.

    A zombie is dead: collecting it is the business of whoever is its parent by then.
    """
    try:
        known = psutil.Process(process) if isinstance(process, int) else process
        return known.is_running() and known.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
