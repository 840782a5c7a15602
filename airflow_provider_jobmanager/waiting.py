"""One wait for one job: what it heard, and what it makes of it.

Thousands of them may be there at once, and every garbage collection of the triggerer goes through all that a wait is
made of, which holds up everybody's triggers: it is few objects, and those that most waits never need are made late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import define, field

from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.sight import Changed, GaveUp, News, Sight

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_jobmanager.account import AsyncClient
    from airflow_provider_jobmanager.batch.calls import Json
    from airflow_provider_jobmanager.errands import Errands
    from airflow_provider_jobmanager.errors import ServiceError
    from airflow_provider_jobmanager.poll import Poll


@define(eq=False)
class Wait:
    """Somebody's wait for one job.

    Attributes:
        job_id: the job.
        interval: seconds between two looks that this wait wants.
        created_at: when the job was created by the service's clock; tells a job from another one of the same id.
            Learned from the service when it was not known.
        since: a time by the service's clock when the job was known not to be completed, None when nothing is known.
        must_exist: whether a job that was never seen is gone; else it is waited for.
        out_of_sight: seconds without any usable answer of the service that are put up with.
        state: of the job as last heard of, empty while it was not.
        looked_at: when the job was last asked for by itself, on the poll's clock.
    """

    job_id: str
    interval: float = field(default=5.0, kw_only=True)
    since: datetime | None = field(default=None, kw_only=True)
    created_at: datetime | None = field(default=None, kw_only=True)
    must_exist: bool = field(default=True, kw_only=True)
    out_of_sight: float = field(default=3600.0, kw_only=True)
    _poll: Poll = field(init=False)
    state: str = field(default="", init=False)
    looked_at: float = field(default=float("-inf"), init=False)
    _missing: bool = field(default=False, init=False)
    _news: tuple[News, ...] = field(default=(), init=False)
    _listener: asyncio.Future[None] | None = field(default=None, init=False)
    _sight: Sight | None = field(default=None, init=False)

    @property
    def sight(self) -> Sight:
        """Whether the service can be asked of this job; made when it first matters, for most never."""
        if self._sight is None:
            self._sight = Sight(self.out_of_sight, self._poll.clock)
        return self._sight

    @property
    def seen(self) -> bool:
        """Whether the job was ever there, as far as this wait knows."""
        return bool(self.state) or self.created_at is not None

    def news(self) -> News | None:
        """The next that is to be said of this job; None when all was said."""
        # Not a queue, which is a dozen objects, nor a coroutine that waits for it.
        if not self._news:
            return None
        first, *later = self._news
        self._news = tuple(later)
        return first

    def more(self) -> asyncio.Future[None]:
        """Done when there is more to be said. One listens at a time."""
        self._listener = asyncio.get_running_loop().create_future()
        if self._news:
            self._listener.set_result(None)
        return self._listener

    def joined(self, poll: Poll) -> None:
        """Be told by this poll from now on."""
        self._poll = poll

    def tell(self, news: News) -> None:
        """Add to the news."""
        self._news += (news,)
        if self._listener is not None and not self._listener.done():
            self._listener.set_result(None)

    def leave(self) -> None:
        """Wait no more."""
        self._poll.leave(self)

    @property
    def errands(self) -> Errands:
        """What the waits of the account do now and then."""
        return self._poll.errands

    @property
    def client(self) -> AsyncClient:
        """Runs conversations on the account's shared connections."""
        return self._poll.reader

    async def spare(self) -> None:
        """Wait for a place in the small budget of requests that all waits of the account share for extras."""
        await self._poll.spares.turn()

    async def look_in_turn(self) -> None:
        """Wait for a place in the budget of those who must look at a task of their own again and again."""
        await self._poll.looks.turn()

    def heard_of(self, job: Json) -> bool:
        """Take in what the service says of the job; False when it speaks of an earlier one of the same id."""
        created = moment(job.get("creationTime"))
        if self.created_at is not None and created is not None and created != self.created_at:
            if created > self.created_at:
                # A later job has the id: the one waited for was deleted before.
                self._poll.end(self, None)
            return False
        self.created_at = created or self.created_at
        self._missing = False
        before, self.state = self.state, str(job.get("state")).lower()
        if self.state == "completed":
            self._poll.end(self, job)
        elif before not in ("", self.state):
            self.tell(Changed(before, self.state))
        return True

    def not_found(self) -> bool:
        """The service knows no such job; True when that is to be looked at again."""
        if not self.seen and not self.must_exist:
            return False
        if self._missing:
            # Twice, a tick apart: a job that was made a moment ago is not lost for one answer.
            self._poll.end(self, None)
            return False
        self._missing = True
        return True

    def troubled(self, error: ServiceError) -> None:
        """The service could not be asked of this job."""
        news = self.sight.lost(error)
        if isinstance(news, GaveUp):
            self._poll.leave(self)
        if news is not None:
            self.tell(news)

    def regained(self) -> None:
        """The service can be asked."""
        if self._sight is not None and (news := self._sight.regained()):
            self.tell(news)
