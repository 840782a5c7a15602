"""What is told in a task's log while its job is waited for: states and progress.

Every request goes through :meth:`~.poll.Wait.spare`, so all waits of an account together cost no more than one
request a second, whatever their number; and none of them ever ends a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errands import Errand
from airflow_provider_jobmanager.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_jobmanager.sight import Changed

EVERY_SECONDS = 60.0
"""How long after the wait began, and after each look, progress is looked at: no sooner, later when many wait."""


@define(eq=False)
class Progress(Errand):
    """Tells how far a job is, when that has changed.

    Task counts may lag by minutes (https://learn.microsoft.com/azure/batch/batch-get-resource-counts), so they are
    told and nothing is decided on them.
    """

    _told: str = field(default="", init=False)

    async def round(self) -> float:
        """Look once."""
        await self.wait.spare()
        try:
            answer = await self.wait.client.call(calls.get("jobs", self.wait.job_id, "taskcounts"))
        except ServiceError as error:
            # The shared poll meets the same trouble, and says so where it matters.
            self.log.debug("No task counts of job %s: %s", self.wait.job_id, error)
            return EVERY_SECONDS
        progress = describe(answer.data)
        if progress and progress != self._told:
            self._told = progress
            self.log.info("Tasks of job %s: %s.", self.wait.job_id, progress)
        return EVERY_SECONDS


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
