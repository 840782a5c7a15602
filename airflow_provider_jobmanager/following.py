"""One poll per account and event loop for all jobs that somebody waits for.

What one tick asks does not grow with the number of waiting jobs: which jobs completed since the last tick (a list
with a filter and a few members). Now and then it also asks which jobs are not completed, and looks at each awaited
one that is missing there: that finds deletions, and jobs whose end came before their wait began. The service's own
clock, read from its answers, moves the cursor.

Trouble with the service is waited out here, once for all, and told to every wait; it ends a wait only after that
wait's own patience.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import define, field, frozen

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.flows import VERDICT_SELECT
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from airflow_provider_jobmanager.account import Account, AsyncClient
    from airflow_provider_jobmanager.batch.calls import Answer, Json

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=2)
"""How far each list reaches back before the last one: lists of the service may lag."""

REFUSED_FOR = 300.0
"""Seconds that a lasting refusal (401, 403) is put up with before the waits hear of it as their end."""

_SWEEP_SECONDS = 60.0
_SWEEP_TICKS = 12
_READS_AT_ONCE = 16
_SPARE_PER_SECOND = 1.0
_SWEEP_SELECT = ("id", "state", "creationTime")
_DATE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@frozen
class Ended:
    """The job is completed, or gone (``job`` is None)."""

    job: Json | None


@frozen
class Trouble:
    """The service can't be asked at the moment; said once for each kind of trouble."""

    error: ServiceError


@frozen
class Recovered:
    """The service answers again, after so many seconds."""

    seconds: float


@frozen
class GaveUp:
    """The service could not be asked for longer than this wait put up with."""

    error: ServiceError
    seconds: float


@frozen
class Broken:
    """The poll itself stopped: a defect of this provider. The job is left alone."""

    error: BaseException


News = Ended | Trouble | Recovered | GaveUp | Broken


@define(eq=False)
class Wait:
    """Somebody's wait for one job.

    Attributes:
        job_id: the job.
        interval: seconds between two looks that this wait wants.
        created_at: when the job was created by the service's clock; tells a job from a later one of the same id.
        since: a time by the service's clock when the job was known not to be completed, None when nothing is known.
        out_of_sight: seconds without any usable answer after which the wait gives up.
        client: runs conversations on the account's shared client.
    """

    job_id: str
    interval: float
    created_at: datetime | None
    since: datetime | None
    out_of_sight: float
    client: AsyncClient
    _poll: Poll
    _news: asyncio.Queue[News] = field(factory=asyncio.Queue)

    async def news(self) -> News:
        """The next that is to be said of this job."""
        return await self._news.get()

    def tell(self, news: News) -> None:
        """Add to the news."""
        self._news.put_nowait(news)

    def again(self) -> None:
        """Wait for the same job once more, after its end was told: it may appear yet."""
        self.since = None
        self._poll.join(self)

    async def spare(self) -> None:
        """Wait for a place in the small budget of requests that all waits of the account share for extras."""
        await self._poll.spare()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncClient]:
        """The client, for the reads that a finished job costs; only so many at once."""
        async with self._poll.reads:
            yield self.client


