"""A long-running program as one thing to start, signal and end: itself and all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import attrs
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_LOOK_AGAIN_SECONDS = 0.05
_ASKS_TO_END = (signal.SIGINT, signal.SIGTERM)


def session_members(session: int) -> list[int]:
    """Finds the living processes of a session, whatever process groups they have moved to.

    Airflow puts each task into a process group of its own, so a group is not enough to find everything that a
    component started; a session is, because nothing in Airflow leaves it.

    Args:
        session: The session's id, which is the process id of the program that began it.

    Returns:
        Their process ids, zombies left out.
    """
    found = []
    for pid in psutil.pids():
        # Gone meanwhile, or somebody else's.
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


@attrs.define
class Component:
    """One program in a session of its own, with its output in a file."""

    name: str
    """What people call it, for instance ``scheduler``."""
    command: Sequence[str]
    """The program and its arguments."""
    environment: Mapping[str, str]
    """The whole environment: nothing else is inherited."""
    log: Path
    """Where stdout and stderr are appended to."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the program, or None when it was never started."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """The exit code once it has ended (negative for a signal), else None."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        """Whether the program itself is alive; a stopped (paused) one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def pids(self) -> list[int]:
        """The process ids of the program and of all that it started."""
        return session_members(self._process.pid) if self._process else []

    def start(self) -> None:
        """Starts the program.

        Raises:
            RuntimeError: It is running already.
            OSError: The program or the log file cannot be opened.
        """
        if self.running:
            raise RuntimeError(f"{self.name} is running already, as process {self.pid}")
        with self.log.open("ab") as output, _uninterrupted():
            self._process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Sends a signal the way a machine would.

        SIGKILL, SIGSTOP and SIGCONT go to the whole session, as when a container is killed or frozen; all others
        go to the program alone, as from ``kill PID``.
        """
        if number in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}:
            _signal_all(self.pids, number)
        elif self.running and self.pid is not None:
            _signal_all([self.pid], number)

    def wait(self, timeout: float) -> bool:
        """Waits for everything in the session to end.

        Args:
            timeout: The longest wait in seconds.

        Returns:
            Whether nothing is left.
        """
        deadline = time.monotonic() + timeout
        # Asking `running` first also collects the exit code, so that no zombie stays behind.
        while self.running or self.pids:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_SECONDS)
        return True

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log, for an error message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def stop_all(components: Iterable[Component], grace: float = 10.0) -> None:
    """Ends programs and all that they started: asked first, killed when they do not go.

    An interrupt (Ctrl-C) while it waits cuts the waiting short, not the ending.

    Args:
        components: What to end; those that never ran are passed over.
        grace: How many seconds all of them together have to go on their own.
    """
    begun = [component for component in components if component.pid is not None]
    try:
        for component in begun:
            component.send(signal.SIGTERM)
            component.send(signal.SIGCONT)  # a paused one could not hear the request
        deadline = time.monotonic() + grace
        for component in begun:
            component.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for component in begun:
            while not component.wait(0):
                component.send(signal.SIGKILL)
                component.wait(1)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back: between a fork and the return of its process id they would leave a stray."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nothing is raised in any other thread
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda got, _: held.append(got)) for number in _ASKS_TO_END}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
