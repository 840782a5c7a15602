"""Paces what is told in a task's log while its job is waited for (:mod:`.batch.telling`).

On a worker between two looks at the job, in the triggerer beside the wait (:mod:`.meanwhile`), where every request goes
through the small budget that all waits of an account share. Nothing that is told ever ends a wait; a limit to the
waiting for the start of a manager, which was asked for, does.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from airflow_provider_jobmanager.account import AsyncClient
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.batch.situation import not_started, why_not_started
from airflow_provider_jobmanager.errors import ServiceError
from airflow_provider_jobmanager.sight import Judged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from airflow_provider_jobmanager.account import Client
    from airflow_provider_jobmanager.batch.calls import Answer, Call, Flow
    from airflow_provider_jobmanager.batch.telling import Line, Telling
    from airflow_provider_jobmanager.batch.verdict import Verdict
    from airflow_provider_jobmanager.waiting import Wait

EVERY_SECONDS = 10.0
"""Seconds after each look until the next; more when many share the budget. The first looks come closer together: a
short job on a pool of its own leaves nothing to read behind."""

_CALM_SECONDS = 60.0
"""Likewise once the manager runs and its output is not told: a lost node is all that is looked for."""

_FIRST_SECONDS = 1.0
_LONGER = 1.5


@define
class Sparing(AsyncClient):
    """A client that waits for a place in the shared budget before each request."""

    wait: Wait = field(kw_only=True)

    @classmethod
    def of(cls, wait: Wait) -> Sparing:
        """The client of a wait, used sparingly."""
        return cls(wait.client.account, wait.client.sdk, wait=wait)

    async def call(self, call: Call) -> Answer:
        """As :meth:`AsyncClient.call`, in turn."""
        await self.wait.spare()
        return await self.wait.client.call(call)


def pause_after(looks: int, telling: Telling) -> float:
    """Seconds until the next look, after so many."""
    if telling.started and not telling.output:
        return _CALM_SECONDS
    return min(EVERY_SECONDS, _FIRST_SECONDS * _LONGER ** min(looks - 1, 10))


async def limit_start(
    wait: Wait, telling: Telling, limit: StartLimit, stop: Callable[[Verdict], Awaitable[None]]
) -> None:
    """End the wait in the triggerer when the manager has not started in time.

    Args:
        wait: the wait; hears the verdict.
        telling: knows the manager.
        limit: how long it may take.
        stop: ends the job, if it is to be ended.
    """
    await asyncio.sleep(max(0.0, limit.deadline - time.time()))
    while True:
        try:
            verdict = await wait.client.perform(limit.judge(telling))
            break
        except ServiceError:
            # Job or manager can't be read: the shared poll meets the same trouble, and says so.
            await asyncio.sleep(wait.interval)
    if verdict is not None:
        wait.leave()  # the job's end, which comes of the stop, is no news then
        await stop(verdict)
        wait.tell(Judged(verdict))


@frozen
class StartLimit:
    """How long a manager may take to start.

    Attributes:
        seconds: so long.
        deadline: when that is over, in seconds since the epoch.
    """

    seconds: float
    deadline: float

    def judge(self, telling: Telling) -> Flow[Verdict | None]:
        """The verdict on a manager that has not started; None when it has."""
        diagnosis = yield from why_not_started(telling.job_id, telling.manager_id, patience=Patience(0))
        if diagnosis is None:
            return None
        return not_started(telling.job_id, telling.manager_id, diagnosis, self.seconds)


@define
class Teller:
    """Tells on a worker.

    Attributes:
        client: where to ask.
        telling: what was told, and what is to be told.
        log: the task's log.
        limit: how long the manager may take to start, None for ever.
        clock: seconds that only grow.
    """

    client: Client
    telling: Telling
    log: Any
    limit: StartLimit | None = None
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=float("-inf"), init=False)
    _looks: int = field(default=0, init=False)

    def look(self) -> Verdict | None:
        """Look, unless the last look was a moment ago; the verdict when the manager did not start in time."""
        if self.clock() >= self._next:
            self._tell()
            self._looks += 1
            self._next = self.clock() + pause_after(self._looks, self.telling)
        if self.limit is None or self.telling.started or time.time() < self.limit.deadline:
            return None
        try:
            return self.client.perform(self.limit.judge(self.telling))
        except ServiceError:
            # The look at the job meets the same trouble, and waits it out.
            return None

    def last(self, verdict: Verdict) -> Verdict:
        """Tell the rest of a job that has ended, and add to its verdict what only a watcher knows."""
        if self.telling.output and verdict.status != "lost":
            self._tell(last=True)
        return verdict.evolve(recoveries=max(verdict.recoveries, self.telling.recoveries))

    def _tell(self, *, last: bool = False) -> None:
        try:
            write(self.log, self.client.perform(self.telling.step(last=last)))
        except Exception:
            # A defect in what is told is no reason to lose sight of the job.
            self.log.exception("What happens meanwhile could not be told")


def write(log: Any, lines: Iterable[Line]) -> None:
    """Log lines, each as a record of its own."""
    for line in lines:
        log.log(line.level, "%s", line.text)
