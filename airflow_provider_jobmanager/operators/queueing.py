"""The wait of a job that can't be created yet because the account has as many active jobs as it may have."""

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
        attempts: how often the service has said that its quota is reached.
        job_id: the job that was asked for.
    """

    began: float
    attempts: int = 0
    job_id: str = ""

    def pause(self) -> float:
        """Seconds to wait now: growing, and jittered, so that those who wait do not all come back at once."""
        ceiling = min(_LONGEST_SECONDS, _SHORTEST_SECONDS * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return _random.uniform(ceiling / 2, ceiling)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
