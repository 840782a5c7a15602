"""How tasks end because a test says so, and no command is run.

A script is for the tasks of a job, and for so many of their runs; the first that matches a run decides how it ends.
What no script is for runs as ever::

    batch.scripts.add(task_id="manager", exit_code=1, stderr="no luck", times=1)
    batch.scripts.add(job_id="report-*", seconds=3600)
    batch.scripts.add(failure="BlobNotFound")

Only the command is left out: the rules are the same, so that a task which a script fails is tried again, ends its job
or holds back its dependants as any other. Time is the service's: a task of an hour ends when its clock is advanced by
one.
"""

from __future__ import annotations

import math
import threading
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import asdict, define, evolve, field, frozen, validators

from airflow_provider_jobmanager.local.launches import Outcome, failure
from airflow_provider_jobmanager.local.transfer_errors import FAILURES, SERVER, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from attrs import Attribute

    from airflow_provider_jobmanager.local.launches import Launch, Listener, Run, Runner

SHORTEST = 0.01
"""Seconds that a run takes at least: a task that is tried again for ever must not hold the time up."""

_FAILURES = {
    **FAILURES,
    "CommandProgramNotFound": (USER, "The specified command program is not found"),
    "CommandLaunchFailed": (USER, "The specified command could not be launched"),
    "ApplicationPackageError": (USER, "An application package could not be deployed"),
    "MountConfigurationError": (USER, "A mount of the node could not be set up"),
    "ContainerInvalidImage": (USER, "The image of the container could not be used"),
    "ContainerInvalidRegistry": (USER, "The registry of the container's image could not be used"),
    "ContainerInvalidSettings": (USER, "The settings of the container can't work"),
    "ContainerMiscError": (USER, "The container could not be started"),
    "MaxInternalRetryCountReached": (USER, "The task was tried again internally as often as may be"),
    "TaskSchedulingConstraintFailed": (USER, "The task can't be scheduled on the pool"),
    "Unknown": (SERVER, "An unknown error occurred"),
}
"""What a script can fail a run with: all codes of *Batch Status and Error Codes* and of the SDKs' constants, but those
that an exit code or an end by somebody has."""
_KILLED = Outcome(-9)


def _text(_script: Script, attribute: Attribute[str], value: Any) -> None:
    """A text that can be written: half a surrogate pair, which JSON may hold, can not."""
    validators.instance_of(str)(_script, attribute, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"'{attribute.name}' must be text that UTF-8 can hold; its character {error.start} is half a surrogate pair"
        ) from None


def _name(_script: Script, attribute: Attribute[str], value: Any) -> None:
    """A name of a file below the working directory."""
    _text(_script, attribute, value)
    parts = PurePosixPath(value).parts
    if not parts or parts[0].startswith("/") or ".." in parts or "\0" in value:
        raise ValueError(
            f"a name in 'files' must be relative to the working directory, without '..' and NUL, such as out/a.txt; "
            f"it is {value!a}"
        )


@frozen(kw_only=True)
class Script:
    """How runs of tasks end.

    Attributes:
        task_id: id of the task, or a pattern with ``*``; in any case.
        job_id: id of its job, likewise.
        exit_code: what the process would have given; nothing for a failure before it.
        stdout: what it would have written to ``stdout.txt``.
        stderr: likewise.
        files: text by name, relative to the working directory and within it.
        failure: code of a ``failureInfo``, such as ``BlobNotFound``: a failure before the command, or, for a
            ``FileUpload...``, after it. None for none but that of the exit code.
        seconds: from the start of the run to its end, by the service's clock.
        times: for how many runs; None for all.
    """

    task_id: str = field(default="*", validator=_text)
    job_id: str = field(default="*", validator=_text)
    exit_code: int = field(default=0, validator=validators.instance_of(int))
    stdout: str = field(default="", validator=_text)
    stderr: str = field(default="", validator=_text)
    files: Mapping[str, str] = field(
        factory=dict, validator=validators.deep_mapping(_name, _text, validators.instance_of(dict))
    )
    failure: str | None = field(default=None, validator=validators.optional(validators.in_(_FAILURES)))
    seconds: float = field(
        default=0.0, validator=[validators.instance_of((int, float)), validators.ge(0), validators.lt(math.inf)]
    )
    times: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(1)])
    )

    def matches(self, run: Run) -> bool:
        """Whether it is for a run: of a task, not of a preparation, release or start task."""
        return (
            run.kind == "task"
            and fnmatchcase(run.name, self.task_id.lower())
            and fnmatchcase(run.owner, self.job_id.lower())
        )

    def play(self, directory: Path) -> Outcome:
        """Leave behind in the task's directory what the command would have, and say how it ends."""
        working = directory / "wd"
        texts = {directory / "stdout.txt": self.stdout, directory / "stderr.txt": self.stderr}
        texts |= {working / name: text for name, text in self.files.items()}
        try:
            working.mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        except (OSError, ValueError) as error:
            return _failed("ResourceFileCreateFailed", Message=str(error))
        if self.failure is None:
            return Outcome(self.exit_code)
        if self.failure.startswith("FileUpload"):
            return evolve(_failed(self.failure), exit_code=self.exit_code, phase="after")
        return _failed(self.failure)


