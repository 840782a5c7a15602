"""What the service remembers of each resource.

A record's ``doc`` is the resource in wire form, without what depends on who asks (``url``, ``odata.metadata``), so
that filters and ``$select`` work on it as it is. Beside it stands what the service needs for itself. Both survive a
restart; what can be worked out again (queues, slots in use) is not part of a record.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from attrs import define, field, fields

Doc = dict[str, Any]


@define(eq=False)
class Record:
    """One resource.

    Attributes:
        key: its id in lower case: ids are compared without regard to case.
        doc: the resource in wire form.
        seq: order of creation over all resources.
    """

    kind: ClassVar[str]
    key: str
    doc: Doc
    seq: int

    @property
    def id(self) -> str:
        """The id as it was written by its maker."""
        return str(self.doc["id"])

    @property
    def state(self) -> str:
        """The state on the wire."""
        return str(self.doc["state"])

    @property
    def parent(self) -> str:
        """Key of the resource it belongs to; empty for those of the account."""
        return ""

    def dump(self) -> str:
        """The record as JSON text."""
        return json.dumps({a.name: getattr(self, a.name) for a in fields(type(self)) if not a.name.startswith("_")})

    @classmethod
    def load(cls, text: str) -> Any:
        """The record of a JSON text."""
        return cls(**json.loads(text))


@define(eq=False)
class Job(Record):
    """A job.

    Attributes:
        prepared: per node id, the job preparation and release executions there.
        auto_pool: whether its pool was made for it and goes with it.
        schedule: key of the schedule that made it.
        force: whether its end waits for no node.
        directory: its directory below ``workitems``: the job and ``job-1``, or the schedule and ``job-N``.
    """

    kind: ClassVar[str] = "job"
    prepared: dict[str, dict[str, Any]] = field(factory=dict)
    auto_pool: bool = False
    schedule: str | None = None
    force: bool = False
    directory: list[str] = field(factory=list)

    @property
    def identity(self) -> str:
        """What no other job has, not even one that was made under the same id after it, or in another account."""
        return f"{self.doc['creationTime']} {self.seq}"


@define(eq=False)
class Task(Record):
    """A task, the job manager too.

    Attributes:
        job: key of its job.
        is_manager: whether it is the job manager task.
        node: id of the node it runs on, or ran on last.
        pool: id of the pool of that node.
        attempt: number of its runs so far; tells a late exit from a present one.
        ending: why its process is being ended, None while nobody asked for that.
        process: pid and start time of the leader of its process group, to find it again after a restart.
        cleaned: whether its directory is gone because its retention time is over.
        dependency: whether tasks that depend on it may run: None while undecided, else satisfied or blocked.
        restarted: whether it ran before; a restarted manager goes before everything else.
        ran: seconds that its runs took which are over.
    """

    kind: ClassVar[str] = "task"
    job: str
    is_manager: bool = False
    node: str | None = None
    pool: str | None = None
    attempt: int = 0
    ending: str | None = None
    process: list[Any] | None = None
    cleaned: bool = False
    dependency: bool | None = None
    restarted: bool = False
    ran: float = 0.0

    @property
    def parent(self) -> str:
        """Key of its job."""
        return self.job

    @property
    def execution(self) -> Doc:
        """Its ``executionInfo``."""
        info: Doc = self.doc["executionInfo"]
        return info

    @property
    def slots(self) -> int:
        """Slots that it takes on a node."""
        return int(self.doc["requiredSlots"])


@define(eq=False)
class Pool(Record):
    """A pool.

    Attributes:
        made: nodes made so far, for their ids.
        core_seconds: seconds that the dedicated nodes which are gone were part of it.
    """

    kind: ClassVar[str] = "pool"
    made: int = 0
    core_seconds: float = 0.0


@define(eq=False)
class Node(Record):
    """A compute node: a directory and some slots on this machine.

    Attributes:
        pool: key of its pool.
        start_attempt: number of the newest run of the pool's start task there.
        ineligible: keys of jobs whose preparation failed here.
        run: tasks that ran here so far.
        succeeded: those of them that succeeded.
    """

    kind: ClassVar[str] = "node"
    pool: str
    start_attempt: int = 0
    ineligible: list[str] = field(factory=list)
    run: int = 0
    succeeded: int = 0

    @property
    def parent(self) -> str:
        """Key of its pool."""
        return self.pool

    @property
    def dedicated(self) -> bool:
        """Whether it is a dedicated node, not a Spot one."""
        return bool(self.doc["isDedicated"])


@define(eq=False)
class Schedule(Record):
    """A job schedule.

    Attributes:
        since: when it was created or last enabled, as on the wire.
        last: the run whose job was made last, as on the wire.
        count: jobs made so far.
        recent: id of the newest job.
        pool: id of the auto pool that lives as long as the schedule.
    """

    kind: ClassVar[str] = "schedule"
    since: str
    last: str | None = None
    count: int = 0
    recent: str | None = None
    pool: str | None = None


KINDS: dict[str, type[Record]] = {cls.kind: cls for cls in (Job, Task, Pool, Node, Schedule)}
