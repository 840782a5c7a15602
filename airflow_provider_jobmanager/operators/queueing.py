"""The wait of a job that can't be created yet: the quota is used up, or the service gives no usable answer."""

from __future__ import annotations

import random
from typing import Any

from attrs import asdict, define

from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused, ServiceUnavailable

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

    def note(self, job_id: str, error: ServiceError, asked: float) -> None:
        """Note an attempt in vain, which began at ``asked`` (seconds since the epoch)."""
        self.job_id = job_id
        if isinstance(error, ServiceRefused):
            self.blind_since = None
        elif self.blind_since is None:
            self.blind_since = asked

    def pause(self) -> float:
        """Seconds to wait now: growing, and jittered, so that those who wait do not all come back at once."""
        ceiling = min(_LONGEST_SECONDS, _SHORTEST_SECONDS * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return _random.uniform(ceiling / 2, ceiling)

    def end(self, quota_timeout: float, out_of_sight: float) -> float:
        """When to give up, seconds since the epoch; the limits are the operator's, in seconds."""
        return self.began + quota_timeout if self.blind_since is None else self.blind_since + out_of_sight

    def given_up(self, error: ServiceError, quota_timeout: float, out_of_sight: float) -> ServiceError:
        """The error that says so, and what to do."""
        if isinstance(error, ServiceRefused):
            return error.with_hint(
                f"Waited {quota_timeout:g} s for another job of the account to end (quota_timeout). End or delete "
                "active jobs (`jobmanager orphans` lists those that nobody follows any more), or ask for a higher "
                "quota."
            )
        return ServiceUnavailable(
            f"Job {self.job_id!r} could not be submitted within {out_of_sight:g} s (out_of_sight): {error}. It may "
            "have been created all the same and may run: a retry goes on with it, `jobmanager orphans` finds it."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
