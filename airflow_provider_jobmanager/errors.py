"""Everything that can go wrong, and where to catch it.

::

    JobManagerError
    ├── ConfigurationError (ValueError)  an argument or a connection is wrong: nothing was sent
    │   ├── PayloadError                 the task or job to create breaks rules; carries every ValidationError
    │   ├── AccountError                 the connection can't be used; names the field
    │   └── DeserializationError         a text or mapping is not the object it should be
    ├── ServiceError                     a request to the Batch service did not give what was asked
    │   ├── ServiceRefused               the service said no: status, code, values
    │   └── ServiceUnavailable           no usable answer: network, 408, 429, 5xx. Trying again may help
    ├── ResultError                  the job succeeded; its result file could not be taken up
    ├── NotOurJob                        a job of that id exists and does not carry our ownership mark
    ├── JobIdUsed                        a job of that id is this task's own, from an earlier try, and over
    └── JobOutcomeError                  the job ended, and not well; carries the verdict
        ├── JobFailed
        ├── JobTimedOut
        ├── JobCancelled
        └── JobLost

Decide on attributes (``ServiceRefused.code``, ``JobOutcomeError.verdict``), never on a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_jobmanager.batch.report import Report
    from airflow_provider_jobmanager.batch.verdict import Verdict


class JobManagerError(Exception):
    """Base of every error this provider raises on purpose."""


class ConfigurationError(JobManagerError, ValueError):
    """What the user handed in can't work; the message says what, where and what to do."""


class PayloadError(ConfigurationError):
    """The task or job to create breaks rules of the Batch service.

    Attributes:
        errors: every broken rule, in the order of the fields.
    """

    def __init__(self, what: str, errors: Sequence[Any]) -> None:
        self.what = what
        self.errors = tuple(errors)
        lines = "\n".join(f"  - {error}" for error in self.errors)
        super().__init__(f"{what} can't be sent to the Batch service:\n{lines}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.errors)


class AccountError(ConfigurationError):
    """The Airflow connection can't be used for an account; the message names the connection and the field."""


class DeserializationError(ConfigurationError):
    """A text or mapping does not describe the object that was asked for."""


class ServiceError(JobManagerError):
    """A request to the Batch service did not give what was asked."""


class ServiceRefused(ServiceError):  # noqa: N818 - reads as what happened
    """The Batch service answered with an error.

    Attributes:
        status: HTTP status.
        code: the service's own error code, such as ``JobNotFound``; empty when the answer had none (HEAD, gateways).
        message: the service's text, without its request id.
        values: the error's ``values`` as a mapping, such as ``{"Reason": ...}``.
        request_id: what Azure support asks for.
        request: what was asked.
        hint: what to change, where that is known.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str = "",
        message: str = "",
        values: Mapping[str, str] | None = None,
        request_id: str = "",
        request: str = "",
        hint: str = "",
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.values = dict(values or {})
        self.request_id = request_id
        self.request = request
        self.hint = hint
        detail = "; ".join(f"{name}: {value}" for name, value in self.values.items())
        parts = [f"{request}: " if request else "", f"HTTP {status} {code}".rstrip(), f": {message}" if message else ""]
        if detail:
            parts.append(f" ({detail})")
        if request_id:
            parts.append(f" [request id {request_id}]")
        if hint:
            parts.append(f" {hint}")
        super().__init__("".join(parts))

    def with_hint(self, hint: str) -> ServiceRefused:
        """The same refusal, and what to change."""
        return self._changed(hint=hint)

    def without_id(self) -> ServiceRefused:
        """The same refusal without the id of the request, which differs each time."""
        return self._changed(request_id="")

    def _changed(self, **changes: Any) -> ServiceRefused:
        changed = type(self)(**{**self._said(), **changes})
        changed.__dict__.update(self._notes())
        return changed

    def _said(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "__notes__"}

    def _notes(self) -> dict[str, Any]:
        """What ``add_note`` left among the attributes."""
        return {"__notes__": list(self.__dict__["__notes__"])} if "__notes__" in self.__dict__ else {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_refused, (type(self), self._said()), self._notes()


def _rebuild_refused(cls: type[ServiceRefused], state: dict[str, Any]) -> ServiceRefused:
    return cls(**state)


class ServiceUnavailable(ServiceError):  # noqa: N818
    """No usable answer came: network, time-out, 408, 429 or 5xx. The request may have been carried out.

    Attributes:
        status: HTTP status, None when there was no answer at all.
        code: the service's error code when it gave one (``ServerBusy``, ``TooManyRequests``).
        retry_after: seconds that the service asked to wait, None when it did not say.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", retry_after: float | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.retry_after = retry_after
        super().__init__(message)


class ResultError(JobManagerError):
    """The job succeeded, but its result file is missing, too large, unreadable or no JSON; the message says which."""


class NotOurJob(JobManagerError):  # noqa: N818
    """A job of this id exists and was not made for this task; nothing was done to it.

    Attributes:
        job_id: the job.
        differences: ``(field, expected, found)`` for each part of the ownership mark that differs.
    """

    def __init__(self, job_id: str, differences: Sequence[tuple[str, str | None, str | None]]) -> None:
        self.job_id = job_id
        self.differences = tuple(differences)
        shown = "; ".join(f"{name}: expected {want!r}, found {got!r}" for name, want, got in self.differences)
        super().__init__(
            f"Job {job_id!r} exists already and does not belong to this task ({shown}). "
            "It was left alone. Choose another job_id, or leave job_id out to have one derived."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job_id, self.differences)


class JobIdUsed(JobManagerError):  # noqa: N818
    """The job of this id was made by an earlier try of the same task and can't be gone on with.

    Attributes:
        job_id: the job.
        try_number: the try that made it.
        state: the state it is in.
    """

    def __init__(self, job_id: str, try_number: int, state: str) -> None:
        self.job_id = job_id
        self.try_number = try_number
        self.state = state
        super().__init__(
            f"Job {job_id!r} is the job of try {try_number} of this task, it is {state}, and Batch runs no second job "
            "of the same id. Leave job_id out to have one derived, or put {{ ti.try_number }} into it, so that every "
            "try has its own."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job_id, self.try_number, self.state)


class JobOutcomeError(JobManagerError):
    """The job ended, and not well.

    Attributes:
        verdict: how it ended and why.
        report: what was found about it: last lines of its output, failed children, a hint. None when nobody looked.
    """

    def __init__(self, verdict: Verdict, message: str | None = None, report: Report | None = None) -> None:
        self.verdict = verdict
        self.message = message or verdict.summary()
        self.report = report
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.verdict, self.message, self.report)


class JobFailed(JobOutcomeError):  # noqa: N818
    """The job manager, a child that counts, or the start of the job failed."""


class JobTimedOut(JobOutcomeError):  # noqa: N818
    """A wall clock ran out: the job's own, or the task's deadline in Airflow."""


class JobCancelled(JobOutcomeError):  # noqa: N818
    """Somebody ended the job before its manager was through."""


class JobLost(JobOutcomeError):  # noqa: N818
    """The job was deleted while it was followed, or was never there."""
