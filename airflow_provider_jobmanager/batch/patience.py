"""How long, and how, to put up with a service that gives no usable answer.

The Batch documentation advises clients to retry for at least five minutes
(https://learn.microsoft.com/azure/batch/best-practices); the SDK's own policy gives up after about five seconds.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import define, field

from airflow_provider_jobmanager.batch.calls import Answer, Call, Flow, Pause
from airflow_provider_jobmanager.errors import ServiceError, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

LONGEST_ASKED = 900.0
"""Seconds of a ``Retry-After`` that are honoured; whoever asks for more is asked again sooner."""

_random = random.SystemRandom()


@define
class Patience:
    """A budget of waiting, shared by the requests of one conversation.

    Attributes:
        seconds: how long to wait in all before giving up.
        longest: the longest single pause in seconds, unless the service asks for a longer one.
        waited: seconds spent so far.
        attempts: pauses since the last success.
    """

    seconds: float = 300.0
    longest: float = 30.0
    waited: float = field(default=0.0, init=False)
    attempts: int = field(default=0, init=False)

    def pause(self, cause: ServiceError) -> Generator[Pause, object, None]:
        """Wait a little longer than the last time, or raise ``cause`` when the budget is spent.

        The pause is drawn between half and the whole of an exponentially growing time, so that many that failed
        together do not come back together; ``Retry-After`` is a lower bound.
        """
        if self.waited >= self.seconds:
            raise cause
        seconds = self.next_pause(getattr(cause, "retry_after", None))
        seconds = min(seconds, max(self.seconds - self.waited, 0.1))
        self.waited += seconds
        yield Pause(seconds)

    def answered(self) -> None:
        """A usable answer came: the next pause is a short one again."""
        self.attempts = 0

    def next_pause(self, retry_after: float | None = None) -> float:
        """Seconds to wait now."""
        ceiling = min(self.longest, 0.5 * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return max(_random.uniform(ceiling / 2, ceiling), min(retry_after or 0.0, LONGEST_ASKED))


def patiently(call: Call, patience: Patience, check: Callable[[Any], None] | None = None) -> Flow[Answer]:
    """Make a call, again and again while no usable answer comes, within the patience.

    Only for calls that may be carried out twice without harm.

    Args:
        call: the call.
        patience: how long.
        check: raises ServiceUnavailable for data that is no usable answer (:mod:`.shapes`).
    """
    while True:
        try:
            answer = yield call
            if answer is None:
                raise TypeError(f"{call} was sent no answer")
            if check is not None:
                _check(call, answer, check)
        except ServiceUnavailable as trouble:
            yield from patience.pause(trouble)
        else:
            patience.answered()
            return answer


def _check(call: Call, answer: Answer, check: Callable[[Any], None]) -> None:
    try:
        check(answer.data)
    except ServiceUnavailable as odd:
        raise ServiceUnavailable(f"{call}: {odd}", status=answer.status) from None
