"""What a trigger tells in its task's log while the job is waited for: states, progress, and what :mod:`.telling` finds.

Every request goes through :meth:`~.poll.Wait.spare`, so all waits of an account together cost no more than one
request a second, whatever their number; and none of them ever ends a wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.telling import Telling
from airflow_provider_jobmanager.errands import Errand
from airflow_provider_jobmanager.errors import ServiceError
from airflow_provider_jobmanager.telling import Sparing, pause_after, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from airflow_provider_jobmanager.sight import Changed
    from airflow_provider_jobmanager.waiting import Wait

COUNT_SECONDS = 60.0
"""How long after the wait began, and after each count of the job's tasks, they are counted: no sooner, later when many
wait."""


@define(eq=False)
class Meanwhile(Errand):
    """Tells how far a job is, and what :class:`~.batch.telling.Telling` finds.

    One errand for both: there is one for each of thousands of waits.

    Attributes:
        manager_id: the job manager task; learned from the job when empty.
        output: whether the manager's stdout and stderr are told.
    """

    manager_id: str = field(default="", kw_only=True)
    output: bool = field(default=False, kw_only=True)
    _telling: Telling | None = field(default=None, kw_only=True)
    _looks: int = field(default=0, init=False)
    _look_at: float = field(default=float("-inf"), init=False)
    _count_at: float = field(factory=lambda: time.monotonic() + COUNT_SECONDS, init=False)
    _counts: str = field(default="", init=False)

    def anew(self, wait: Wait) -> Self:
        """The same beside another wait for the job: it goes on where this one ended."""
        told = self._telling
        return type(self)(wait, self.log, manager_id=self.manager_id, output=self.output, telling=told)

    @property
    def telling(self) -> Telling:
        """What was told of the manager, and what is to be told; made when there is something to tell."""
        if self._telling is None:
            self._telling = Telling(self.wait.job_id, self.manager_id, output=self.output)
        return self._telling

    @property
    def told(self) -> dict[str, Any]:
        """What another process needs to go on with the telling; empty when nothing was told."""
        return {} if self._telling is None else self._telling.as_dict()

    async def round(self) -> float:
        """Tell what there is to tell by now."""
        if time.monotonic() >= self._look_at:
            write(self.log, await Sparing.of(self.wait).perform(self.telling.step()))
            self._looks += 1
            self._look_at = time.monotonic() + pause_after(self._looks, self.telling)
        if time.monotonic() >= self._count_at:
            await self._count()
            self._count_at = time.monotonic() + COUNT_SECONDS
        return min(self._look_at, self._count_at) - time.monotonic()

    async def _count(self) -> None:
        # Task counts may lag by minutes (https://learn.microsoft.com/azure/batch/batch-get-resource-counts), so they
        # are told and nothing is decided on them.
        await self.wait.spare()
        try:
            answer = await self.wait.client.call(calls.get("jobs", self.wait.job_id, "taskcounts"))
        except ServiceError as error:
            # The shared poll meets the same trouble, and says so where it matters.
            self.log.debug("No task counts of job %s: %s", self.wait.job_id, error)
            return
        counts = describe(answer.data)
        if counts and counts != self._counts:
            self._counts = counts
            self.log.info("Tasks of job %s: %s.", self.wait.job_id, counts)


def describe(answer: Mapping[str, Any]) -> str:
    """Task counts as a person reads them; empty for an answer that has none."""
    counts = answer.get("taskCounts", answer)
    try:
        active, running, succeeded, failed = (
            int(counts[name]) for name in ("active", "running", "succeeded", "failed")
        )
    except (KeyError, TypeError, ValueError):
        return ""
    total = active + running + succeeded + failed
    return f"{running} running, {succeeded} succeeded, {failed} failed of {total}"


def tell_change(log: Any, job_id: str, change: Changed) -> None:
    """Tell that the job is in another state."""
    log.info("Job %s is %s (it was %s).", job_id, change.after, change.before)
