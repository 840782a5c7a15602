"""What a wait is told of its job, and how long it puts up with a service that can't be asked."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field, frozen

from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_jobmanager.account import AsyncClient
    from airflow_provider_jobmanager.batch.calls import Flow, Json
    from airflow_provider_jobmanager.batch.verdict import Verdict

T = TypeVar("T")

REFUSED_FOR = 300.0
"""Seconds that a lasting refusal (401, 403) is put up with: a token may expire, a role may be on its way."""

_LONGEST_PAUSE = 60.0


@frozen
class Ended:
    """The job is completed, or gone (``job`` is None)."""

    job: Json | None


@frozen
class Changed:
    """The job is in another state than before, and not over."""

    before: str
    after: str


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
    """The service could not be asked for longer than this wait puts up with. The job is left alone."""

    error: ServiceError
    seconds: float


@frozen
class Broken:
    """The poll itself stopped: a defect of this provider. The job is left alone."""

    error: BaseException


@frozen
class Judged:
    """The part of the job that is waited for is over, the job perhaps not."""

    verdict: Verdict


@frozen
class OutOfTime:
    """The deadline of this wait has come."""


News = Ended | Changed | Trouble | Recovered | GaveUp | Broken | Judged | OutOfTime


class OutOfSight(Exception):  # noqa: N818 - reads as what happened
    """Raised by :func:`insist` with the :class:`GaveUp` that ended it."""

    def __init__(self, gave_up: GaveUp) -> None:
        self.gave_up = gave_up
        super().__init__(str(gave_up.error))


@define
class Sight:
    """Whether the service can be asked, as one wait sees it.

    Attributes:
        out_of_sight: seconds without any usable answer after which to give up.
        clock: seconds that only grow.
    """

    out_of_sight: float
    clock: Callable[[], float] = time.monotonic
    _trouble: tuple[Any, ...] | None = field(default=None, init=False)
    _blind_since: float = field(default=0.0, init=False)
    _refused_since: float | None = field(default=None, init=False)

    @property
    def blind(self) -> bool:
        """Whether the last that was heard is no usable answer."""
        return self._trouble is not None

    def lost(self, error: ServiceError) -> Trouble | GaveUp | None:
        """No usable answer came; what is to be told of it, if anything is new."""
        now = self.clock()
        kind = (type(error), getattr(error, "status", None), getattr(error, "code", ""))
        known, self._trouble = self._trouble, kind
        if known is None:
            self._blind_since = now
        if not isinstance(error, ServiceRefused):
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        blind = now - self._blind_since
        refused = 0.0 if self._refused_since is None else now - self._refused_since
        if blind >= self.out_of_sight or refused >= REFUSED_FOR:
            return GaveUp(error, blind)
        return None if kind == known else Trouble(error)

    def regained(self) -> Recovered | None:
        """A usable answer came."""
        if self._trouble is None:
            return None
        self._trouble = self._refused_since = None
        return Recovered(self.clock() - self._blind_since)


async def insist(
    client: AsyncClient,
    flow: Callable[[], Flow[T]],
    sight: Sight,
    say: Callable[[Trouble | Recovered], None],
    *,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> T:
    """Hold a conversation, from its beginning again and again while the service can't be asked.

    Args:
        client: runs it.
        flow: begins it; without patience of its own, or trouble is told late.
        sight: how long to try.
        say: is told of trouble and of its end.
        sleep: for tests to replace.

    Raises:
        OutOfSight: the service could not be asked for too long.
    """
    patience = patience_without_end()
    while True:
        try:
            result = await client.perform(flow())
        except ServiceError as error:
            news = sight.lost(error)
            if isinstance(news, GaveUp):
                raise OutOfSight(news) from error
            if news is not None:
                say(news)
            await sleep(patience.next_pause(retry_after(error)))
        else:
            if recovered := sight.regained():
                say(recovered)
            return result


def patience_without_end() -> Patience:
    """Pauses that grow up to a minute; who uses them knows when to stop."""
    return Patience(seconds=float("inf"), longest=_LONGEST_PAUSE)


def retry_after(error: ServiceError) -> float | None:
    """Seconds that the service asked to wait."""
    return error.retry_after if isinstance(error, ServiceUnavailable) else None
