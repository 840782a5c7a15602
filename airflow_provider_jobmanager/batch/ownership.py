"""Whose job it is: ids that are a function of the task instance, and the mark that every job of ours carries.

The client chooses the id of a job, so an id that depends on nothing but the task instance makes submission idempotent:
a second create meets ``JobExists`` and finds its own mark.

All automatic retries between two Clears are one *round*. The jobs of a round are numbered: the first is ``…-1``, and a
new number is used only when the job before it ended badly. So two tries of a round that both think they have to
create a job ask for the same id, and the service lets one of them win; that holds even for a try that Airflow has
given up and that is still alive somewhere. A Clear begins a new round, and with it new ids.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "airflow_provider_jobmanager"
MARK_VERSION = "1"
_READABLE = 44
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@frozen
class Owner:
    """The try of a task instance that a job belongs to.

    Attributes:
        dag_id: DAG.
        task_id: task.
        run_id: DAG run.
        map_index: index of a mapped task instance, -1 when not mapped.
        try_number: which try.
        ti_id: Airflow's own id of this try, a new one for each. Tells apart runs that were deleted and made again
            under the same names.
        max_tries: the task instance's limit of tries. Airflow raises it with a Clear and never else, which is how a try
            knows that it is no automatic retry.
        run_start: when the DAG run started. A run that was deleted and made again under the same name has another,
            and so has a run that was over and was cleared.
        first_try: the first try of the round. With a Clear Airflow sets ``max_tries`` to the tries so far and the
            task's ``retries`` as they are then, which may come to the same as before when those were lowered
            meanwhile. It is no part of the mark.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    try_number: int = 1
    ti_id: str = ""
    max_tries: int = 0
    run_start: str = ""
    first_try: int = 1

    def metadata(self) -> list[dict[str, str]]:
        """The ownership mark as job metadata (a list of name and value, which the service does not interpret)."""
        mark = [{"name": MARK, "value": MARK_VERSION}]
        return mark + [{"name": f"airflow_{name}", "value": str(value)} for name, value in self._marked().items()]

    def take_over(self, job: Mapping[str, Any]) -> list[dict[str, str]]:
        """The metadata of an earlier try's job with this mark in place of the one that it has."""
        mark = self.metadata()
        names = {item["name"] for item in mark}
        return [*(item for item in job.get("metadata") or () if item.get("name") not in names), *mark]

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> Owner | None:
        """The owner that a job's metadata names; None when it carries no mark of ours, or a broken one."""
        found = {str(item.get("name")): str(item.get("value", "")) for item in job.get("metadata") or ()}
        if MARK not in found:
            return None
        try:
            return cls(
                dag_id=found["airflow_dag_id"],
                task_id=found["airflow_task_id"],
                run_id=found["airflow_run_id"],
                map_index=int(found["airflow_map_index"]),
                try_number=int(found["airflow_try_number"]),
                ti_id=found["airflow_ti_id"],
                max_tries=int(found["airflow_max_tries"]),
                run_start=found["airflow_run_start"],
            )
        except (KeyError, ValueError):
            return None

    def same_task(self, other: Owner) -> bool:
        """Whether both are tries of one task instance."""
        return self._instance() == other._instance()

    def same_run(self, other: Owner) -> bool:
        """Whether both are tries of one task instance in one run, and not of another Airflow's that has the names."""
        return self.same_task(other) and self.run_start == other.run_start

    def in_round(self, other: Owner) -> bool:
        """Whether another is an earlier or later try of one task instance with no Clear between: an automatic retry."""
        return self._round() == other._round() and other.try_number >= self.first_try

    def same_try(self, other: Owner) -> bool:
        """Whether both are one try of one task instance."""
        return self.same_task(other) and (self.try_number, self.ti_id) == (other.try_number, other.ti_id)

    def differences(self, other: Owner | None) -> list[tuple[str, str | None, str | None]]:
        """``(field, expected, found)`` for each part in which the other differs."""
        if other is None:
            return [("ownership mark in the job's metadata", MARK, None)]
        theirs = other._marked()  # noqa: SLF001 - the same class
        return [
            (name, str(value), str(theirs[name]))
            for name, value in self._marked().items()
            if name != "max_tries" and value != theirs[name]
        ]

    def job_id_stem(self) -> str:
        """What all derived ids of this task begin with, whatever the run and the round; other tasks' may, too."""
        names = "-".join(filter(None, (_safe(self.dag_id), _safe(self.task_id))))
        if self.map_index >= 0:
            names = f"{names[: _READABLE - 9].strip('-')}-m{self.map_index}"
        return f"{names[:_READABLE].strip('-') or 'job'}-"

    def job_id_prefix(self) -> str:
        """What the ids of all jobs of this round begin with: readable, then ten hexadecimal digits."""
        digest = hashlib.sha256("\0".join(map(str, self._round())).encode()).hexdigest()
        return f"{self.job_id_stem()}{digest[:10]}-"

    def job_id(self, number: int = 1) -> str:
        """The derived id of a job of this round: at most 64 characters of ``[A-Za-z0-9_-]``, the same whenever asked.

        Args:
            number: 1 for the round's first job, one more for each that ended badly.
        """
        return f"{self.job_id_prefix()}{number}"

    def number_of(self, job_id: str) -> int | None:
        """The number in a derived id of this round; None for any other id. Ids of Batch ignore case."""
        prefix = self.job_id_prefix().lower()
        tail = job_id.lower()[len(prefix) :]
        return int(tail) if job_id.lower().startswith(prefix) and tail.isascii() and tail.isdecimal() else None

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} run {self.run_id} try {self.try_number}"

    def _marked(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "first_try"}

    def _instance(self) -> tuple[str, str, str, int]:
        return (self.dag_id, self.task_id, self.run_id, self.map_index)

    def _round(self) -> tuple[str, str, str, int, str, int]:
        return (*self._instance(), self.run_start, self.max_tries)


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name).strip("-")
