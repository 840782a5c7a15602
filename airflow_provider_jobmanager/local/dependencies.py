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
        self._numbers: defaultdict[str, set[int]] = defaultdict(set)
        self._waiting: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._by_id: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._by_range: defaultdict[str, set[str]] = defaultdict(set)

    def learn(self, task: Task) -> None:
        """Take a task into account, new or found on disk."""
        if task.dependency:
            self._add_number(task)
        depends = task.doc.get("dependsOn")
        if depends is None or task.state != "active":
            return
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
            number in numbers
            for each in depends.get("taskIdRanges", ())
            for number in range(each["start"], each["end"] + 1)
        )

    def settle(self, task: Task) -> list[Task]:
        """Take the completion of a task into account.

        Returns:
            tasks that may run now.
        """
        waiting = self._waiting[task.job]
        waiting.pop(task.key, None)
        if not task.dependency:
            return []
        self._add_number(task)
        candidates = self._by_id[task.job].get(task.key, set()) | self._by_range[task.job]
        freed = [waiting[key] for key in candidates if key in waiting and self.satisfied(waiting[key])]
        for each in freed:
            del waiting[each.key]
        return sorted(freed, key=lambda each: each.seq)

    def reset(self, task: Task) -> None:
        """Forget what the completion of a task allowed: it runs again."""
        if task.key.isdecimal():
            self._numbers[task.job].discard(int(task.key))
        self.learn(task)

    def forget(self, task: Task) -> None:
        """Forget a task that is deleted."""
        self._waiting[task.job].pop(task.key, None)

    def forget_job(self, job: str) -> None:
        """Forget a job."""
        self._numbers.pop(job, None)
        self._waiting.pop(job, None)
        self._by_id.pop(job, None)
        self._by_range.pop(job, None)

    def _add_number(self, task: Task) -> None:
        if task.key.isdecimal():
            self._numbers[task.job].add(int(task.key))
