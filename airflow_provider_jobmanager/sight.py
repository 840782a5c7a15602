"""What a wait is told of its job, and how long it puts up with a service that can't be asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field, frozen

from airflow_provider_jobmanager.batch.calls import Pause
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.errors import AccountError, ServiceError, ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.refusals import as_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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

    @property
    def refused(self) -> bool:
        """Whether the last that was heard is a refusal."""
        return self._refused_since is not None

    @property
    def left(self) -> float:
        """Seconds until to give up, should no usable answer come."""
        blind = 0.0 if self._trouble is None else self.clock() - self._blind_since
        return self.out_of_sight - blind

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


@define
class Insistence(Patience):
    """The patience of somebody who tells of trouble, and ends when sight is lost for too long.

    Attributes:
        sight: how long that is.
        say: is told of trouble and of its end.
    """

    sight: Sight = field(kw_only=True)
    say: Callable[[Trouble | Recovered], None] = field(kw_only=True)

    def pause(self, cause: ServiceError) -> Generator[Pause, object, None]:
        """Wait a little longer than the last time.

        Raises:
            OutOfSight: the service could not be asked for too long.
        """
        news = self.sight.lost(cause)
        if isinstance(news, GaveUp):
            raise OutOfSight(news) from cause
        if news is not None:
            self.say(news)
        # Not beyond the end of the patience, however long the service asks to wait.
        yield Pause(min(self.next_pause(retry_after(cause)), max(0.1, self.sight.left)))

    def answered(self) -> None:
        """A usable answer came."""
        super().answered()
        if not self.sight.refused:
            # A refusal is over when the whole conversation went well: another call of it may be what is refused.
            self.went_well()

    def went_well(self) -> None:
        """Tell that the trouble is over, if there was any."""
        if recovered := self.sight.regained():
            self.say(recovered)


def insistently(
    flow: Callable[[Patience], Flow[T]], sight: Sight, say: Callable[[Trouble | Recovered], None]
) -> Flow[T]:
    """Hold a conversation although the service can't be asked, or refuses for a while.

    Args:
        flow: begins it with a patience that waits trouble out. After a refusal it begins anew.
        sight: how long to try.
        say: is told of trouble and of its end.

    Raises:
        OutOfSight: the service could not be asked for too long.
    """
    patience = Insistence(longest=_LONGEST_PAUSE, sight=sight, say=say)
    while True:
        try:
            result = yield from flow(patience)
        except ServiceError as error:
            yield from patience.pause(error)
        except AccountError as error:
            yield from patience.pause(as_refusal(error))
        else:
            patience.went_well()
            return result


async def insist(
    client: AsyncClient,
    flow: Callable[[Patience], Flow[T]],
    sight: Sight,
    say: Callable[[Trouble | Recovered], None],
) -> T:
    """:func:`insistently`, run by a client."""
    return await client.perform(insistently(flow, sight, say))


def tell(log: Any, news: Trouble | Recovered) -> None:
    """Tell in the log of a task that waits."""
    if isinstance(news, Trouble):
        log.warning("The Batch service can't be asked at the moment: %s", news.error)
    else:
        log.info("The Batch service answers again, after %.0f s.", news.seconds)


def patience_without_end() -> Patience:
    """Pauses that grow up to a minute; who uses them knows when to stop."""
    return Patience(seconds=float("inf"), longest=_LONGEST_PAUSE)


def retry_after(error: ServiceError) -> float | None:
    """Seconds that the service asked to wait."""
    return error.retry_after if isinstance(error, ServiceUnavailable) else None
