"""Tasks in containers, through whichever of docker and podman has a working engine.

Without one a container task fails by name; it is never run outside a container instead. The engine's client runs in the
environment of the service, where it finds its own settings; the variables of the task go into the container by a file
that has no name, so that none of them stands on a command line or on a disk.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from airflow_provider_jobmanager.local.launches import Outcome, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_jobmanager.local.launches import Doc, Launch

log = logging.getLogger(__name__)

BINARIES = ("docker", "podman")
LABEL = "jobmanager.nodes"
"""Label of every container; its value is the directory that the service's nodes lie in."""

_PATIENCE = 20.0  # seconds that an engine has to answer
_ENGINE_FAILED = 125  # what docker and podman exit with when they could not run the container
_MARK = ".containers"
_OF_IMAGE = (
    "unable to find image", "no such image", "image not known", "pull access denied", "repository does not exist",
    "manifest unknown", "manifest for", "name unknown", "invalid reference format", "initializing source",
    "did not resolve",
)  # fmt: skip
_TAIL = 2000
# Of a file of variables neither engine takes another name, or a value of several lines or of more than 64 KiB.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_LONGEST = 32 * 1024
_OF_IMAGE_ITSELF = frozenset({"PATH", "HOME", "LANG", "PWD"})


class ContainerError(Exception):
    """The container can't be started."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)

    def failure_info(self) -> Doc:
        """The ``failureInfo`` of the task."""
        return failure("UserError", self.code, "The container of the task could not be started", Message=str(self))


class Container:
    """The container of a run, from the command that begins it to what is told of its end.

    Args:
        launch: the run.
        words: the task's command.

    Attributes:
        command: runs the task's command in its container. The node's root directory is mounted at its own path, and so
            is what else must be readable, so that the paths of the environment hold inside.
        environment: of that command.
        descriptors: what it has to inherit.

    Raises:
        ContainerError: no engine works here, or the settings can't work.
    """

    def __init__(self, launch: Launch, words: list[str]) -> None:
        settings = launch.container or {}
        binary = engine()
        if binary is None:
            raise ContainerError(
                "ContainerInvalidSettings",
                "containerSettings need docker or podman with a running engine on the machine of the local Batch "
                "service; neither was found. Start one, or leave containerSettings out.",
            )
        if settings.get("registry", {}).get("password"):
            raise ContainerError(
                "ContainerInvalidRegistry",
                "The local Batch service does not log in to registries. Log in with the engine itself, and leave the "
                "registry's password out.",
            )
        options = _split(settings.get("containerRunOptions", ""))
        self._binary = binary
        self._name = name_of(launch)
        by_file, by_name = _variables(launch.environment)
        self._variables = _file("".join(f"{name}={value}\n" for name, value in by_file.items()))
        own = {name: launch.environment[name] for name in ("AZ_BATCH_NODE_ROOT_DIR", "AZ_BATCH_TASK_DIR")}
        # By those two it is found when it is left behind, as any process of a task.
        self.environment = {**os.environ, **own, **by_name}
        self.descriptors = (self._variables.fileno(),)
        root = launch.environment["AZ_BATCH_NODE_ROOT_DIR"]
        inside = settings.get("workingDirectory", "taskWorkingDirectory") == "taskWorkingDirectory"
        (Path(root).parent / _MARK).touch()
        self.command = [
            binary,
            "run",
            *("--name", self._name),
            *("--label", f"{LABEL}={Path(root).parent}"),
            "--init",
            *("--volume", f"{root}:{root}"),
            *(part for path in launch.readable for part in ("--volume", f"{path}:{path}:ro")),
            *(("--workdir", launch.environment["AZ_BATCH_TASK_WORKING_DIR"]) if inside else ()),
            *("--env-file", f"/dev/fd/{self._variables.fileno()}"),
            *(part for name in by_name for part in ("--env", name)),
            *options,
            settings["imageName"],
            *words,
        ]

    def kill(self) -> None:
        """End it: it is a child of the engine, not of the command that began it."""
        _ask(self._binary, "kill", self._name)

    def close(self) -> None:
        """Leave nothing of it, whether it ever began or not."""
        self._variables.close()
        _ask(self._binary, "rm", "--force", self._name)

    def outcome(self, exit_code: int, error: Path) -> Outcome:
        """How the run ended.

        Args:
            exit_code: of the command.
            error: what it wrote to its standard error: the engine speaks there too.
        """
        info, began = self._inspect()
        if exit_code == _ENGINE_FAILED and not began:
            said = error.read_bytes()[-_TAIL:].decode(errors="replace").strip()
            of_image = any(words in said.lower() for words in _OF_IMAGE)
            failed = ContainerError("ContainerInvalidImage" if of_image else "ContainerMiscError", said)
            return Outcome(failure=failed.failure_info(), phase="before", container=info)
        return Outcome(exit_code, container=info)

    def _inspect(self) -> tuple[Doc | None, bool]:
        """Its ``containerInfo``, None when the engine knows nothing of it; and whether its command began."""
        asked = ("inspect", "--type", "container", "--format", "{{.Id}} {{json .State}}", self._name)
        identity, _, text = (_ask(self._binary, *asked) or "").partition(" ")
        try:
            state: Doc = json.loads(text)
            info: Doc = {"containerId": identity, "state": state["Status"]}
            if state["Error"]:
                info["error"] = state["Error"]
            return info, not state["StartedAt"].startswith("0001")  # which stands for never
        except (ValueError, LookupError, TypeError, AttributeError):  # an engine of another kind, or none any more
            return None, False


def name_of(launch: Launch) -> str:
    """Name of the container of a run: no other run has it."""
    run = launch.run
    return f"jobmanager-{os.getpid()}-{run.seq}-{run.attempt}-{run.kind}"


def end_strays(root: Path) -> None:
    """End and remove every container of nodes below ``root``, whichever life of the service began it.

    No engine is asked where there never was one.
    """
    mark = root / _MARK
    if not mark.exists():
        return
    binary = engine()
    found = _ask(binary, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={root}") if binary else None
    if binary is None or found is None:
        log.warning("Containers of tasks may be left running: no container engine answers")
        return
    if found.split():
        _ask(binary, "rm", "--force", *found.split())
    mark.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def engine() -> str | None:
    """The binary of a container engine that answers, None when there is none."""
    for name in BINARIES:
        binary = shutil.which(name)
        if binary is not None and _ask(binary, "info") is not None:
            return binary
    return None


def _ask(binary: str, *arguments: str) -> str | None:
    """What the engine says; None when it does not answer, or not well."""
    try:
        found = subprocess.run(
            [binary, *arguments], capture_output=True, check=False, timeout=_PATIENCE, text=True, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None


def _file(text: str) -> IO[bytes]:
    content = text.encode()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the container
    file.write(content)
    file.seek(0)
    return file


def _split(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise ContainerError("ContainerInvalidSettings", f"containerRunOptions can't be read: {error}") from None


def _variables(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The variables that go into the container by a file, and those that can go by their name only."""
    by_file: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for name, value in environment.items():
        if name in _OF_IMAGE_ITSELF:
            continue  # the image has its own
        plain = _NAME.fullmatch(name) and not {"\n", "\r", "\0"} & set(value) and len(value) <= _LONGEST
        (by_file if plain else by_name)[name] = value
    return by_file, by_name
