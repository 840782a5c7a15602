"""Tasks in containers, through whichever of docker and podman has a working engine.

Without one a container task fails by name; it is never run outside a container instead.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local.launches import failure

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.launches import Doc, Launch

BINARIES = ("docker", "podman")
_PATIENCE = 20.0  # seconds that an engine has to say that it works


class ContainerError(Exception):
    """The container can't be started."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)

    def failure_info(self) -> Doc:
        """The ``failureInfo`` of the task."""
        return failure("UserError", self.code, "The container of the task could not be started", Message=str(self))


def command(launch: Launch, words: list[str]) -> list[str]:
    """The command that runs a task's command in its container.

    The node's root directory is mounted at its own path, so that the paths of the environment hold inside.

    Raises:
        ContainerError: no engine works here, or the settings can't work.
    """
    settings = launch.container or {}
    binary = engine()
    if binary is None:
        raise ContainerError(
            "ContainerInvalidSettings",
            "containerSettings need docker or podman with a running engine on the machine of the local Batch service; "
            "neither was found. Start one, or leave containerSettings out.",
        )
    if settings.get("registry", {}).get("password"):
        raise ContainerError(
            "ContainerInvalidRegistry",
            "The local Batch service does not log in to registries. Log in with the engine itself, and leave the "
            "registry's password out.",
        )
    root = launch.environment["AZ_BATCH_NODE_ROOT_DIR"]
    inside = settings.get("workingDirectory", "taskWorkingDirectory") == "taskWorkingDirectory"
    # The image has a PATH and a HOME of its own.
    names = [name for name in launch.environment if name not in ("PATH", "HOME", "LANG", "PWD")]
    return [
        binary,
        "run",
        *("--name", name_of(launch)),
        "--rm",
        "--init",
        *("--volume", f"{root}:{root}"),
        *(("--workdir", launch.environment["AZ_BATCH_TASK_WORKING_DIR"]) if inside else ()),
        *(part for name in names for part in ("--env", name)),
        *shlex.split(settings.get("containerRunOptions", "")),
        settings["imageName"],
        *words,
    ]


def name_of(launch: Launch) -> str:
    """Name of the container of a run: no other run has it."""
    run = launch.run
    return f"jobmanager-{os.getpid()}-{run.seq}-{run.attempt}-{run.kind}"


def kill(launch: Launch) -> None:
    """End a container: it is a child of the engine, not of the command that began it."""
    binary = engine()
    if binary is not None:
        subprocess.run([binary, "kill", name_of(launch)], capture_output=True, check=False, timeout=_PATIENCE)


@lru_cache(maxsize=1)
def engine() -> str | None:
    """The binary of a container engine that answers, None when there is none."""
    for name in BINARIES:
        binary = shutil.which(name)
        if binary is None:
            continue
        try:
            found = subprocess.run([binary, "info"], capture_output=True, check=False, timeout=_PATIENCE)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if found.returncode == 0:
            return binary
    return None
