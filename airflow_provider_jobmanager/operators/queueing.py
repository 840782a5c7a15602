"""The wait of a job that can't be created yet: the quota is used up, or the service gives no usable answer."""

from __future__ import annotations

import random
from typing import Any

from attrs import asdict, define

_SHORTEST_SECONDS = 15.0
_LONGEST_SECONDS = 300.0

_random = random.SystemRandom()


@define
class Queueing:
    """How long a try has been waiting. Travels with the deferral as plain data: no payload, no secret.

    Attributes:
        began: when the try began, seconds since the epoch.
        attempts: how often the job was asked for in vain.
        job_id: the job that was asked for.
        blind_since: since when the service has given no usable answer, seconds since the epoch; None when it does.
    """

    began: float
    attempts: int = 0
    job_id: str = ""
    blind_since: float | None = None

    def pause(self) -> float:
        """Seconds to wait now: growing, and jittered, so that those who wait do not all come back at once."""
        ceiling = min(_LONGEST_SECONDS, _SHORTEST_SECONDS * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return _random.uniform(ceiling / 2, ceiling)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
