"""One poll of an account for all jobs that somebody waits for.

What one tick asks does not grow with the number of waiting jobs: which jobs completed of late (a list with a filter
and a few members). Now and then a sweep asks which jobs are not completed, and looks at each awaited one that is
missing there: that finds deletions, jobs whose end came before their wait began, and whatever a stale list kept back.
Jobs that were never there are looked at as well, a few at a time and each one seldom: a short one may come and end
while no list shows it.

Times are the service's own, never this machine's. A list begins some way before the latest end that was seen; when
nothing ended for a while, some way before the ``Date`` of the last answer. An end that falls through both is found by
the next sweep.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.batch import calls, shapes
from airflow_provider_jobmanager.batch.flows import VERDICT_SELECT
from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.budget import FewAtOnce, Turnstile
from airflow_provider_jobmanager.errands import Errands
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.sight import Broken, Ended, Sight, patience_without_end, retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from airflow_provider_jobmanager.account import AsyncClient
    from airflow_provider_jobmanager.batch.calls import Answer, Json
    from airflow_provider_jobmanager.batch.patience import Patience
    from airflow_provider_jobmanager.waiting import Wait

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=2)
"""How far a list reaches back before the latest end that was seen: lists of the service may lag."""

DATE_DOUBT = timedelta(minutes=15)
"""How far a list reaches back before the last ``Date``: its clock need not be the one that stamps the jobs. Requests
whose date is further off are refused anyway
(https://learn.microsoft.com/rest/api/batchservice/authenticate-requests-to-the-azure-batch-service)."""

_SWEEP_SECONDS = 60.0
_SWEEP_TICKS = 12
_TOLD_AT_ONCE = 20
_ROWS_AT_ONCE = 200
_SPARE_PER_SECOND = 1.0
_LOOKS_PER_SECOND = 10.0
_UNSEEN_SECONDS = 300.0
_UNSEEN_AT_ONCE = 20
_THROTTLED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_SWEEP_SELECT = ("id", "state", "creationTime")
_DATE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@define(eq=False)
class Poll:
    """The poll of one account: asks, and tells the waits.

    Attributes:
        client: the account's shared client.
        clock: seconds that only grow.
        sleep: for tests to replace.
        waits: by lower-case job id.
        start: where the next list of ended jobs begins, None before the first sweep.
    """

    client: AsyncClient
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    reader: FewAtOnce = field(init=False)
    spares: Turnstile = field(init=False)
    looks: Turnstile = field(init=False)
    errands: Errands = field(factory=Errands, init=False)
    waits: dict[str, list[Wait]] = field(factory=dict, init=False)
    start: datetime | None = field(default=None, init=False)
    _latest_end: datetime | None = field(default=None, init=False)
    _unseen: set[Wait] = field(factory=set, init=False)
    _swept: float = field(default=float("-inf"), init=False)
    _unseen_at: float = field(default=float("-inf"), init=False)
    _trouble: Sight = field(init=False)
    _patience: Patience = field(factory=patience_without_end, init=False)
    _throttled: ServiceUnavailable | None = field(default=None, init=False)
    _look_from: float = field(default=float("-inf"), init=False)
    _look_patience: Patience = field(factory=patience_without_end, init=False)
    _shortest: float = field(default=float("inf"), init=False)
    _hurry: asyncio.Event = field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.reader = FewAtOnce(self.client.account, self.client.sdk, self.client.sleep, inner=self.client)
        self.spares = Turnstile(_SPARE_PER_SECOND, self.clock, self.sleep)
        self.looks = Turnstile(_LOOKS_PER_SECOND, self.clock, self.sleep)
        self._trouble = Sight(float("inf"), self.clock)

    def add(self, wait: Wait) -> Wait:
        """Follow one more job; returns the wait for it."""
        wait.joined(self)
        since = wait.since
        # It may have ended before the next list begins: a sweep finds that.
        unseen, hurry = since is None or self.start is None or since < self.start, wait.interval < self._shortest
        self.waits.setdefault(wait.job_id.lower(), []).append(wait)
        if unseen:
            self._unseen.add(wait)
        if hurry:
            self._shortest = wait.interval
            self._hurry.set()
        return wait

    def leave(self, wait: Wait) -> bool:
        """Follow one job less; False when it was not followed any more."""
        self._unseen.discard(wait)
        same = self.waits.get(wait.job_id.lower(), [])
        if wait not in same:
            return False
        same.remove(wait)
        if not same:
            del self.waits[wait.job_id.lower()]
        return True

    def end(self, wait: Wait, job: Json | None) -> None:
        """Tell a wait that its job is over, once."""
        if self.leave(wait):
            wait.tell(Ended(job))

    @property
    def interval(self) -> float:
        """Seconds between ticks: the shortest that any wait wants."""
        return min((wait.interval for wait in self._all()), default=5.0)

    async def run(self) -> None:
        """Tick for ever; whoever starts it cancels it."""
        try:
            while True:
                await self._rest(await self.step())
        except Exception as error:
            log.exception("The poll of %s stopped", self.client.account)
            for wait in self._all():
                self.leave(wait)
                wait.tell(Broken(error))
            raise

    async def _rest(self, pause: float) -> None:
        """Sleep until the next tick, which comes sooner when a newcomer wants shorter intervals."""
        began = self.clock()
        until = began + pause
        asked_for = self._trouble.blind or pause > self._shortest
        while (left := until - self.clock()) > 0:
            self._hurry.clear()
            try:
                await asyncio.wait_for(self._hurry.wait(), left)
            except asyncio.TimeoutError:
                return
            if not asked_for:
                until = min(until, began + self._shortest)

    async def step(self) -> float:
        """One tick with its troubles; returns the seconds until the next."""
        try:
            await self.tick()
        except ServiceError as error:
            return await self._troubled(error)
        except Exception as error:
            # A defect, or an answer that nobody thought of: no reason to lose all jobs of the account at once.
            log.exception("Polling %s", self.client.account)
            return await self._troubled(ServiceUnavailable(f"The answer could not be understood: {error!r}"))
        await self._regained()
        self._shortest = self.interval
        if self._throttled is None or self._throttled.retry_after is None:
            return self._shortest
        return max(self._shortest, self._look_from - self.clock())

    async def tick(self) -> None:
        """Ask what has ended, and tell."""
        start, unseen, self._throttled = self.start, set(self._unseen), None
        missing: list[Wait] = []
        sweeping = self._sweep_due()
        if sweeping:
            missing = await self._sweep()
        if start is not None:
            # Before the first sweep not even the time is known; what ended before it, it misses. A service that never
            # says the time stays with sweeps.
            await self._collect(start)
        if sweeping:
            self._unseen -= unseen
            self._swept = self.clock()
            # The list has told of most that are missing: who still waits is asked for.
            await self._look_at_all(missing)

    async def _collect(self, start: datetime) -> None:
        began = start.strftime(_DATE_FORMAT)
        answer = await self._list(f"state eq 'completed' and stateTransitionTime ge DateTime'{began}'", VERDICT_SELECT)
        date = answer.date
        told = 0
        async for job in _in_breaths(answer.data, _ROWS_AT_ONCE):
            for wait in tuple(self.waits.get(job["id"].lower(), ())):
                self._tell_end(wait, job)
                told += 1
                if told % _TOLD_AT_ONCE == 0:
                    # Those who were told read their managers now. All at once they would only stand in a queue, and be
                    # a large heap for every garbage collection meanwhile.
                    await self.reader.room()
            ended = moment(job.get("stateTransitionTime"))
            if ended and date and ended <= date + DATE_DOUBT and (not self._latest_end or ended > self._latest_end):
                self._latest_end = ended
        self._begin_next_list(date)

    def _tell_end(self, wait: Wait, job: Json) -> None:
        try:
            shapes.check_job(job)
        except ServiceError as error:
            # This one job is odd: the trouble of who waits for it. It is asked for by itself until it is not.
            self._not_seen(wait, error)
        else:
            wait.heard_of(job)

    def _begin_next_list(self, date: datetime | None) -> None:
        starts = [self.start] if self.start else []
        if date:
            starts.append(date - DATE_DOUBT)
        if self._latest_end:
            starts.append(self._latest_end - OVERLAP)
        self.start = max(starts, default=None)

    async def _sweep(self) -> list[Wait]:
        """List what is not completed; returns the waits whose jobs are not among it."""
        answer = await self._list("state ne 'completed'", _SWEEP_SELECT)
        if self.start is None:
            self._begin_next_list(answer.date)
        alive = {job["id"].lower(): job for job in answer.data}
        missing, never_there = [], []
        async for job_id, waits in _in_breaths(list(self.waits.items()), _ROWS_AT_ONCE):
            job = alive.get(job_id)
            for wait in tuple(waits):
                if job is not None and wait.heard_of(job):
                    continue
                # Completed, deleted, or created after the list was made.
                if wait.must_exist or wait.seen or wait in self._unseen:
                    missing.append(wait)
                else:
                    never_there.append(wait)
        return missing + self._some_of(never_there)

    def _some_of(self, never_there: list[Wait]) -> list[Wait]:
        """Those to look at now of the waits whose jobs were never there and need not be: the longest not looked at."""
        now = self.clock()
        if now - self._unseen_at < _SWEEP_SECONDS:  # a service that never says the time is swept at every tick
            return []
        due = [wait for wait in never_there if now - wait.looked_at >= _UNSEEN_SECONDS]
        some = heapq.nsmallest(_UNSEEN_AT_ONCE, due, key=lambda wait: wait.looked_at)
        self._unseen_at = now
        self.spares.take(len(some))
        return some

    async def _look_at_all(self, missing: Sequence[Wait]) -> None:
        """Ask for each of these jobs by itself, as long as the service has time for that."""
        for some in _slices(missing, _ROWS_AT_ONCE):
            following = [wait for wait in some if self._follows(wait)]
            if self._throttled is None:
                await asyncio.gather(*map(self._look_at, following))
                continue
            # That is the account's trouble. Each wait that asked nevertheless, at every tick, would make it worse.
            for wait in following:
                self._not_seen(wait, self._throttled)
            await asyncio.sleep(0)
        if self._throttled is not None:
            pause = self._look_patience.next_pause(self._throttled.retry_after)
            self._look_from = self.clock() + pause
        elif missing:
            self._look_patience.answered()

    async def _look_at(self, wait: Wait) -> None:
        """Ask for one job. What goes wrong here is this wait's own trouble: the others have had their answer."""
        wait.looked_at = self.clock()
        try:
            answer = await self.reader.call(calls.get("jobs", wait.job_id, select=VERDICT_SELECT))
            job = answer.data
            shapes.check_listed(job)
            shapes.check_job(job)
        except ServiceError as error:
            if isinstance(error, ServiceRefused) and error.code == "JobNotFound":
                if wait.not_found() and self._follows(wait):
                    self._unseen.add(wait)
                return
            if self._throttled is None and isinstance(error, ServiceUnavailable) and error.status in _THROTTLED:
                self._throttled = error
            self._not_seen(wait, error)
        else:
            wait.heard_of(job)

    def _not_seen(self, wait: Wait, error: ServiceError) -> None:
        """This one could not be asked for: it is, by itself, until it can."""
        wait.troubled(error)
        if self._follows(wait):
            self._unseen.add(wait)

    def _follows(self, wait: Wait) -> bool:
        return wait in self.waits.get(wait.job_id.lower(), ())

    def _sweep_due(self) -> bool:
        if self.clock() < self._look_from:
            return False  # what a sweep misses can't be looked at yet
        if self._unseen or self.start is None:
            return True
        return self.clock() - self._swept >= max(_SWEEP_SECONDS, _SWEEP_TICKS * self.interval)

    async def _list(self, condition: str, select: tuple[str, ...]) -> Answer:
        answer = await self.client.call(calls.rows("jobs", filter=condition, select=select))
        async for job in _in_breaths(answer.data, _ROWS_AT_ONCE):
            shapes.check_listed(job)
        return answer

    async def _troubled(self, error: ServiceError) -> float:
        if self._trouble.lost(error):
            log.warning("Polling %s: %s", self.client.account, error)
        async for wait in _in_breaths(self._all(), _ROWS_AT_ONCE):
            if self._follows(wait):
                wait.troubled(error)
        return self._patience.next_pause(retry_after(error))

    async def _regained(self) -> None:
        recovered = self._trouble.regained()
        self._patience.attempts = 0
        if recovered:
            log.info("Polling %s: answers again after %.0f s", self.client.account, recovered.seconds)
        async for wait in _in_breaths(self._all(), _ROWS_AT_ONCE):
            if wait not in self._unseen:
                wait.regained()

    def _all(self) -> list[Wait]:
        return [wait for same in self.waits.values() for wait in same]


async def _in_breaths(items: Sequence[Any], count: int) -> AsyncIterator[Any]:
    """The items, with the rest of the event loop let in between so many: thousands at once would hold it up."""
    for number, item in enumerate(items, 1):
        yield item
        if number % count == 0:
            await asyncio.sleep(0)


def _slices(items: Sequence[Wait], count: int) -> Iterator[Sequence[Wait]]:
    for start in range(0, len(items), count):
        yield items[start : start + count]