@define
class _Rule:
    """A script and for how many runs it was taken."""

    script: Script
    taken: int = 0


class Scripts:
    """The scripts in force. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def add(self, **parts: Any) -> Script:
        """Puts a script behind those in force; its parts are the attributes of :class:`Script`.

        Raises:
            ValueError: a part is not what it has to be; the text says why.
        """
        try:
            script = Script(**parts)
        except (TypeError, ValueError) as error:
            raise ValueError(str(error.args[0])) from None
        with self._lock:
            self._rules.append(_Rule(script))
        return script

    def clear(self) -> None:
        """Takes all scripts back; runs that one decided already end as it says."""
        with self._lock:
            self._rules.clear()

    def data(self) -> list[dict[str, Any]]:
        """The scripts in force, in order, and for how many runs each was taken."""
        with self._lock:
            return [
                {**asdict(rule.script, filter=lambda _, value: value is not None), "taken": rule.taken}
                for rule in self._rules
            ]

    def take(self, run: Run) -> Script | None:
        """The script of a run that begins, None when there is none; one run less is left to it then."""
        with self._lock:
            for rule in self._rules:
                left = rule.script.times is None or rule.taken < rule.script.times
                if left and rule.script.matches(run):
                    rule.taken += 1
                    return rule.script
        return None


class Scripted:
    """A runner for what scripts are for, before the one that runs commands. Asked with the engine's lock held.

    Args:
        runner: runs what no script is for.
        scripts: decide the rest.
        later: lets something happen after so many seconds of the service's time.
    """

    def __init__(self, runner: Runner, scripts: Scripts, later: Callable[..., None]) -> None:
        self._runner = runner
        self._scripts = scripts
        self._later = later
        self._listeners: dict[Run, Listener] = {}

    def begin(self, launch: Launch, listener: Listener) -> None:
        """Run a command, or do as if."""
        script = self._scripts.take(launch.run)
        if script is None:
            self._runner.begin(launch, listener)
            return
        outcome = script.play(launch.directory)
        self._listeners[launch.run] = listener
        self._later(max(script.seconds, SHORTEST), self._end, launch.run, outcome)

    def kill(self, run: Run) -> None:
        """End a run, whoever runs it."""
        if run in self._listeners:
            self._later(0, self._end, run, _KILLED)
        else:
            self._runner.kill(run)

    def end_left_over(self, process: list[Any], directory: Path) -> None:
        """End what an earlier life of the service left running."""
        self._runner.end_left_over(process, directory)

    def end_strays(self, root: Path) -> None:
        """End whatever an earlier life of the service left running on nodes below ``root``."""
        self._runner.end_strays(root)

    def end_all(self) -> None:
        """End all runs, without another word to their listeners."""
        self._listeners.clear()
        self._runner.end_all()

    def close(self) -> None:
        """End all runs as well, and wait until they are gone."""
        self._listeners.clear()
        self._runner.close()

    def _end(self, run: Run, outcome: Outcome) -> None:
        listener = self._listeners.pop(run, None)
        if listener is not None:  # it was not ended before
            listener.exited(run, outcome)


def _failed(code: str, **details: str) -> Outcome:
    category, message = _FAILURES[code]
    return Outcome(None, failure(category, code, message, **details), "before")
