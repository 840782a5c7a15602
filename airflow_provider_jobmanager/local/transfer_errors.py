"""What goes wrong with a task's files, in the service's words, and free of secrets.

Codes, categories and texts are those of *Batch Status and Error Codes* and of the guides on resource and output files.
Addresses of blobs carry signatures: none of them reaches an error, a file or a log.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

USER, SERVER = "UserError", "ServerError"

FAILURES: dict[str, tuple[str, str]] = {
    "BlobNotFound": (USER, "One of the specified Azure Blob(s) is not found."),
    "BlobAccessDenied": (USER, "Access for one of the specified Azure Blob(s) is denied."),
    "BlobDownloadTimedOut": (SERVER, "Timeout encountered while downloading one of the specified Azure Blob(s)."),
    "BlobDownloadMiscError": (
        SERVER,
        "Miscellaneous error encountered while downloading one of the specified Azure Blob(s).",
    ),
    "ResourceContainerNotFound": (USER, "One of the specified Azure container(s) is not found."),
    "ResourceContainerAccessDenied": (USER, "Access for one of the specified Azure container(s) is denied."),
    "ResourceContainerListTimedOut": (
        SERVER,
        "Timeout encountered while listing one of the specified Azure container(s).",
    ),
    "ResourceContainerListMiscError": (
        SERVER,
        "Miscellaneous error encountered while listing one of the specified Azure container(s).",
    ),
    "ResourceDirectoryCreateFailed": (SERVER, "Failure encountered creating resource directory for the task."),
    "ResourceFileCreateFailed": (SERVER, "Failure encountered creating resource file."),
    "ResourceFileWriteFailed": (SERVER, "Failure encountered writing resource file."),
    "DiskFull": (SERVER, "There is not enough disk space on the node selected to run the task."),
    "FileUploadContainerNotFound": (
        USER,
        "One of the specified Azure container(s) was not found while attempting to upload an output file",
    ),
    "FileUploadAccessDenied": (
        USER,
        "Access was denied to one of the specified Azure container(s) while attempting to upload an output file",
    ),
    "FileUploadConflict": (USER, "A blob is in the way of an output file that was to be uploaded"),
    "FileUploadTimedOut": (SERVER, "Timeout encountered while attempting to upload an output file"),
    "FileUploadMiscError": (SERVER, "Miscellaneous error encountered while attempting to upload an output file"),
}
"""Code -> category and text of a ``failureInfo``."""

_SIGNATURE = re.compile(
    r"((?:^|[?&;\s])(?:sig|AccountKey|SharedAccessSignature|code|token)=)[^&;\s'\"]+", re.IGNORECASE
)


class TransferError(Exception):
    """A file could not be brought to, or away from, a task.

    Attributes:
        code: one of :data:`FAILURES`.
        details: ``(name, value)`` pairs, free of secrets.
    """

    def __init__(self, code: str, details: Iterable[tuple[str, str]] = ()) -> None:
        self.code = code
        self.details = [(name, redact(value)) for name, value in details]
        self.category, self.message = FAILURES[code]
        super().__init__(f"{code}: {self.message} {'; '.join(f'{name}: {value}' for name, value in self.details)}")

    def failure_info(self) -> dict[str, Any]:
        """The task's ``failureInfo``."""
        return {
            "category": self.category,
            "code": self.code,
            "message": self.message,
            "details": [{"name": name, "value": value} for name, value in self.details],
        }


class Stopped(Exception):  # noqa: N818 - no error: somebody ended the task meanwhile
    """The transfer was given up because the task was ended."""


# -- secrets


def redact(text: str) -> str:
    """A text without the signatures and keys in it."""
    return _SIGNATURE.sub(r"\1REDACTED", text)


def bare(url: str) -> str:
    """An address without its query and user: what may be shown of it; nothing of what can't be read as one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


class _Redaction(logging.Filter):
    """Takes signatures out of what HTTP libraries log of the addresses they ask for."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        clean = redact(message)
        if clean != message:
            record.msg, record.args = clean, None
        return True


_REDACTION = _Redaction()
for _name in ("httpx", "urllib3.connectionpool", "azure.core.pipeline.policies.http_logging_policy"):
    logging.getLogger(_name).addFilter(_REDACTION)
