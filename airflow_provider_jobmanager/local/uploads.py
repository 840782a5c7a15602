"""Files out of a task's directory: ``outputFiles``.

Patterns, conditions and names follow *Persist task data to Azure Storage with the Batch service API*
(learn.microsoft.com/azure/batch/batch-task-output-files) and the REST reference of ``OutputFile``: ``*``, ``?``,
``[abc]`` and ``[!abc]`` within a name, ``**`` for any depth of directories, dot files only by name, environment
variables expanded first.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.storage.blob import ContentSettings

from airflow_provider_jobmanager.local.errors import invalid_property, not_emulated
from airflow_provider_jobmanager.local.transfer import check_url, container_client, storage_answers
from airflow_provider_jobmanager.local.transfer_errors import Stopped, TransferError, bare

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from azure.storage.blob import ContainerClient

CONDITIONS = ("tasksuccess", "taskfailure", "taskcompletion")
OUT_LOG, ERR_LOG = "fileuploadout.txt", "fileuploaderr.txt"

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_CONTENT_HEADERS = {
    "cache-control": "cache_control",
    "content-type": "content_type",
    "content-encoding": "content_encoding",
    "content-language": "content_language",
    "content-disposition": "content_disposition",
}
_METADATA = "x-ms-meta-"


def check_output_files(files: object, name: str = "outputFiles") -> None:
    """Nothing, when a task may ask for these uploads.

    Args:
        files: the property as the client sent it.
        name: the property, for the error.

    Raises:
        BatchError: 400 ``InvalidPropertyValue`` with the reason, or 501 for what is not emulated.
    """
    if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
        raise invalid_property(name, None, f"{name} is a list of objects")
    for place, entry in enumerate(files):
        where = f"{name}[{place}]"
        if not isinstance(entry.get("filePattern"), str) or not entry["filePattern"]:
            raise invalid_property(f"{where}.filePattern", None, "filePattern is required")
        container = (entry.get("destination") or {}).get("container")
        if not isinstance(container, dict) or not container.get("containerUrl"):
            raise invalid_property(f"{where}.destination.container.containerUrl", None, "containerUrl is required")
        if container.get("identityReference"):
            raise not_emulated(f"identityReference of {where}", "Use an address with a shared access signature.")
        check_url(container["containerUrl"], f"{where}.destination.container.containerUrl")
        for header in container.get("uploadHeaders") or []:
            if not _is_known_header(str(header.get("name", ""))):
                raise not_emulated(f"The upload header {header.get('name')!r} of {where}")
        condition = (entry.get("uploadOptions") or {}).get("uploadCondition")
        if str(condition).lower() not in CONDITIONS:
            raise invalid_property(
                f"{where}.uploadOptions.uploadCondition", condition, f"It is one of {', '.join(CONDITIONS)}"
            )


def wanted(condition: str, exit_code: int | None) -> bool:
    """Whether a condition asks for the upload; it looks at the exit code alone.

    Args:
        condition: ``uploadCondition``, in any case.
        exit_code: None when the process never started or was ended: that is no success.
    """
    return {"tasksuccess": exit_code == 0, "taskfailure": exit_code != 0}.get(condition.lower(), True)


def expand(pattern: str, environment: Mapping[str, str]) -> str:
    """A pattern with ``$NAME`` and ``${NAME}`` replaced; a variable that is not set stays as written."""
    return _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], found[0]), pattern)


def find(pattern: str, directory: Path) -> list[tuple[Path, str]]:
    """The files that a pattern matches, and the name of each below the pattern's fixed part.

    ``logs/**/*.txt`` finds ``logs/a/b.txt`` under the name ``a/b.txt``.

    Args:
        pattern: with its variables expanded; relative to ``directory``, or absolute.
        directory: the task's working directory.
    """
    parts = Path(pattern).parts
    fixed: list[str] = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = directory.joinpath(*fixed)
    rest = str(Path(*parts[len(fixed) :]))
    if not glob.has_magic(rest):
        return [(root / rest, rest)] if _is_file(root / rest) else []
    # Path.glob takes dot files for any other, and "**" for directories alone.
    names = glob.glob(rest, root_dir=root, recursive=True)  # noqa: PTH207
    return [(root / name, name) for name in sorted(set(names)) if _is_file(root / name)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name for a file here
        return False


def upload(
    files: Sequence[Mapping[str, Any]],
    directory: Path,
    environment: Mapping[str, str],
    exit_code: int | None,
    stop: threading.Event | None = None,
) -> None:
    """Uploads what a task's end asks for, and writes how it went beside ``stdout.txt``.

    One upload that fails does not keep the others back; the first failure is raised in the end. A pattern that matches
    nothing is no failure.

    Args:
        files: output files that :func:`check_output_files` found good.
        directory: the task's working directory; the logs go to the directory above it.
        environment: the task's variables, for patterns.
        exit_code: how the process ended, None when it never started.
        stop: set when the task was deleted meanwhile.

    Raises:
        TransferError: an upload failed.
        Stopped: ``stop`` was set.
    """
    chosen = [entry for entry in files if wanted(entry["uploadOptions"]["uploadCondition"], exit_code)]
    if not chosen:
        return
    failure: TransferError | None = None
    with (directory.parent / OUT_LOG).open("w") as out, (directory.parent / ERR_LOG).open("w") as err:
        for entry in chosen:
            pattern = expand(entry["filePattern"], environment)
            container = entry["destination"]["container"]
            found = find(pattern, directory)
            out.write(f"{entry['filePattern']}: {len(found)} file(s) to {bare(container['containerUrl'])}\n")
            try:
                client = container_client(container["containerUrl"], "FileUpload")
            except TransferError as error:
                err.write(f"{entry['filePattern']}: {error}\n")
                failure = failure or error
                continue
            with client:
                for file, name in found:
                    if stop is not None and stop.is_set():
                        raise Stopped
                    blob = _blob_name(container.get("path") or "", name, many=glob.has_magic(pattern))
                    try:
                        _upload_one(client, file, blob, container.get("uploadHeaders") or [])
                        out.write(f"{file} -> {blob}\n")
                    except TransferError as error:
                        err.write(f"{file}: {error}\n")
                        failure = failure or error
    if failure is not None:
        raise failure


def _blob_name(path: str, name: str, *, many: bool) -> str:
    """``path`` is a directory for a pattern with wildcards, and the blob's own name for one without."""
    if not path:
        return name
    return f"{path.rstrip('/')}/{name}" if many else path


def _upload_one(client: ContainerClient, file: Path, blob: str, headers: Sequence[Mapping[str, str]]) -> None:
    details = [("ContainerUrl", bare(client.url)), ("FilePath", os.fspath(file)), ("Path", blob)]
    try:
        data = file.open("rb")
    except OSError as error:
        raise TransferError("FileUploadMiscError", [*details, ("Message", error.strerror or str(error))]) from None
    content, metadata = _headers(headers)
    with data, storage_answers("FileUpload", details):
        client.upload_blob(blob, data, overwrite=True, content_settings=content, metadata=metadata)


def _headers(headers: Sequence[Mapping[str, str]]) -> tuple[ContentSettings, dict[str, str]]:
    settings: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for header in headers:
        name, value = header["name"].lower(), header.get("value") or ""
        if name.startswith(_METADATA):
            metadata[header["name"][len(_METADATA) :]] = value
        else:
            settings[_CONTENT_HEADERS[name.removeprefix("x-ms-blob-")]] = value
    return ContentSettings(**settings), metadata


def _is_known_header(name: str) -> bool:
    name = name.lower()
    return name.startswith(_METADATA) or name.removeprefix("x-ms-blob-") in _CONTENT_HEADERS
