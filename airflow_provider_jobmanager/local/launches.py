"""What the rules and the execution of processes say to each other; neither knows more of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Doc = dict[str, Any]


@frozen
class Run:
    """One run of one command, for good.

    Attributes:
        kind: ``task``, ``preparation``, ``release`` or ``start``.
        owner: key of the job; of the pool for a start task.
        name: key of the task; id of the node for the other kinds.
        attempt: number of the run; a late word of an earlier run is told apart by it.
        seq: number of the record that it belongs to: a job can be deleted, and another made under its id.
    """

    kind: str
    owner: str
    name: str
    attempt: int
    seq: int


@frozen
class Launch:
    """A command to run.

    Attributes:
        run: which run it is.
        command_line: the command, not for a shell.
        directory: the task's directory, holding ``stdout.txt``, ``stderr.txt`` and ``wd``.
        environment: the whole environment of the process.
        resource_files: files to fetch into ``wd`` before.
        output_files: files to upload after.
        container: container settings; None runs on the node itself.
        readable: files outside the node's directory that the command must be able to read, in a container as well.
    """

    run: Run
    command_line: str
    directory: Path
    environment: Mapping[str, str]
    resource_files: Sequence[Doc] = ()
    output_files: Sequence[Doc] = ()
    container: Doc | None = None
    readable: Sequence[Path] = ()


@frozen
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: what the process gave, ``-N`` for signal N; None when it never started.
        failure: ``failureInfo`` of what went wrong before or after the command; None when nothing did. A non-zero exit
            is not among them.
        phase: where ``failure`` happened: ``before`` or ``after`` the command.
        container: ``containerInfo`` of a run in a container.
    """

    exit_code: int | None = None
    failure: Doc | None = None
    phase: str = ""
    container: Doc | None = field(default=None)

    def write(self, info: Doc, failed: Doc | None) -> None:
        """Write the end of a run into the ``executionInfo`` of its task, in the service's order.

        Args:
            info: of a task, a start task, a preparation or a release task.
            failed: its ``failureInfo``, which may be that of the exit code; None when it succeeded.
        """
        if self.exit_code is not None:
            info["exitCode"] = self.exit_code
        if self.container is not None:
            info["containerInfo"] = self.container
        if failed is not None:
            info["failureInfo"] = failed
        info["result"] = "success" if failed is None else "failure"


class Listener(Protocol):
    """Who wants to know about runs."""

    def started(self, run: Run, process: list[Any]) -> None:
        """A process began; ``process`` finds it again after a restart."""

    def exited(self, run: Run, outcome: Outcome) -> None:
        """A run is over, and nothing of it is left running."""


class Runner(Protocol):
    """Who runs commands."""

    def begin(self, launch: Launch, listener: Listener) -> None:
        """Run a command; returns at once."""

    def kill(self, run: Run) -> None:
        """End a run with all its processes; ``exited`` is called as for any other end."""

    def end_all(self) -> None:
        """End all runs, without another word to their listeners."""

    def end_left_over(self, process: list[Any], directory: Path) -> None:
        """End what an earlier life of the service left running."""

    def end_strays(self, root: Path) -> None:
        """End whatever is left running on nodes below ``root`` of runs that are over."""

    def close(self) -> None:
        """End all runs as well, and wait until they are gone."""


def failure(category: str, code: str, message: str, **details: str) -> Doc:
    """A ``failureInfo``, with details when there are any."""
    info: Doc = {"category": category, "code": code, "message": message}
    if details:
        info["details"] = [{"name": name, "value": value} for name, value in details.items()]
    return info