@define(eq=False)
class Poll:
    """The poll of one account: asks, and tells the waits.

    Attributes:
        client: the account's shared client.
        clock: seconds that only grow.
        sleep: for tests to replace.
    """

    client: AsyncClient
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    waits: dict[str, list[Wait]] = field(factory=dict, init=False)
    reads: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(_READS_AT_ONCE), init=False)
    cursor: datetime | None = field(default=None, init=False)
    _unseen: set[Wait] = field(factory=set, init=False)
    _swept: float = field(default=float("-inf"), init=False)
    _answered: float = field(default=0.0, init=False)
    _trouble: str | None = field(default=None, init=False)
    _patience: Patience = field(factory=lambda: Patience(seconds=float("inf"), longest=60.0), init=False)
    _next_spare: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._answered = self.clock()

    def join(self, wait: Wait) -> None:
        """Follow one more job."""
        self.waits.setdefault(wait.job_id.lower(), []).append(wait)
        if wait.since is None or self.cursor is None or wait.since < self.cursor - OVERLAP:
            # It may have ended before the next list begins: the next tick looks at what is not completed.
            self._unseen.add(wait)

    def leave(self, wait: Wait) -> None:
        """Follow one job less."""
        self._unseen.discard(wait)
        same = self.waits.get(wait.job_id.lower(), [])
        if wait in same:
            same.remove(wait)
        if not same:
            self.waits.pop(wait.job_id.lower(), None)

    @property
    def interval(self) -> float:
        """Seconds between ticks: the shortest that any wait wants."""
        return min((wait.interval for wait in self._all()), default=5.0)

    async def spare(self) -> None:
        """Wait for a place in the budget for extras."""
        now = self.clock()
        turn = max(self._next_spare, now)
        self._next_spare = turn + 1 / _SPARE_PER_SECOND
        if turn > now:
            await self.sleep(turn - now)

    async def run(self) -> None:
        """Tick for ever; whoever starts it cancels it."""
        try:
            while True:
                await self.sleep(await self.step())
        except Exception as error:
            log.exception("The poll of %s stopped", self.client.account)
            for wait in self._all():
                self.leave(wait)
                wait.tell(Broken(error))
            raise

    async def step(self) -> float:
        """One tick with its troubles; returns the seconds until the next."""
        try:
            await self.tick()
        except ServiceError as error:
            return self._troubled(error)
        self._recovered()
        return self.interval

    async def tick(self) -> None:
        """Ask what has ended, and tell."""
        sweeping = self._sweep_due()
        if sweeping:
            await self._sweep()
        if self.cursor is None:
            return
        start = self.cursor - OVERLAP
        answer = await self._list(
            f"state eq 'completed' and stateTransitionTime ge DateTime'{start.strftime(_DATE_FORMAT)}'", VERDICT_SELECT
        )
        for job in answer.data:
            for wait in list(self.waits.get(str(job.get("id")).lower(), ())):
                self._look(wait, job)
        if now := _service_time(answer):
            self.cursor = max(self.cursor, now)

    async def _sweep(self) -> None:
        unseen = set(self._unseen)
        answer = await self._list("state ne 'completed'", _SWEEP_SELECT)
        alive = {str(job.get("id")).lower(): job for job in answer.data}
        if self.cursor is None:
            self.cursor = _service_time(answer)
        for wait in self._all():
            job = alive.get(wait.job_id.lower())
            if job is not None and not _another(wait, job):
                continue
            # Not among the living: completed, deleted, or created after the list was made.
            answer_of_one = await self._get(wait.job_id)
            if answer_of_one is None:
                self._end(wait, None)
            else:
                self._look(wait, answer_of_one)
        self._unseen -= unseen
        self._swept = self.clock()

    def _sweep_due(self) -> bool:
        if self._unseen or self.cursor is None:
            return True
        return self.clock() - self._swept >= max(_SWEEP_SECONDS, _SWEEP_TICKS * self.interval)

    def _look(self, wait: Wait, job: Json) -> None:
        if _another(wait, job):
            self._end(wait, None)
        elif str(job.get("state")).lower() == "completed" and not _before(wait, job):
            self._end(wait, job)

    def _end(self, wait: Wait, job: Json | None) -> None:
        self.leave(wait)
        wait.tell(Ended(job))

    async def _list(self, condition: str, select: tuple[str, ...]) -> Answer:
        return await self.client.call(calls.rows("jobs", filter=condition, select=select))

    async def _get(self, job_id: str) -> Json | None:
        try:
            answer = await self.client.call(calls.get("jobs", job_id, select=VERDICT_SELECT))
        except ServiceRefused as refusal:
            if refusal.code == "JobNotFound":
                return None
            raise
        return dict(answer.data)

    def _troubled(self, error: ServiceError) -> float:
        blind = self.clock() - self._answered
        kind = _kind(error)
        for wait in self._all():
            limit = min(wait.out_of_sight, REFUSED_FOR) if isinstance(error, ServiceRefused) else wait.out_of_sight
            if blind >= limit:
                self.leave(wait)
                wait.tell(GaveUp(error, blind))
            elif kind != self._trouble:
                wait.tell(Trouble(error))
        if kind != self._trouble:
            log.warning("Polling %s: %s", self.client.account, error)
        self._trouble = kind
        retry_after = error.retry_after if isinstance(error, ServiceUnavailable) else None
        return self._patience.next_pause(retry_after)

    def _recovered(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            seconds = self.clock() - self._answered
            log.info("Polling %s: answers again after %.0f s", self.client.account, seconds)
            for wait in self._all():
                wait.tell(Recovered(seconds))
        self._answered = self.clock()
        self._patience.attempts = 0

    def _all(self) -> list[Wait]:
        return [wait for same in self.waits.values() for wait in same]


def _kind(error: ServiceError) -> str:
    return f"{type(error).__name__} {getattr(error, 'status', None)} {getattr(error, 'code', '')}"


def _another(wait: Wait, job: Json) -> bool:
    """Whether this is a later job that got the id of the one waited for."""
    created = moment(job.get("creationTime"))
    return wait.created_at is not None and created is not None and created != wait.created_at


def _before(wait: Wait, job: Json) -> bool:
    """Whether this job ended before the one waited for was there: an earlier job of the same id."""
    ended = moment(job.get("stateTransitionTime"))
    return wait.created_at is None and wait.since is not None and ended is not None and ended < wait.since


def _service_time(answer: Answer) -> datetime | None:
    date = answer.headers.get("date")
    try:
        return parsedate_to_datetime(date) if date else None
    except ValueError:
        return None


@define(eq=False)
class _Shared:
    """One client and one poll, as long as anybody uses them."""

    users: int = 0
    opening: asyncio.Lock = field(factory=asyncio.Lock)
    client: AsyncClient | None = None
    poll: Poll | None = None
    task: asyncio.Task[None] | None = None


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(account: Account) -> AsyncIterator[AsyncClient]:
    """The one client of an account on this event loop; closed when nobody uses it any more."""
    async with _use(account) as shared:
        assert shared.client is not None  # noqa: S101 - _use opens it
        yield shared.client


@asynccontextmanager
async def follow(
    account: Account,
    job_id: str,
    *,
    interval: float = 5.0,
    since: datetime | None = None,
    created_at: datetime | None = None,
    out_of_sight: float = 3600.0,
) -> AsyncIterator[Wait]:
    """Wait for a job together with all others of the account on this event loop.

    Args:
        account: the account. Connections that resolve to the same account and identity share one poll.
        job_id: the job.
        interval: seconds between two looks.
        since: a service time when the job was known not to be completed.
        created_at: the job's creation time.
        out_of_sight: seconds without any usable answer after which to give up.
    """
    async with _use(account) as shared:
        assert shared.client is not None  # noqa: S101 - _use opens it
        if shared.poll is None:
            shared.poll = Poll(shared.client)
        wait = Wait(job_id, interval, created_at, since, out_of_sight, shared.client, shared.poll)
        shared.poll.join(wait)
        if shared.task is None or shared.task.done():
            # In a context of its own: what the poll logs must not land in the log of the task that came first.
            shared.task = contextvars.Context().run(asyncio.ensure_future, shared.poll.run())
        try:
            yield wait
        finally:
            shared.poll.leave(wait)


@asynccontextmanager
async def _use(account: Account) -> AsyncIterator[_Shared]:
    of_loop = _shared.setdefault(asyncio.get_running_loop(), {})
    shared = of_loop.setdefault(account.fingerprint, _Shared())
    shared.users += 1
    try:
        async with shared.opening:
            if shared.client is None:
                shared.client = await account.async_client()
        yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            of_loop.pop(account.fingerprint, None)
            await asyncio.shield(_close(shared))


async def _close(shared: _Shared) -> None:
    if shared.task is not None:
        shared.task.cancel()
        await asyncio.gather(shared.task, return_exceptions=True)
    if shared.client is not None:
        await shared.client.close()
