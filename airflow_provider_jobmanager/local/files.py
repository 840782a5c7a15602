"""Files of tasks and nodes: listed, read, deleted; never outside the directory that is asked about.

Properties are those that a Linux node gives in recorded traffic.
"""

from __future__ import annotations

import mimetypes
import os
import re
import shutil
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_provider_jobmanager.local import errors, formats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Node, Task

_CHUNK = 64 * 1024
_LATEST = datetime(9999, 12, 31, tzinfo=timezone.utc).timestamp()
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})", re.ASCII)


@frozen
class Entry:
    """A file or a directory.

    Attributes:
        name: path below the directory asked about, with ``/``.
        path: where it is; of a link, where that leads.
        status: what the file system says of it.
        link: where it is itself, when it is a link.
    """

    name: str
    path: Path
    status: os.stat_result
    link: Path | None = None

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.status.st_size

    @property
    def modified(self) -> datetime:
        """When it was last written, as far as the calendar goes: a task may set any time."""
        return datetime.fromtimestamp(min(max(self.status.st_mtime, 0), _LATEST), timezone.utc)

    @property
    def mode(self) -> str:
        """Its mode, as the service writes it: ``0o100644``."""
        return oct(self.status.st_mode)

    @property
    def content_type(self) -> str:
        """By its name."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    def properties(self) -> Doc:
        """As in a list."""
        return {
            "lastModified": formats.timestamp(self.modified, 6),
            "contentLength": str(self.size),
            "contentType": self.content_type,
            "fileMode": self.mode,
        }

    def range(self, header: str | None) -> tuple[int, int]:
        """First byte and the one after the last, of an ``ocp-range`` header.

        Raises:
            BatchError: 400 for a header that is none; 416 for a range that starts beyond the end.
        """
        if header is None:
            return 0, self.size
        found = _RANGE.fullmatch(header.strip())
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise errors.refuse("InvalidHeaderValue", values={"HeaderName": "ocp-range", "HeaderValue": header})
        first = int(found[1])
        if first >= self.size:
            raise errors.refuse("InvalidRange")
        return first, min(int(found[2]) + 1 if found[2] else self.size, self.size)

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """Its bytes from ``first`` up to ``last``.

        Raises:
            BatchError: it is a directory, a pipe, a socket or a device; or it can't be read.
        """
        _refuse_no_file(self.status)
        try:
            # A task may have put a pipe in the file's place meanwhile: opening one waits for a writer otherwise.
            file = os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except FileNotFoundError:
            raise errors.refuse("FileNotFound") from None
        except OSError as error:
            reason = f"The node can't read the file: {error.strerror}"
            raise errors.refuse("IOError", values={"Reason": reason}) from None
        try:
            _refuse_no_file(os.fstat(file.fileno()))
        except errors.BatchError:
            file.close()
            raise

        def pieces() -> Iterator[bytes]:
            with file:
                file.seek(first)
                left = last - first
                while left > 0 and (piece := file.read(min(_CHUNK, left))):
                    left -= len(piece)
                    yield piece

        return pieces()


def task_root(engine: Engine, task: Task) -> Path:
    """Directory of a task whose files can be asked for.

    Raises:
        BatchError: 409 while the task is active, or when its files are gone.
    """
    if task.cleaned:
        raise errors.refuse("TaskFilesCleanedup")
    directory = engine.launches.task_directory(task)
    if task.state in ("active", "preparing"):
        raise errors.refuse(
            "OperationInvalidForCurrentState",
            values={
                "Reason": f"The files of the specified task cannot be accessed as the task state is still {task.state}"
            },
        )
    if directory is None:
        raise errors.refuse("TaskFilesUnavailable")
    node = engine.nodes.find(task.pool or "", task.node or "")
    if node is not None:
        node_root(engine, node)
    if task.state == "completed" and not directory.is_dir():
        raise errors.refuse("TaskFilesUnavailable")
    return directory


def node_root(engine: Engine, node: Node) -> Path:
    """Directory of a node whose files can be asked for.

    Raises:
        BatchError: 409 while the node is away.
    """
    if node.state not in ("idle", "running", "offline", "waitingforstarttask", "starttaskfailed"):
        raise errors.refuse("NodeNotReady")
    return engine.launches.node_root(node)


def find(root: Path, name: str) -> Entry:
    """A file by its name below a directory.

    Raises:
        BatchError: 404 ``FileNotFound``, also for a name that leads out of the directory.
    """
    name = name.replace("\\", "/").strip("/")
    try:
        path = (root / name).resolve()
        status = path.stat()
    except (OSError, ValueError, RuntimeError):  # before Python 3.13, links in a circle are a RuntimeError
        raise errors.refuse("FileNotFound") from None
    home = root.resolve()
    place = (root / name).parent.resolve() / Path(name).name
    if path != home and not (_is_within(home, path) and _is_within(home, place)):
        raise errors.refuse("FileNotFound")
    return Entry(name, path, status, place if place.is_symlink() else None)


def walk(root: Path, *, recursive: bool) -> Iterator[Entry]:
    """Files and directories below a directory. A link is shown as what it leads to, unless that is not below it too."""
    home = root.resolve()
    directories = [root]
    while directories:
        directory = directories.pop()
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:  # gone meanwhile, or not for the user that the service runs as
            continue
        for entry in entries:
            path = Path(entry.path)
            try:
                if entry.is_symlink() and not _is_within(home, path.resolve()):
                    continue
                status = entry.stat()
            except (OSError, RuntimeError):  # gone meanwhile, or a link to nowhere or in a circle
                continue
            yield Entry(path.relative_to(root).as_posix(), path, status)
            if recursive and entry.is_dir(follow_symlinks=False):
                directories.append(path)


def delete(entry: Entry, *, recursive: bool) -> None:
    """Delete a file, or a directory with all that is in it; of a link the link alone.

    Raises:
        BatchError: 409 for a directory that is not empty, without ``recursive``; it can't be deleted.
    """
    if entry.link is not None or not entry.is_directory:
        try:
            (entry.link or entry.path).unlink(missing_ok=True)
        except OSError as error:
            reason = f"The node can't delete the file: {error.strerror}"
            raise errors.refuse("IOError", values={"Reason": reason}) from None
    elif recursive:
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        try:
            entry.path.rmdir()
        except OSError:
            raise errors.refuse(
                "OperationInvalidForCurrentState", values={"Reason": "The directory is not empty"}
            ) from None


def _refuse_no_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "A directory" if stat.S_ISDIR(status.st_mode) else "What is neither a file nor a directory"
        raise errors.refuse("OperationInvalidForCurrentState", values={"Reason": f"{what} has no content"})


def _is_within(home: Path, path: Path) -> bool:
    return path == home or home in path.parents
