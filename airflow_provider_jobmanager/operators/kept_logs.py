"""Logs that outlive their node: the manager's stdout and stderr as blobs.

``keep_logs`` becomes one more output file of the job manager task, uploaded by the node when the task ends, however it
ended (https://learn.microsoft.com/azure/batch/batch-task-output-files). An upload that fails makes Batch fail the task:
that is the service's rule, and the reason why this is no default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from airflow_provider_jobmanager.batch.job_manager_task import OutputFile, OutputFileBlobContainerDestination
from airflow_provider_jobmanager.batch.values import structure, templated
from airflow_provider_jobmanager.errors import ConfigurationError, DeserializationError, PayloadError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.ownership import Owner

PATTERN: Final = "../std*.txt"
"""Both files, relative to the working directory."""


def check_keep_logs(keep_logs: Any) -> None:
    """Find at parse time what can't say where logs are kept.

    Raises:
        ConfigurationError: as :func:`output_file`.
    """
    if keep_logs is not None and not templated(keep_logs):
        _container(keep_logs, parse_time=True)


def output_file(keep_logs: Any, owner: Owner, *, parse_time: bool = False) -> OutputFile:
    """The output file that keeps the logs of one try.

    Args:
        keep_logs: the container's URL (with a SAS), or a mapping of ``container_url``, ``path`` and
            ``identity_reference``.
        owner: the try, which gives the path when none was given.
        parse_time: leave out what has yet to be rendered.

    Raises:
        ConfigurationError: it is neither, has an unknown member or no container.
        PayloadError: the container breaks rules of the Batch service, such as an address that is no URL.
    """
    container = _container(keep_logs, parse_time=parse_time)
    if container.path is None:
        container.path = path_of(owner)
    return OutputFile.from_dict(
        {
            "file_pattern": PATTERN,
            "destination": {"container": container},
            "upload_options": {"upload_condition": "taskcompletion"},
        }
    )


def address(keep_logs: Any, owner: Owner) -> str:
    """Where the kept stdout lies, without any signature or user information."""
    container = _container(keep_logs)
    parts = urlsplit(str(container.container_url))
    path = path_of(owner) if container.path is None else str(container.path)
    steps = (parts.path.rstrip("/"), quote(path.strip("/")), "stdout.txt")
    # An empty path is the container itself.
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{'/'.join(step for step in steps if step)}"


def path_of(owner: Owner) -> str:
    """The folder of one try: unlike a job's id it says which task it was."""
    mapped = f"/{owner.map_index}" if owner.map_index >= 0 else ""
    return f"{owner.dag_id}/{owner.run_id}/{owner.task_id}{mapped}/{owner.try_number}"


def _container(keep_logs: Any, *, parse_time: bool = False) -> OutputFileBlobContainerDestination:
    if isinstance(keep_logs, str):
        spelled = structure(keep_logs)  # a template of the whole mapping renders to its text
        keep_logs = {"container_url": keep_logs} if spelled is None else spelled
    if not isinstance(keep_logs, (Mapping, OutputFileBlobContainerDestination)):
        raise ConfigurationError(
            "keep_logs must be the URL of a blob container, or a mapping of container_url, path and "
            f"identity_reference, not {type(keep_logs).__name__}."
        )
    try:
        container = OutputFileBlobContainerDestination.from_dict(keep_logs)
    except DeserializationError as error:
        raise ConfigurationError(f"keep_logs: {error}") from None
    if container.container_url is None:
        raise ConfigurationError("keep_logs: container_url is missing: the URL of a blob container.")
    if errors := container.validate(parse_time=parse_time):
        raise PayloadError("keep_logs", errors)
    return container
