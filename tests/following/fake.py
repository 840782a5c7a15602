"""A Batch service in memory with a clock that moves only when a test says so, and the client to it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.batch.calls import Answer
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused
from airflow_provider_jobmanager.poll import Poll
from airflow_provider_jobmanager.sight import Ended, News

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.batch.calls import Call
    from airflow_provider_jobmanager.waiting import Wait

COMPLETED_SINCE = re.compile(r"state eq 'completed' and stateTransitionTime ge DateTime'([^']+)'")


def text(moment: datetime) -> str:
    """As the service spells a time: seven digits, trailing zeros trimmed."""
    whole, digits = moment.strftime("%Y-%m-%dT%H:%M:%S"), f"{moment.microsecond:06d}0".rstrip("0")
    return f"{whole}.{digits}Z" if digits else f"{whole}Z"


@define
class FakeService:
    """Jobs, and the answers about them.

    Attributes:
        now: the service's clock.
        seconds: the clock of this machine, which only grows.
        date_ahead: how far the ``Date`` of answers is ahead of the clock that stamps jobs; None for no ``Date``.
        lists_lag: how old lists are.
        fault: raises or returns an answer of its own for a call; None lets it through.
    """

    now: datetime = datetime(2026, 5, 1, 12, 0, 0, tzinfo=timezone.utc)
    seconds: float = 1000.0
    date_ahead: timedelta | None = timedelta(0)
    lists_lag: timedelta = timedelta(0)
    fault: Callable[[Call], Any] | None = None
    asked: list[str] = field(factory=list)
    slept: list[float] = field(factory=list)
    account: str = "the account"
    sdk: None = None
    _history: list[tuple[datetime, dict[str, dict[str, Any]]]] = field(factory=list)
    _jobs: dict[str, dict[str, Any]] = field(factory=dict)

    # -- the world ---------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds

    def create(self, job_id: str, **more: Any) -> dict[str, Any]:
        created = text(self.now)
        job = {"id": job_id, "state": "active", "creationTime": created, "stateTransitionTime": created, **more}
        self._jobs[job_id.lower()] = job
        self._remember()
        return job

    def move(self, job_id: str, state: str) -> None:
        job = self._jobs[job_id.lower()]
        self._jobs[job_id.lower()] = {**job, "state": state, "stateTransitionTime": text(self.now)}
        self._remember()

    def complete(self, job_id: str) -> None:
        self.move(job_id, "completed")

    def delete(self, job_id: str) -> None:
        del self._jobs[job_id.lower()]
        self._remember()

    def _remember(self) -> None:
        self._history.append((self.now, dict(self._jobs)))

    def _listed(self) -> list[dict[str, Any]]:
        then = self.now - self.lists_lag
        seen = [jobs for at, jobs in self._history if at <= then]
        return list(seen[-1].values()) if seen else []

    # -- the client --------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_time(seconds)

    async def call(self, call: Call) -> Answer:
        kind = "list" if call.pages else "get"
        self.asked.append(f"{kind} {call.params.get('$filter', call.path)}")
        if self.fault is not None and (answer := self.fault(call)) is not None:
            return answer
        return Answer(200, self._headers(), self._rows(call) if call.pages else self._one(call))

    def _headers(self) -> dict[str, str]:
        if self.date_ahead is None:
            return {}
        return {"date": format_datetime((self.now + self.date_ahead).replace(microsecond=0), usegmt=True)}

    def _rows(self, call: Call) -> list[dict[str, Any]]:
        condition = call.params["$filter"]
        if condition == "state ne 'completed'":
            return [job for job in self._listed() if job["state"] != "completed"]
        since = COMPLETED_SINCE.fullmatch(condition)
        assert since, condition
        return [
            job
            for job in self._listed()
            if job["state"] == "completed" and job["stateTransitionTime"].rstrip("Z") >= since[1].rstrip("Z")
        ]

    def _one(self, call: Call) -> dict[str, Any]:
        job = self._jobs.get(call.path.removeprefix("/jobs/").lower())
        if job is None:
            raise ServiceRefused(status=404, code="JobNotFound", request=str(call))
        return job

    # -- the poll ----------------------------------------------------------------------------------------------

    def poll(self) -> Poll:
        return Poll(self, clock=lambda: self.seconds, sleep=self.sleep)

    async def steps(self, poll: Poll, count: int = 1, seconds: float | None = None) -> None:
        """So many ticks, with the pauses that the poll wants or of so many seconds."""
        for _ in range(count):
            pause = await poll.step()
            self.pass_time(pause if seconds is None else seconds)


def heard(wait: Wait) -> list[News]:
    """All news that there are."""
    news, wait._news = wait._news, ()
    return list(news)


def ends(wait: Wait) -> list[Any]:
    """State of the job, or None for gone, of each end that was told."""
    return [None if news.job is None else news.job["state"] for news in heard(wait) if isinstance(news, Ended)]


def always(error: ServiceError) -> Callable[[Call], Any]:
    """A fault that hits everything."""

    def fault(_call: Call) -> Any:
        raise error

    return fault
