"""The memory of the service: every record at hand, and written down before anyone is told.

Records live in memory in the order of their ids, as lists are answered; a change is written through to SQLite in one
transaction per request, with a write-ahead log. When :meth:`Store.commit` returns, the change outlives the process,
however it ends; it is not waited for the disk itself (``synchronous=NORMAL``), which would double what a request takes
and only matters when the machine loses its power. The file is whole even then. It is its owner's alone: what it keeps
of jobs, such as the variables of their tasks, may be secret.
"""

from __future__ import annotations

import os
import sqlite3
from bisect import bisect_left, bisect_right, insort
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_jobmanager.local.records import KINDS, Job, Node, Pool, Record, Schedule, Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

R = TypeVar("R", bound=Record)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL, parent TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (kind, parent, key)
) WITHOUT ROWID
"""


class Shelf(Generic[R]):
    """Records of one kind, found by key and walked through in the order of keys."""

    def __init__(self) -> None:
        self._records: dict[str, R] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[R]:
        return iter([self._records[key] for key in self._keys])

    def get(self, name: str) -> R | None:
        """The record of an id, in any case."""
        return self._records.get(name.lower())

    def after(self, key: str | None) -> Iterator[R]:
        """Records whose key comes after ``key``; all of them for None."""
        start = 0 if key is None else bisect_right(self._keys, key)
        for index in range(start, len(self._keys)):
            yield self._records[self._keys[index]]

    def put(self, record: R) -> None:
        """Add a record, or one in its place."""
        if record.key not in self._records:
            insort(self._keys, record.key)
        self._records[record.key] = record

    def drop(self, key: str) -> None:
        """Forget a record."""
        del self._records[key]
        del self._keys[bisect_left(self._keys, key)]


class Store:
    """All records of the account.

    Args:
        path: the database file; None keeps everything in memory only.

    Attributes:
        is_new: whether nothing was ever written to it, or not since it was cleared.
    """

    def __init__(self, path: Path | None) -> None:
        self.jobs: Shelf[Job] = Shelf()
        self.pools: Shelf[Pool] = Shelf()
        self.schedules: Shelf[Schedule] = Shelf()
        self._tasks: dict[str, Shelf[Task]] = {}
        self._nodes: dict[str, Shelf[Node]] = {}
        self._seq = 0
        self._changed: dict[tuple[str, str, str], Record | None] = {}
        self._disk = _open(path) if path else None
        self.is_new = True
        if self._disk is not None:
            try:
                self._read(self._disk)
                self.is_new = self._seq == 0 and self._disk.execute("PRAGMA user_version").fetchone() == (0,)
            except BaseException:
                self._disk.close()
                raise

    def next_seq(self) -> int:
        """The next number in the order of creation."""
        self._seq += 1
        return self._seq

    def tasks(self, job: str) -> Shelf[Task]:
        """The tasks of a job's key."""
        return self._tasks.setdefault(job, Shelf())

    def nodes(self, pool: str) -> Shelf[Node]:
        """The nodes of a pool's key."""
        return self._nodes.setdefault(pool, Shelf())

    def save(self, record: Record) -> None:
        """Keep a new or changed record with the next :meth:`commit`."""
        self._shelf(record).put(record)
        self._changed[record.kind, record.parent, record.key] = record

    def remove(self, record: Record) -> None:
        """Forget a record with the next :meth:`commit`; a job takes its tasks along, a pool its nodes."""
        self._shelf(record).drop(record.key)
        self._changed[record.kind, record.parent, record.key] = None
        below: dict[str, dict[str, Shelf[Task]] | dict[str, Shelf[Node]]] = {"job": self._tasks, "pool": self._nodes}
        for child in list(below.get(record.kind, {}).pop(record.key, ())):
            self._changed[child.kind, child.parent, child.key] = None

    def copy(self) -> Store:
        """A store in memory with all as it is now, which no later change reaches."""
        past = Store(None)
        shelves: list[Shelf[Any]] = [self.jobs, self.pools, self.schedules]
        for shelf in (*shelves, *self._tasks.values(), *self._nodes.values()):
            for record in shelf:
                same = KINDS[record.kind].load(record.dump())
                past._shelf(same).put(same)
        return past

    def commit(self) -> None:
        """Write what changed since the last time; it outlives the process when this returns."""
        if not self._changed:
            return
        if self._disk is not None:
            gone = [name for name, record in self._changed.items() if record is None]
            kept = [(*name, record.dump()) for name, record in self._changed.items() if record is not None]
            self._disk.execute("BEGIN")
            try:
                self._disk.executemany("DELETE FROM record WHERE kind = ? AND parent = ? AND key = ?", gone)
                self._disk.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?)", kept)
                if self.is_new:
                    self._disk.execute("PRAGMA user_version = 1")
                self._disk.execute("COMMIT")
            except sqlite3.Error:
                # A full disk, say. The changes stay due, and the next commit tries again.
                self._disk.rollback()
                raise
        self._changed.clear()
        self.is_new = False

    def clear(self) -> None:
        """Forget everything with the next :meth:`commit`."""
        for shelf in (self.jobs, self.pools, self.schedules):
            for record in shelf:
                self.remove(record)
        self.is_new = True

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self.commit()
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    def _shelf(self, record: Record) -> Shelf[Record]:
        shelves: dict[str, Shelf[Record]] = {
            "job": self.jobs,  # type: ignore[dict-item]  # a shelf takes the records of its own kind only
            "pool": self.pools,  # type: ignore[dict-item]
            "schedule": self.schedules,  # type: ignore[dict-item]
        }
        if isinstance(record, Task):
            return self.tasks(record.job)  # type: ignore[return-value]
        if isinstance(record, Node):
            return self.nodes(record.pool)  # type: ignore[return-value]
        return shelves[record.kind]

    def _read(self, disk: sqlite3.Connection) -> None:
        for kind, content in disk.execute("SELECT kind, content FROM record"):
            record = KINDS[kind].load(content)
            self._shelf(record).put(record)
            self._seq = max(self._seq, record.seq)


def _open(path: Path) -> sqlite3.Connection:
    # SQLite itself goes by the umask, and gives the files beside this one its mode. One that is there is not opened
    # here: closing it would let go of the locks that SQLite holds on it in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    # The engine's lock guards it: requests and the threads that wait for processes write in turn.
    disk = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        disk.execute("PRAGMA journal_mode = WAL")
        disk.execute("PRAGMA synchronous = NORMAL")
        disk.execute(_SCHEMA)
    except sqlite3.Error:
        disk.close()
        raise
    return disk
