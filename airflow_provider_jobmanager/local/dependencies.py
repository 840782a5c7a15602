"""Which tasks wait for which, by id and by ranges of numbers.

Task ids in a range are compared as whole numbers, so ``4``, ``04`` and ``004`` are one member of it, and the first of
them to finish satisfies; every number of a range must be there and satisfied. A task that waits for one that is
blocked, or that does not exist, stays active (learn.microsoft.com/azure/batch/batch-task-dependencies).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.records import Task
    from airflow_provider_jobmanager.local.store import Store


class Dependencies:
    """What completed tasks allow, per job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._numbers: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._waiting: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._by_id: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._by_range: defaultdict[str, set[str]] = defaultdict(set)

    def learn(self, task: Task) -> None:
        """Take a task that was found on disk into account."""
        if task.dependency:
            self._add_number(task)

    def wait(self, task: Task) -> None:
        """Give a task back by :meth:`settle` once nothing holds it back any more."""
        depends = task.doc.get("dependsOn", {})
        self._waiting[task.job][task.key] = task
        for name in depends.get("taskIds", ()):
            self._by_id[task.job][name.lower()].add(task.key)
        if depends.get("taskIdRanges"):
            self._by_range[task.job].add(task.key)

    def satisfied(self, task: Task) -> bool:
        """Whether nothing that a task depends on holds it back."""
        depends = task.doc.get("dependsOn")
        if depends is None:
            return True
        tasks = self._store.tasks(task.job)
        for name in depends.get("taskIds", ()):
            other = tasks.get(name)
            if other is None or not other.dependency:
                return False
        numbers = self._numbers[task.job]
        return all(
            numbers.get(number)
            for each in depends.get("taskIdRanges", ())
            for number in range(each["start"], each["end"] + 1)
        )

    def settle(self, task: Task) -> list[Task]:
        """Take the completion of a task into account.

        Returns:
            tasks that may run now; each is given once.
        """
        self.forget(task)
        if not task.dependency:
            return []
        self._add_number(task)
        waiting = self._waiting[task.job]
        candidates = self._by_id[task.job].get(task.key, set()) | self._by_range[task.job]
        freed = [waiting[key] for key in candidates if self.satisfied(waiting[key])]
        for each in freed:
            self.forget(each)
        return sorted(freed, key=lambda each: each.seq)

    def reset(self, task: Task) -> None:
        """Forget what the completion of a task allowed: it runs again, or it is deleted."""
        if task.key.isdecimal():
            self._numbers[task.job][int(task.key)].discard(task.key)

    def forget(self, task: Task) -> None:
        """A task waits for no other any longer."""
        if self._waiting[task.job].pop(task.key, None) is None:
            return
        for name in task.doc["dependsOn"].get("taskIds", ()):
            self._by_id[task.job][name.lower()].discard(task.key)
        self._by_range[task.job].discard(task.key)

    def forget_job(self, job: str) -> None:
        """Forget a job."""
        self._numbers.pop(job, None)
        self._waiting.pop(job, None)
        self._by_id.pop(job, None)
        self._by_range.pop(job, None)

    def _add_number(self, task: Task) -> None:
        if task.key.isdecimal():
            self._numbers[task.job][int(task.key)].add(task.key)
