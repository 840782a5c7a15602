"""What a person may do about the well-known ways in which a job fails.

One table. A row fits by the failure's code, by the manager's exit code or by a text that stands in the failure or in
the last lines of its output; the first row that fits is the hint. Codes: the service's own list of failure codes
(https://learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes and the constants of its SDKs).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from attrs import frozen

from airflow_provider_jobmanager.batch.printable import named_values
from airflow_provider_jobmanager.batch.verdict import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_jobmanager.batch.verdict import Verdict


@frozen
class _Row:
    hint: str
    codes: frozenset[str] = frozenset()
    exit_codes: frozenset[int] = frozenset()
    text: str = ""

    def fits(self, code: str, exit_code: int | None, text: str) -> bool:
        """Whether all that the row asks for is there; what it leaves out is not asked for."""
        if self.codes and code not in self.codes:
            return False
        if self.exit_codes and exit_code not in self.exit_codes:
            return False
        return not self.text or re.search(self.text, text, re.IGNORECASE) is not None


def _codes(*names: str) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _exits(*codes: int) -> frozenset[int]:
    return frozenset(codes)


_BLOBS = _codes("BlobAccessDenied", "ResourceContainerAccessDenied")

TABLE: Final = (
    _Row(
        "The SAS of a resource file has expired or is not valid yet: make a new one when the task runs, not when the "
        "DAG is parsed, or use an identity.",
        _BLOBS,
        text=r"not valid in the specified time frame|expired|signature not valid",
    ),
    _Row(
        "A resource file may not be read (403). Check its SAS: expired, or without read (and for containers list) "
        "permission. With an identity: it needs Storage Blob Data Reader, and the pool must have it.",
        _BLOBS,
    ),
    _Row(
        "A resource file is not there (404). Check its URL and container, and that it was uploaded before the job ran.",
        _codes("BlobNotFound", "ResourceContainerNotFound"),
    ),
    _Row(
        "The download of a resource file failed on the way: try again, and check that the node may reach the storage "
        "account (firewall, private endpoint).",
        _codes(
            "BlobDownloadTimedOut",
            "BlobDownloadMiscError",
            "ResourceContainerListTimedOut",
            "ResourceContainerListMiscError",
        ),
    ),
    _Row(
        "The node's disk is full: use a larger VM size, fewer slots per node, or shorter retention times "
        "(constraints.retention_time) of the tasks that run there.",
        _codes("DiskFull", "ResourceFileWriteFailed", "ResourceFileCreateFailed", "ResourceDirectoryCreateFailed"),
    ),
    _Row(
        "No shell runs the command line, so variables, pipes and redirections in it were not expanded: write "
        "/bin/sh -c '…' (or cmd /c on Windows) around it.",
        _codes("CommandProgramNotFound", "CommandLaunchFailed"),
        text=r"command line:.*(?:\$|\||>|<|&&|;|`|%\w+%|\*)",
    ),
    _Row(
        "The program was not found on the node. Give its full path, put it into resource_files (then it lies in the "
        "working directory: ./name), or install it by the pool's start task or image.",
        _codes("CommandProgramNotFound"),
    ),
    _Row(
        "The program could not be launched: check that it may be executed (file_mode of the resource file, 0755), and "
        "that its first line names an interpreter that is on the node.",
        _codes("CommandLaunchFailed"),
    ),
    _Row(
        "The container image could not be used: check its name, and that the pool's registry credentials or identity "
        "may pull it.",
        _codes("ContainerInvalidImage", "ContainerInvalidRegistry", "ContainerInvalidSettings", "ContainerMiscError"),
    ),
    _Row(
        "An application package could not be deployed: check its id and version, and that the account's auto-storage "
        "still holds it.",
        _codes("ApplicationPackageError"),
    ),
    _Row("A mount of the pool failed: check its configuration and credentials.", _codes("MountConfigurationError")),
    _Row(
        "The command was through; uploading its output_files was not. Create the container first (404).",
        _codes("FileUploadContainerNotFound"),
    ),
    _Row(
        "The command was through; uploading its output_files was not: the container's SAS has expired. It must live "
        "until the task ends; an identity does.",
        _codes("FileUploadAccessDenied"),
        text="expired",
    ),
    _Row(
        "The command was through; uploading its output_files was not (403). The container's SAS needs write "
        "permission and must live until the task ends; an identity needs Storage Blob Data Contributor.",
        _codes("FileUploadAccessDenied"),
    ),
    _Row(
        "The command was through; uploading its output_files was not. fileuploaderr.txt in the task's directory says "
        "more.",
        _codes("FileUploadConflict", "FileUploadTimedOut", "FileUploadMiscError"),
    ),
    _Row(
        "The account has no quota for the nodes that the auto pool wants: ask for fewer or smaller nodes, or for more "
        "quota.",
        _codes("AutoPoolCreationFailedWithQuotaReached"),
    ),
    _Row(
        "The auto pool could not be made: check auto_pool (image, node agent, VM size, formula, packages).",
        _codes(
            "InvalidAutoPoolSettings",
            "InvalidAutoScaleFormulaInAutoPool",
            "InvalidApplicationPackageReferencesInAutoPool",
            "InvalidCertificatesInAutoPool",
        ),
    ),
    _Row(
        "The task's node was lost again and again until the service gave up: is a Spot pool too scarce, or does the "
        "task take its node down (memory)?",
        _codes("MaxInternalRetryCountReached"),
    ),
    _Row(
        "The task can't be placed on the pool: compare required_slots, containers and affinity with what its nodes "
        "offer.",
        _codes("TaskSchedulingConstraintFailed"),
    ),
    _Row(
        "The task ran longer than its constraints.max_wall_clock_time, and was ended.",
        _codes("TaskEnded"),
        text=r"wall ?clock",
    ),
    _Row(
        "The task was ended from outside; on Windows that is also how the end of its max_wall_clock_time looks.",
        exit_codes=_exits(-1073741510, 3221225786),
    ),
    _Row(
        "The script has Windows line ends: its interpreter's name ends with a carriage return. Save it with LF.",
        text=r"\^M: bad interpreter|\$'\\r'|python3?\\r",
    ),
    _Row(
        "The interpreter in the script's first line is not on the node: install it by the pool's start task or image, "
        "or name one that is there.",
        text=r"bad interpreter",
    ),
    _Row(
        "No space is left on the node's disk: use a larger VM size, fewer slots per node, or shorter retention times.",
        text=r"no space left on device|not enough space on the disk",
    ),
    _Row("The shell did not find the command: is it installed on the node and on PATH?", exit_codes=_exits(127)),
    _Row("The shell may not execute the command: set the file's mode (file_mode 0755).", exit_codes=_exits(126)),
    _Row(
        "The process was killed (SIGKILL): most often it ran out of memory, or over its wall clock.",
        exit_codes=_exits(137, -9),
    ),
    _Row("The process crashed (segmentation fault).", exit_codes=_exits(139, -11)),
    _Row("The process was told to end (SIGTERM).", exit_codes=_exits(143, -15)),
)
"""The rows, the more special before the more general."""

_BY_STATUS: Final = {
    "timed_out": "The job's max_wall_clock_time counts from its creation, so waiting for a node is part of it.",
    "lost": "Somebody deleted the job, or an auto-delete policy did; its output is gone with it.",
}


def hint_for(verdict: Verdict, output: Iterable[str] = (), command_line: str = "", urls: Iterable[str] = ()) -> str:
    """What may help; empty when nothing is known.

    Args:
        verdict: how the job ended.
        output: last lines that the task wrote.
        command_line: the manager's command line, unless another task failed.
        urls: where the failed task's files come from and go to.
    """
    failure = verdict.failure or {}
    code = str(failure.get("code") or "").lower()
    if verdict.status in _BY_STATUS and code not in ("deadlineexceeded", "starttimeout"):
        return _BY_STATUS[verdict.status]
    if verdict.status != "failed":
        return ""
    details = " ".join(value for _, value in named_values(failure.get("details")))
    text = f"{failure.get('message')} {details}\n" + "\n".join(output)
    if _expired((details, *urls), verdict.ended_at):
        text += "\nexpired"
    if command_line.strip() and not verdict.failed_task and not _has_shell(command_line):
        text += f"\ncommand line: {command_line}"
    exit_code = None if verdict.failed_task else verdict.exit_code
    return next((row.hint for row in TABLE if row.fits(code, exit_code, text)), "")


def _has_shell(command_line: str) -> bool:
    program = command_line.split(maxsplit=1)[0].lower()
    return re.search(r"(?:^|[/\\])(?:(?:ba|da|z|k)?sh|cmd(?:\.exe)?|pwsh|powershell(?:\.exe)?)$", program) is not None


def _expired(urls: Iterable[str], ended_at: str | None) -> bool:
    """Whether a SAS among the URLs (``se=`` is its expiry) had expired when the job ended."""
    ended = moment(ended_at)
    for stamp in (stamp for url in urls for stamp in re.findall(r"[?&]se=([^&\s]+)", url)):
        try:
            expiry = moment(unquote(stamp))
        except ValueError:
            continue
        if expiry is not None and ended is not None and expiry < ended:
            return True
    return False


def known_codes() -> Mapping[str, str]:
    """Every failure code that has a hint of its own, in lower case."""
    return {code: row.hint for row in reversed(TABLE) for code in row.codes}
