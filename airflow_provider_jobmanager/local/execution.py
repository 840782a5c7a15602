"""Commands as real processes: what a node does.

Each command runs without a shell, in a session and process group of its own, so that it is ended with everything it
started. A thread per run waits for it; there are as many runs as there are slots.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

from attrs import evolve

from airflow_provider_jobmanager.local import containers, processes, transfer_errors
from airflow_provider_jobmanager.local.launches import Outcome, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from airflow_provider_jobmanager.local.launches import Launch, Listener, Run

log = logging.getLogger(__name__)

_PATIENCE = 30.0
_LAUNCH_FAILED = "Failed to launch the specified command line"


class Processes:
    """Runs commands on this machine.

    Args:
        auto_storage: connection string of the storage account that serves as auto-storage; None for none.
    """

    def __init__(self, auto_storage: str | None = None) -> None:
        self._auto_storage = auto_storage
        self._lock = threading.Lock()
        self._running: dict[Run, _Running] = {}
        self._closed = False

    def begin(self, launch: Launch, listener: Listener) -> None:
        """Run a command in a thread of its own; returns at once."""
        running = _Running(launch, listener, self._over, self._auto_storage)
        with self._lock:
            if self._closed:
                return
            # A deleted task may be followed by one of its name while its command is still being ended.
            there = [each for each in self._running.values() if each.launch.directory == launch.directory]
            running.predecessors = there
            self._running[launch.run] = running
        try:
            running.start()
        except RuntimeError:  # the machine has no thread left
            self._over(launch.run)
            raise

    def kill(self, run: Run) -> None:
        """End a run with its whole process group."""
        with self._lock:
            running = self._running.get(run)
        if running is not None:
            running.kill()

    def end_left_over(self, process: list[Any], directory: Path) -> None:
        """End what an earlier life of the service left running in a task's directory."""
        processes.end_left_over(int(process[0]), str(process[1]), directory)

    def end_strays(self, root: Path) -> None:
        """End whatever is left running on nodes below ``root`` of runs that are over."""
        processes.end_strays(root)
        containers.end_strays(root)

    def end_all(self) -> None:
        """End all runs, without another word to their listeners."""
        self._end_all()

    def close(self) -> None:
        """End all runs as well, and wait until they are gone."""
        self._closed = True
        for running in self._end_all():
            running.join(_PATIENCE)
            if running.is_alive():
                log.warning("A run of %s in job %s does not end", running.launch.run.name, running.launch.run.owner)

    def _end_all(self) -> list[_Running]:
        with self._lock:
            left = list(self._running.values())
        for running in left:
            running.silence()
            running.kill()
        return left

    def _over(self, run: Run) -> None:
        with self._lock:
            self._running.pop(run, None)


