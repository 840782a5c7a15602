"""What a person may do about the well-known ways in which a job fails.

One table. A row fits by the failure's code, by the manager's exit code or by a text; the first row that fits is the
hint. The text of a row with codes is looked for in what is known of the failure, that of any other in the last lines of
the output: what a program prints is no evidence of why the service failed it. Codes: the service's own list of failure
codes (https://learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes and the constants of its SDKs).
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from attrs import frozen

from airflow_provider_jobmanager.batch.printable import named_values
from airflow_provider_jobmanager.batch.verdict import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_jobmanager.batch.verdict import Verdict


@frozen
class Row:
    """A cause and what may be done about it.

    Attributes:
        hint: what may help.
        codes: the failure has one of these codes, in the service's spelling.
        exit_codes: the manager exited with one of these.
        text: a pattern that is found in what is known of the failure when there are codes, and in the last lines of the
            output when there are none.
        seen: that pattern, in words.
    """

    hint: str
    codes: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()
    text: str = ""
    seen: str = ""

    def fits(self, code: str, exit_code: int | None, *, known: str, output: str) -> bool:
        """Whether all that the row asks for is there; what it leaves out is not asked for."""
        if self.codes and code not in {name.lower() for name in self.codes}:
            return False
        if self.exit_codes and exit_code not in self.exit_codes:
            return False
        evidence = known if self.codes else output
        return not self.text or re.search(self.text, evidence, re.IGNORECASE) is not None


_BLOBS = ("BlobAccessDenied", "ResourceContainerAccessDenied")

TABLE: Final = (
    Row(
        "The SAS of a resource file has expired or is not valid yet: make a new one when the task runs, not when the "
        "DAG is parsed, or use an identity.",
        _BLOBS,
        text=r"not valid in the specified time frame|expired|signature not valid",
        seen="a SAS out of its time",
    ),
    Row(
        "A resource file may not be read (403). Check its SAS: expired, or without read (and for containers list) "
        "permission. With an identity: it needs Storage Blob Data Reader, and the pool must have it.",
        _BLOBS,
    ),
    Row(
        "A resource file is not there (404). Check its URL and container, and that it was uploaded before the job ran.",
        ("BlobNotFound", "ResourceContainerNotFound"),
    ),
    Row(
        "The download of a resource file failed on the way: try again, and check that the node may reach the storage "
        "account (firewall, private endpoint).",
        (
            "BlobDownloadTimedOut",
            "BlobDownloadMiscError",
            "ResourceContainerListTimedOut",
            "ResourceContainerListMiscError",
        ),
    ),
    Row(
        "The node's disk is full: use a larger VM size, fewer slots per node, or shorter retention times "
        "(constraints.retention_time) of the tasks that run there.",
        ("DiskFull", "ResourceFileWriteFailed", "ResourceFileCreateFailed", "ResourceDirectoryCreateFailed"),
    ),
    Row(
        "No shell runs the command line, so variables, pipes and redirections in it were not expanded: write "
        "/bin/sh -c '…' (or cmd /c on Windows) around it.",
        ("CommandProgramNotFound", "CommandLaunchFailed"),
        text=r"command line:.*(?:\$|\||>|<|&&|;|`|%\w+%|\*)",
        seen="a shell's signs in a command line without a shell",
    ),
    Row(
        "The program was not found on the node. Give its full path, put it into resource_files (then it lies in the "
        "working directory: ./name), or install it by the pool's start task or image.",
        ("CommandProgramNotFound",),
    ),
    Row(
        "The program could not be launched: check that it may be executed (file_mode of the resource file, 0755), and "
        "that its first line names an interpreter that is on the node.",
        ("CommandLaunchFailed",),
    ),
    Row(
        "The container image could not be used: check its name, and that the pool's registry credentials or identity "
        "may pull it.",
        ("ContainerInvalidImage", "ContainerInvalidRegistry", "ContainerInvalidSettings", "ContainerMiscError"),
    ),
    Row(
        "An application package could not be deployed: check its id and version, and that the account's auto-storage "
        "still holds it.",
        ("ApplicationPackageError",),
    ),
    Row("A mount of the pool failed: check its configuration and credentials.", ("MountConfigurationError",)),
    Row(
        "The command was through; uploading its output_files was not. Create the container first (404).",
        ("FileUploadContainerNotFound",),
    ),
    Row(
        "The command was through; uploading its output_files was not: the container's SAS has expired. It must live "
        "until the task ends; an identity does.",
        ("FileUploadAccessDenied",),
        text="expired",
        seen="a SAS out of its time",
    ),
    Row(
        "The command was through; uploading its output_files was not (403). The container's SAS needs write "
        "permission and must live until the task ends; an identity needs Storage Blob Data Contributor.",
        ("FileUploadAccessDenied",),
    ),
    Row(
        "The command was through; uploading its output_files was not. fileuploaderr.txt in the task's directory says "
        "more.",
        ("FileUploadConflict", "FileUploadTimedOut", "FileUploadMiscError"),
    ),
    Row(
        "The account has no quota for the nodes that the auto pool wants: ask for fewer or smaller nodes, or for more "
        "quota.",
        ("AutoPoolCreationFailedWithQuotaReached",),
    ),
    Row(
        "The auto pool could not be made: check auto_pool (image, node agent, VM size, formula, packages).",
        (
            "InvalidAutoPoolSettings",
            "InvalidAutoScaleFormulaInAutoPool",
            "InvalidApplicationPackageReferencesInAutoPool",
            "InvalidCertificatesInAutoPool",
        ),
    ),
    Row(
        "The task's node was lost again and again until the service gave up: is a Spot pool too scarce, or does the "
        "task take its node down (memory)?",
        ("MaxInternalRetryCountReached",),
    ),
    Row(
        "The task can't be placed on the pool: compare required_slots, containers and affinity with what its nodes "
        "offer.",
        ("TaskSchedulingConstraintFailed",),
    ),
    Row(
        "The task ran longer than its constraints.max_wall_clock_time, and was ended.",
        ("TaskEnded",),
        # The service may say "ended by user request" of it too, and the time in the details only.
        text=r"wall ?clock|maximum execution time",
        seen="the wall clock named as the reason",
    ),
    Row(
        "The task was ended from outside; on Windows that is also how the end of its max_wall_clock_time looks.",
        exit_codes=(-1073741510, 3221225786),
    ),
    Row(
        "Somebody ended the task by a request: a person in the portal, or a program; it did not fail by itself.",
        ("TaskEnded",),
        text=r"user request",
        seen="a user's request named as the reason",
    ),
    Row(
        "The script has Windows line ends: its interpreter's name ends with a carriage return. Save it with LF.",
        text=r"\^M: bad interpreter|\$'\\r'|python3?\\r",
        seen="`^M: bad interpreter` or `\\r` after a program's name in the output",
    ),
    Row(
        "The interpreter in the script's first line is not on the node: install it by the pool's start task or image, "
        "or name one that is there.",
        text=r"bad interpreter",
        seen="`bad interpreter` in the output",
    ),
    Row(
        "No space is left on the node's disk: use a larger VM size, fewer slots per node, or shorter retention times.",
        text=r"no space left on device|not enough space on the disk",
        seen="`No space left on device` in the output",
    ),
    Row("The shell did not find the command: is it installed on the node and on PATH?", exit_codes=(127,)),
    Row("The shell may not execute the command: set the file's mode (file_mode 0755).", exit_codes=(126,)),
    Row(
        "The process was killed (SIGKILL): most often it ran out of memory, or over its wall clock.",
        exit_codes=(137, -9),
    ),
    Row("The process crashed (segmentation fault).", exit_codes=(139, -11)),
    Row("The process was told to end (SIGTERM).", exit_codes=(143, -15)),
)
"""The rows, the more special before the more general."""

_BY_STATUS: Final = {
    "timed_out": "The job's max_wall_clock_time counts from its creation, so waiting for a node is part of it.",
    "lost": "Somebody deleted the job, or an auto-delete policy did; its output is gone with it.",
}
_NEVER_SEEN: Final = "Is this its id, and this its account? A sensor with job_must_exist=False waits for it to appear."
_STATUS_SEEN: Final = {"timed_out": "`MaxWallClockTimeExpiry`", "lost": "it is gone (404 `JobNotFound`)"}


def hint_for(
    verdict: Verdict,
    output: Iterable[str] = (),
    command_line: str = "",
    *,
    sources: Iterable[str] = (),
    destinations: Iterable[str] = (),
) -> str:
    """What may help; empty when nothing is known.

    Args:
        verdict: how the job ended.
        output: last lines that the task wrote.
        command_line: the manager's command line, unless another task failed.
        sources: URLs that the failed task's files come from.
        destinations: URLs that they go to.
    """
    if verdict.never_seen:
        return _NEVER_SEEN
    failure = verdict.failure or {}
    code = str(failure.get("code") or "").lower()
    if verdict.status in _BY_STATUS and code not in ("deadlineexceeded", "starttimeout"):
        return _BY_STATUS[verdict.status]
    if verdict.status != "failed":
        return ""
    details = " ".join(value for _, value in named_values(failure.get("details")))
    known = f"{failure.get('message')} {details}"
    # The SAS of an input has often expired when a long task ends, and nothing is wrong with that.
    urls = destinations if code.startswith("fileupload") else sources
    if _expired((details, *urls), verdict.ended_at):
        known += "\nexpired"
    if command_line.strip() and not verdict.failed_task and not _has_shell(command_line):
        known += f"\ncommand line: {command_line}"
    exit_code = None if verdict.failed_task else verdict.exit_code
    printed = "\n".join(output)
    return next((row.hint for row in TABLE if row.fits(code, exit_code, known=known, output=printed)), "")


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
    return {code.lower(): row.hint for row in reversed(TABLE) for code in row.codes}


def catalogue() -> str:
    """The table as Markdown, for people who look up what they see.

    ``python -m airflow_provider_jobmanager.batch.hints`` prints it.
    """
    lines = ["| What is seen | What may help |", "|---|---|"]
    for row in TABLE:
        parts = [" or ".join(f"`{code}`" for code in row.codes)]
        parts.append("exit code " + " or ".join(map(str, row.exit_codes)) if row.exit_codes else "")
        parts.append(row.seen)
        lines.append(f"| {', '.join(filter(None, parts))} | {row.hint} |")
    lines += [f"| the job's end: {name} | {_BY_STATUS[status]} |" for status, name in _STATUS_SEEN.items()]
    lines.append(f"| the job is not there | {_NEVER_SEEN} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(catalogue())
