"""Jobs of an account in a dictionary: enough of the service for conversations to be had with it, one call at a time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch.calls import Answer, Call, Pause
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Job = dict[str, Any]


def refused(status: int, code: str) -> ServiceRefused:
    return ServiceRefused(status=status, code=code)


class FakeService:
    """Carries calls out.

    Attributes:
        jobs: by id in lower case.
        quota: active jobs that the account may have.
        log: what was asked for.
        before: called with each call before it is carried out.
    """

    def __init__(self, *, quota: int = 1000) -> None:
        self.jobs: dict[str, Job] = {}
        self.quota = quota
        self.log: list[str] = []
        self.created = 0
        self.before: Callable[[Call], None] = lambda call: None

    @property
    def active(self) -> list[Job]:
        return [job for job in self.jobs.values() if job["state"] == "active"]

    def handle(self, call: Call) -> Answer:
        self.log.append(str(call))
        self.before(call)
        parts = call.path.strip("/").split("/")
        if (call.method, call.path) == ("POST", "/jobs"):
            return self._create(call.json)
        if (call.method, call.path) == ("GET", "/jobs"):
            return Answer(200, {}, self._list(call.params.get("$filter")))
        job = self.jobs.get(parts[1].lower())
        if job is None:
            raise refused(404, "JobNotFound")
        if call.method == "GET" and len(parts) == 2:
            return Answer(200, {}, dict(job))
        if call.method == "GET" and parts[2] == "tasks":
            return Answer(200, {}, dict(job["_manager"]))
        if call.method == "DELETE":
            del self.jobs[parts[1].lower()]
            return Answer(202, {})
        assert parts[2] == "terminate"
        if job["state"] == "completed":
            raise refused(409, "JobCompleted")
        self.end(parts[1], call.json["terminateReason"])
        return Answer(202, {})

    def end(self, job_id: str, reason: str, *, exit_code: int | None = None, state: str = "completed") -> None:
        """Let a job end: by its manager with an exit code, or from outside."""
        job = self.jobs[job_id.lower()]
        job["state"] = state
        job["executionInfo"] = {"terminateReason": reason}
        if exit_code is not None:
            result = "success" if exit_code == 0 else "failure"
            job["_manager"] |= {"state": "completed", "executionInfo": {"exitCode": exit_code, "result": result}}

    def _create(self, body: Any) -> Answer:
        if body["id"].lower() in self.jobs:
            raise refused(409, "JobExists")
        if len(self.active) >= self.quota:
            raise refused(409, "ActiveJobAndScheduleQuotaReached")
        self.created += 1
        self.jobs[body["id"].lower()] = {
            "id": body["id"],
            "state": "active",
            "creationTime": f"2026-01-01T00:00:{self.created:02d}Z",
            "metadata": body["metadata"],
            "jobManagerTask": {"id": "jobmanager"},
            "_manager": {"id": "jobmanager", "state": "running", "executionInfo": {}},
        }
        return Answer(201, {})

    def _list(self, condition: str | None) -> list[Job]:
        found = re.search(r"startswith\(id,'(.*)'\)", condition or "")
        prefix = found[1].lower() if found else ""
        over = "" if "state ne 'completed'" not in (condition or "") else "completed"
        return [dict(job) for key, job in sorted(self.jobs.items()) if key.startswith(prefix) and job["state"] != over]


class Conversation:
    """A flow that is taken one call at a time, and may be left hanging for ever."""

    def __init__(self, flow: Generator[Any, Any, Any], service: FakeService) -> None:
        self.flow = flow
        self.service = service
        self.result: Any = None
        self.paused = 0.0
        self._started = False
        self._answer: Answer | ServiceError | None = None
        self.over = False

    def step(self, *, lost: bool = False, unsent: bool = False) -> None:
        """Hand the last answer in and carry out the next call; ``lost`` and ``unsent`` lose its answer, or it."""
        self.over = True  # unless it wants something more
        try:
            if isinstance(self._answer, ServiceError):
                wanted = self.flow.throw(self._answer)
            else:
                wanted = self.flow.send(self._answer) if self._started else next(self.flow)
        except StopIteration as end:
            self.result = end.value
            return
        self.over, self._started = False, True
        self._answer = None
        if isinstance(wanted, Pause):
            self.paused += wanted.seconds
            return
        if unsent:
            self._answer = ServiceUnavailable("nothing came through")
            return
        try:
            self._answer = self.service.handle(wanted)
        except ServiceError as error:
            self._answer = error
        if lost:
            self._answer = ServiceUnavailable("the answer was lost")

    def finish(self) -> Any:
        """To the end."""
        while not self.over:
            self.step()
        return self.result


def perform(flow: Generator[Any, Any, Any], service: FakeService) -> Any:
    """Have a whole conversation."""
    return Conversation(flow, service).finish()
