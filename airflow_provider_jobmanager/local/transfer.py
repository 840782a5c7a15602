"""Files into a task's working directory: ``resourceFiles`` by address, from a container, from auto-storage.

What is allowed follows *Creating and using resource files* (learn.microsoft.com/azure/batch/resource-files), the
failures follow the table of scheduling errors on *Batch Status and Error Codes*. Files out are in :mod:`.uploads`.

The functions block: the service runs them in a thread. What goes wrong is in :mod:`.transfer_errors`.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from attrs import field, frozen
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_provider_jobmanager.local.errors import invalid_property, not_emulated
from airflow_provider_jobmanager.local.transfer_errors import Stopped, TransferError, bare

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DEFAULT_MODE = 0o770
"""Mode of a resource file that asks for none."""

TIMEOUT = 60.0
"""Seconds without a byte after which a source counts as timed out."""

PAGE = 1000
"""Blobs in a page of a container's listing."""

SOURCES = ("httpUrl", "storageContainerUrl", "autoStorageContainerName")


@frozen
class Storage:
    """Where the account's own blobs are.

    Attributes:
        auto_storage: connection string of the storage account that serves as auto-storage; None for none.
    """

    auto_storage: str | None = field(default=None, repr=False)


# -- what is allowed


def check_resource_files(files: object, storage: Storage, name: str = "resourceFiles") -> None:
    """Nothing, when a task may ask for these files.

    Args:
        files: the property as the client sent it.
        storage: to know whether there is auto-storage.
        name: the property, for the error.

    Raises:
        BatchError: 400 ``InvalidPropertyValue`` with the reason, or 501 for what is not emulated.
    """
    if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
        raise invalid_property(name, None, f"{name} is a list of objects")
    for place, entry in enumerate(files):
        _check_entry(entry, storage, f"{name}[{place}]")


def _check_entry(entry: Mapping[str, Any], storage: Storage, name: str) -> None:
    given = [source for source in SOURCES if entry.get(source)]
    if len(given) != 1:
        raise invalid_property(name, None, f"Exactly one of {', '.join(SOURCES)} is needed")
    if entry.get("identityReference"):
        raise not_emulated(f"identityReference of {name}", "Use an address with a shared access signature.")
    source, path = entry[given[0]], entry.get("filePath")
    if given[0] == "httpUrl":
        if not path:
            raise invalid_property(f"{name}.filePath", None, "filePath is required with httpUrl")
        if entry.get("blobPrefix"):
            raise invalid_property(f"{name}.blobPrefix", entry["blobPrefix"], "blobPrefix is not allowed with httpUrl")
    if given[0] != "autoStorageContainerName":
        check_url(source, f"{name}.{given[0]}")
    elif storage.auto_storage is None:
        raise invalid_property(
            f"{name}.autoStorageContainerName",
            str(source),
            "No auto-storage account is configured for the local Batch service; start it with one, "
            "or use storageContainerUrl",
        )
    if path is not None and not is_inside(path):
        raise invalid_property(f"{name}.filePath", str(path), "filePath must stay inside the task's working directory")
    if entry.get("fileMode") is not None:
        try:
            parse_mode(entry["fileMode"])
        except ValueError as error:
            raise invalid_property(f"{name}.fileMode", str(entry["fileMode"]), str(error)) from None


def check_url(url: object, name: str) -> None:
    """Nothing, when ``url`` is an address that can be asked.

    Raises:
        BatchError: 400 ``InvalidPropertyValue``; the address is shown without its query.
    """
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in {"http", "https"} and parts.hostname:
            return
    raise invalid_property(
        name, (bare(url) if isinstance(url, str) and "://" in url else "") or None, "An http or https URL is needed"
    )


def is_inside(path: object) -> bool:
    """Whether a relative path stays below the directory it is relative to."""
    if not isinstance(path, str) or path.startswith("/") or "\0" in path:
        return False
    depth = 0
    for part in PurePosixPath(path.replace("\\", "/")).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True


def parse_mode(text: object) -> int:
    """The mode of an octal text, such as ``0770``.

    Raises:
        ValueError: it is none.
    """
    if isinstance(text, str) and re.fullmatch(r"(?:0o)?[0-7]{1,4}", text, re.ASCII):
        return int(text.removeprefix("0o"), 8)
    raise ValueError("fileMode is an octal number, such as 0770")


# -- bringing files in


def fetch(
    files: Sequence[Mapping[str, Any]],
    directory: Path,
    storage: Storage,
    stop: threading.Event | None = None,
) -> None:
    """Brings a task's resource files into its working directory, one after the other.

    Args:
        files: resource files that :func:`check_resource_files` found good.
        directory: the task's working directory.
        storage: for ``autoStorageContainerName``.
        stop: set when the task was ended meanwhile.

    Raises:
        TransferError: a file can't be had; what came before it stays.
        Stopped: ``stop`` was set.
    """
    for entry in files:
        if stop is not None and stop.is_set():
            raise Stopped
        mode = parse_mode(entry["fileMode"]) if entry.get("fileMode") else DEFAULT_MODE
        path = entry.get("filePath") or ""
        if entry.get("httpUrl"):
            _from_url(entry["httpUrl"], _target(directory, path), mode, stop)
            continue
        with _source(entry, storage) as client:
            _from_container(client, entry, directory, mode, stop)


