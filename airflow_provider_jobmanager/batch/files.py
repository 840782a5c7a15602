"""Files of a task, read in bounded pieces.

A task's files lie on its node, and go with it. Reading them is a service to the reader of a log: whatever goes wrong
is said in words (:func:`unreadable`) and never changes how a job is judged. What has to last belongs into output files.

The directory list is asked first: it tells the size of each file, and, other than a HEAD, it tells the reason when the
files can't be had. Ranges go out as ``ocp-range`` and are answered with 200
(https://learn.microsoft.com/rest/api/batchservice/get-file-from-task; recorded traffic of the service).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from attrs import frozen

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.printable import Mask, last_lines, line, masked, one_line
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.calls import Flow

STDOUT: Final = "stdout.txt"
STDERR: Final = "stderr.txt"

NO_FILE: Final = "there is no such file"
"""The problem of a file that is not there."""

_REASONS: Final = {
    "TaskFilesUnavailable": "its files are no longer there: the node is gone, or the retention time is over",
    "TaskFilesCleanedup": "its files were cleaned up: the retention time is over",
    "NodeNotFound": "the node that it ran on is gone",
    "NodeNotReady": "the node that it ran on can't be read from at the moment",
    "NodeStateUnusable": "the node that it ran on is unusable",
    "NodeBeingRebooted": "the node that it ran on is being rebooted",
    "NodeBeingReimaged": "the node that it ran on is being reimaged",
    "OperationInvalidForCurrentState": "it has not started on a node",
    "FileNotFound": NO_FILE,
    "PathNotFound": NO_FILE,
    "TaskNotFound": "there is no such task any more",
    "JobNotFound": "there is no such job any more",
}


@frozen
class Tail:
    """The end of a text file.

    Attributes:
        name: the file.
        size: bytes of the whole file, None when unknown.
        lines: its last lines, printable and without secrets.
        problem: why there are none, in words; empty when the file was read.
    """

    name: str
    size: int | None = None
    lines: tuple[str, ...] = ()
    problem: str = ""


def unreadable(error: ServiceError) -> str:
    """Why a file could not be read, in words."""
    code = getattr(error, "code", "") or ""
    # Without the request's id the same trouble reads the same each time, and is told once.
    said = error.without_id() if isinstance(error, ServiceRefused) else error
    return _REASONS.get(code) or line(one_line(str(said)), longest=300)


@frozen
class Listed:
    """A file as its directory shows it.

    Attributes:
        size: bytes.
        modified: when it was written last, as the service tells it.
    """

    size: int = 0
    modified: str = ""


def listed(job_id: str, task_id: str, *, patience: Patience | None = None) -> Flow[dict[str, Listed]]:
    """The files that a task's process writes its output to, by name.

    Raises:
        ServiceError: the files can't be listed.
    """
    listing = calls.rows("jobs", job_id, "tasks", task_id, "files", filter="startswith(name,'std')")
    answer = yield from patiently(listing, patience or Patience())
    found = {str(item["name"]): item.get("properties") or {} for item in answer.data if not item.get("isDirectory")}
    return {
        name: Listed(int(properties.get("contentLength") or 0), str(properties.get("lastModified") or ""))
        for name, properties in found.items()
    }


def piece(
    job_id: str, task_id: str, name: str, *, first: int, count: int, patience: Patience | None = None
) -> Flow[bytes]:
    """At most ``count`` bytes of a file from byte ``first`` on; none when the file ends before.

    Raises:
        ServiceError: the file can't be read.
    """
    request = calls.file("jobs", job_id, "tasks", task_id, "files", name, first=first, last=first + count - 1)
    try:
        answer = yield from patiently(request, patience or Patience())
    except ServiceRefused as refusal:
        if refusal.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b""
        raise
    return bytes(answer.data or b"")[:count]


def tails(
    job_id: str,
    task_id: str,
    *,
    lines: int = 50,
    size: int = 16 * 1024,
    mask: Mask = masked,
    patience: Patience | None = None,
) -> Flow[list[Tail]]:
    """The ends of a task's stderr and stdout, in this order. What can't be read says so; nothing is raised.

    Args:
        job_id: the job.
        task_id: the task.
        lines: lines of each file at most.
        size: bytes of each file at most.
        mask: takes secrets out.
        patience: how long to put up with a service that gives no usable answer.
    """
    patience = patience or Patience()
    try:
        found = yield from listed(job_id, task_id, patience=patience)
    except ServiceError as error:
        return [Tail(STDERR, problem=unreadable(error)), Tail(STDOUT, problem=unreadable(error))]
    result = []
    for name in (STDERR, STDOUT):
        if name not in found:
            result.append(Tail(name, problem=NO_FILE))
            continue
        whole = found[name].size
        first = max(0, whole - size)
        try:
            data = (
                (yield from piece(job_id, task_id, name, first=first, count=size, patience=patience)) if whole else b""
            )
        except ServiceError as error:
            result.append(Tail(name, whole, problem=unreadable(error)))
            continue
        result.append(Tail(name, whole, tuple(last_lines(data, lines=lines, whole=first == 0, mask=mask))))
    return result