class _Running(threading.Thread):
    """One run: fetch files, run the command, upload files, tell."""

    def __init__(self, launch: Launch, listener: Listener, over: Any, auto_storage: str | None) -> None:
        super().__init__(name=f"{launch.run.kind} {launch.run.owner}/{launch.run.name}", daemon=True)
        self.launch = launch
        self.listener: Listener | None = listener
        self._over = over
        self.auto_storage = auto_storage
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.predecessors: list[_Running] = []
        self._killed = threading.Event()
        self._transferred = threading.Event()

    def kill(self) -> None:
        """End it, whichever step it is at."""
        self._killed.set()
        self._transferred.set()
        with self._lock:
            if self._process is not None:
                processes.kill_group(self._process.pid)

    def silence(self) -> None:
        """Tell nobody how it ends."""
        self.listener = None

    def run(self) -> None:
        """The steps of a run, in their order."""
        try:
            outcome = self._steps()
        except _RunError as error:
            outcome = error.outcome
        except Exception as error:
            # Whatever it was, the task must not hold its slots for ever.
            log.exception("A run of %s in job %s broke", self.launch.run.name, self.launch.run.owner)
            outcome = _failed("ServerError", "Unknown", "The node could not run the task", repr(error)).outcome
        self._over(self.launch.run)
        listener = self.listener
        if listener is not None:
            listener.exited(self.launch.run, outcome)

    def _steps(self) -> Outcome:
        for running in self.predecessors:
            running.join()
        working = self.launch.directory / "wd"
        try:
            working.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failed(
                "ServerError", "ResourceDirectoryCreateFailed", "A directory can't be made", str(error)
            ) from None
        if self.launch.resource_files:
            self._fetch(working)
        words = self._words()
        if self._killed.is_set():
            return Outcome()
        try:
            ended = (
                self._run_here(words, working) if self.launch.container is None else self._run_inside(words, working)
            )
        except (OSError, ValueError) as error:
            # ValueError: a null byte, or text that no file system can hold.
            raise _failed("UserError", "CommandLaunchFailed", _LAUNCH_FAILED, str(error)) from None
        if self.launch.output_files and ended.failure is None and not self._killed.is_set():
            self._upload(working, ended)
        return ended

    def _fetch(self, working: Path) -> None:
        # Storage clients are heavy, and most tasks have no files.
        from airflow_provider_jobmanager.local import transfer  # noqa: PLC0415 - see above

        storage = transfer.Storage(self.auto_storage)
        try:
            self._transfer(transfer.fetch, self.launch.resource_files, working, storage, self._killed)
        except transfer_errors.TransferError as error:
            raise _RunError(Outcome(failure=error.failure_info(), phase="before")) from None
        except transfer_errors.Stopped:
            raise _RunError(Outcome()) from None

    def _upload(self, working: Path, ended: Outcome) -> None:
        from airflow_provider_jobmanager.local import uploads  # noqa: PLC0415 - as above

        try:
            self._transfer(
                uploads.upload,
                self.launch.output_files,
                working,
                self.launch.environment,
                ended.exit_code,
                self._killed,
            )
        except transfer_errors.TransferError as error:
            raise _RunError(evolve(ended, failure=error.failure_info(), phase="after")) from None
        except transfer_errors.Stopped:
            raise _RunError(ended) from None

    def _transfer(self, action: Callable[..., None], *args: Any) -> None:
        """Bring files in or out, for as long as nobody ends this run.

        A source may say nothing for a minute, and nothing wakes whoever listens to it. So that is a thread of its own:
        it is left to itself when the run is ended, and touches no file any more.
        """
        failed: list[Exception] = []

        def act() -> None:
            try:
                action(*args)
            except Exception as error:  # noqa: BLE001 - raised below, in the thread of the run
                failed.append(error)
            self._transferred.set()

        self._transferred.clear()
        if not self._killed.is_set():
            threading.Thread(target=act, name=f"files of {self.name}", daemon=True).start()
            self._transferred.wait()
        if self._killed.is_set():
            raise transfer_errors.Stopped
        if failed:
            raise failed[0]

    def _words(self) -> list[str]:
        try:
            return shlex.split(self.launch.command_line)
        except ValueError as error:
            raise _failed("UserError", "CommandLaunchFailed", _LAUNCH_FAILED, str(error)) from None

    def _run_here(self, words: list[str], working: Path) -> Outcome:
        """Run the command on the node itself."""
        program = words[0] if words else ""
        found: str | None = program
        if "/" not in program:
            found = shutil.which(program, path=self.launch.environment["PATH"])
        if not found or not (working / found).exists():
            detail = f"There is no program {program!r}, neither in the working directory nor on the node's PATH"
            raise _failed("UserError", "CommandProgramNotFound", "The specified command program is not found", detail)
        return Outcome(self._execute([found, *words[1:]], working, self.launch.environment))

    def _run_inside(self, words: list[str], working: Path) -> Outcome:
        """Run the command in a container."""
        try:
            container = containers.Container(self.launch, words)
        except containers.ContainerError as error:
            raise _RunError(Outcome(failure=error.failure_info(), phase="before")) from None
        with closing(container):
            code = self._execute(container.command, working, container.environment, container.descriptors)
            if self._killed.is_set():
                container.kill()
            return container.outcome(code, self.launch.directory / "stderr.txt")

    def _execute(
        self, command: list[str], working: Path, environment: Mapping[str, str], descriptors: tuple[int, ...] = ()
    ) -> int:
        with (
            (self.launch.directory / "stdout.txt").open("wb") as out,
            (self.launch.directory / "stderr.txt").open("wb") as err,
            self._lock,
        ):
            self._process = subprocess.Popen(
                command,
                cwd=working,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                pass_fds=descriptors,
            )
            pid = self._process.pid
        if self._killed.is_set():
            processes.kill_group(pid)
        listener = self.listener
        if listener is not None:
            listener.started(self.launch.run, [pid, processes.start_time(pid)])
        # The leader stays a zombie until its group is ended: its pid, which names the group, can't be given away.
        processes.wait_unreaped(pid)
        processes.kill_group(pid)
        processes.end_scattered(self.launch.directory)
        with self._lock:
            code = self._process.wait()
            self._process = None
        return code


class _RunError(Exception):
    """A run that ends before its last step."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__()


def _failed(category: str, code: str, message: str, detail: str) -> _RunError:
    return _RunError(Outcome(failure=failure(category, code, message, Message=detail), phase="before"))