def container_client(url: str, doing: str) -> ContainerClient:
    """A client for a container's address, its signature included.

    Args:
        url: the address.
        doing: what for, a key of the tables below.

    Raises:
        TransferError: the address names no container.
    """
    # The pipeline would try for a minute and more; a task's owner is better served by an early answer.
    with storage_answers(doing, [("ContainerUrl", bare(url))]):
        return ContainerClient.from_container_url(
            url,
            retry_total=2,
            initial_backoff=0,
            increment_base=1,
            random_jitter_range=0,
            connection_timeout=20,
            read_timeout=TIMEOUT,
        )


def _source(entry: Mapping[str, Any], storage: Storage) -> ContainerClient:
    if entry.get("storageContainerUrl"):
        return container_client(entry["storageContainerUrl"], "ResourceContainer")
    service = BlobServiceClient.from_connection_string(storage.auto_storage or "")
    return service.get_container_client(entry["autoStorageContainerName"])


def _from_url(url: str, target: Path, mode: int, stop: threading.Event | None) -> None:
    details = [("BlobSource", bare(url)), ("FilePath", target.name)]
    transport = httpx.HTTPTransport(retries=2)
    try:
        with (
            httpx.Client(transport=transport, timeout=TIMEOUT, follow_redirects=True) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise TransferError(
                    _status_code("Blob", answer.status_code),
                    [*details, ("Message", f"HTTP status code: {answer.status_code}")],
                )
            _write(target, answer.iter_bytes(), mode, stop, details)
    except httpx.TimeoutException:
        raise TransferError("BlobDownloadTimedOut", details) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransferError("BlobDownloadMiscError", [*details, ("Message", str(error))]) from None


def _from_container(
    client: ContainerClient, entry: Mapping[str, Any], directory: Path, mode: int, stop: threading.Event | None
) -> None:
    source = [("ContainerUrl", bare(client.url))]
    with storage_answers("ResourceContainer", source):
        names = list(client.list_blob_names(name_starts_with=entry.get("blobPrefix") or None, results_per_page=PAGE))
    for name in names:
        details = [("BlobSource", f"{bare(client.url)}/{name}"), ("FilePath", name)]
        if not is_inside(name):
            raise TransferError("ResourceFileCreateFailed", [*details, ("Message", "The name leaves the directory")])
        if name.endswith("/"):  # the mark of an empty folder, which some tools leave
            continue
        with storage_answers("Blob", details):
            chunks = client.download_blob(name).chunks()
            _write(_target(directory, entry.get("filePath") or "", name), chunks, mode, stop, details)


def _target(directory: Path, *parts: str) -> Path:
    target = directory.joinpath(*(part.replace("\\", "/") for part in parts if part))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _disk(error, "ResourceDirectoryCreateFailed", [("FilePath", target.name)]) from None
    return target


def _write(
    target: Path, chunks: Iterable[bytes], mode: int, stop: threading.Event | None, details: list[tuple[str, str]]
) -> None:
    if stop is not None and stop.is_set():
        raise Stopped
    try:
        file = target.open("wb")
    except OSError as error:
        raise _disk(error, "ResourceFileCreateFailed", details) from None
    with file:
        for chunk in chunks:
            if stop is not None and stop.is_set():
                raise Stopped
            try:
                file.write(chunk)
            except OSError as error:
                raise _disk(error, "ResourceFileWriteFailed", details) from None
    target.chmod(mode)


def _disk(error: OSError, code: str, details: list[tuple[str, str]]) -> TransferError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        code = "DiskFull"
    return TransferError(code, [*details, ("Message", os.strerror(error.errno) if error.errno else str(error))])


# -- what storage answers, in the service's words

_BY_STATUS = {
    "Blob": {404: "BlobNotFound", 401: "BlobAccessDenied", 403: "BlobAccessDenied", 409: "BlobAccessDenied"},
    "ResourceContainer": {
        404: "ResourceContainerNotFound",
        401: "ResourceContainerAccessDenied",
        403: "ResourceContainerAccessDenied",
        409: "ResourceContainerAccessDenied",  # PublicAccessNotPermitted
    },
    "FileUpload": {
        404: "FileUploadContainerNotFound",
        401: "FileUploadAccessDenied",
        403: "FileUploadAccessDenied",
        409: "FileUploadConflict",
        412: "FileUploadConflict",
    },
}
_TIMED_OUT = {
    "Blob": "BlobDownloadTimedOut",
    "ResourceContainer": "ResourceContainerListTimedOut",
    "FileUpload": "FileUploadTimedOut",
}
_OTHER = {
    "Blob": "BlobDownloadMiscError",
    "ResourceContainer": "ResourceContainerListMiscError",
    "FileUpload": "FileUploadMiscError",
}


def _status_code(doing: str, status: int | None) -> str:
    if status in {408, 504}:
        return _TIMED_OUT[doing]
    return _BY_STATUS[doing].get(status or 0, _OTHER[doing])


@contextmanager
def storage_answers(doing: str, details: list[tuple[str, str]]) -> Iterator[None]:
    """Turns what storage answers into a failure of the task."""
    try:
        yield
    except HttpResponseError as error:
        said = f"HTTP status code: {error.status_code}, {getattr(error, 'error_code', '') or error.reason}"
        raise TransferError(_status_code(doing, error.status_code), [*details, ("Message", said)]) from None
    except (ServiceRequestError, ServiceResponseError) as error:
        timed_out = "timed out" in str(error).lower()
        code = _TIMED_OUT[doing] if timed_out else _OTHER[doing]
        raise TransferError(code, [*details, ("Message", str(error))]) from None
    except (AzureError, ValueError) as error:
        raise TransferError(_OTHER[doing], [*details, ("Message", str(error))]) from None
