"""A job manager that runs again goes before everything else in its pool.

The REST reference (Job Manager Task) says that a restarted manager has the highest priority, and that the service may
end a running task of the pool to make room for it; that task runs again later, and no counter tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine_scheduling import Scheduling
    from airflow_provider_jobmanager.local.records import Job, Node, Task


class Displacement:
    """Nodes that are being emptied for a manager.

    Args:
        scheduling: whose nodes and queues they are.
    """

    def __init__(self, scheduling: Scheduling) -> None:
        self.scheduling = scheduling
        self.store = scheduling.store
        self._waiting: set[str] = set()  # jobs whose manager waits to run again
        self._reserved: dict[str, Task] = {}  # node -> the manager that it is being emptied for

    def wait(self, job: Job) -> None:
        """The manager of a job waits to run again."""
        self._waiting.add(job.key)

    def over(self, job: str) -> None:
        """It waits no longer."""
        self._waiting.discard(job)

    def waiting(self, pool: str) -> list[tuple[Job, Task]]:
        """Managers that wait for a node of a pool to run again, with their jobs."""
        found = []
        for key in sorted(self._waiting):
            job = self.store.jobs.get(key)
            if job is None or not self.scheduling.stands_in(job, pool) or self.scheduling.is_full(job):
                continue
            task = self.store.tasks(key).get(job.doc["jobManagerTask"]["id"])
            if task is not None and self.scheduling.is_ready(task):
                found.append((job, task))
        return found

    def is_reserved(self, node: Node) -> bool:
        """Whether nobody else may start there."""
        return node.id in self._reserved

    def fill(self, node: Node) -> None:
        """Start the manager that a node was emptied for, or give the node back to all."""
        task = self._reserved.get(node.id)
        if task is None:
            return
        job = self.store.jobs.get(task.job)
        if job is None or job.state != "active" or not self.scheduling.is_ready(task):
            del self._reserved[node.id]
            return
        slots, exclusive, _, _ = self.scheduling.wants(job, task)
        empty_enough = not (exclusive and self.scheduling.on_node(node.id))
        if empty_enough and self.scheduling.free_slots(node) >= slots and not self.scheduling.is_full(job):
            del self._reserved[node.id]
            self.scheduling.start(job, task, node)

    def make_room(self, pool: str, nodes: list[Node]) -> None:
        """Empty a node for each manager of a pool that waits to run again and found no room."""
        for job, task in self.waiting(pool):
            self._make_room_for(job, task, nodes)

    def _make_room_for(self, job: Job, task: Task, nodes: list[Node]) -> None:
        held = [name for name, waiting in self._reserved.items() if waiting is task]
        if any(node.id in held for node in nodes):
            return
        for name in held:  # that node went away meanwhile
            del self._reserved[name]
        slots, exclusive, spot, _ = self.scheduling.wants(job, task)
        best: tuple[int, Node, list[Task]] | None = None
        for node in nodes:
            victims = self._victims(node, slots, exclusive=exclusive)
            eligible = (spot or node.dedicated) and job.key not in node.ineligible and node.id not in self._reserved
            if victims and eligible and (best is None or len(victims) < best[0]):
                best = len(victims), node, victims
        if best is not None:
            _, node, victims = best
            self._reserved[node.id] = task
            for victim in victims:
                self.scheduling.end(victim, "requeue")

    def _victims(self, node: Node, slots: int, *, exclusive: bool) -> list[Task]:
        """The newest tasks of a node without which there is room; empty when there would be none."""
        tasks = self.scheduling.on_node(node.id)
        if any(task.is_manager for task in tasks):
            return []
        if exclusive:
            return tasks if self.scheduling.slots_of(node) >= slots else []
        free, victims = self.scheduling.free_slots(node), []
        while tasks and free < slots:
            victims.append(tasks.pop())
            free += victims[-1].slots
        return victims if free >= slots else []
