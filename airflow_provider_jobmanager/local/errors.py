"""Every error this service can answer with, in one table.

Codes, statuses and texts follow the *Batch Status and Error Codes* page of the REST reference
(learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes). Where recorded traffic of the service says
otherwise, the traffic wins: ``RequestBodyTooLarge`` has another text there, and a job without preparation and release
task answers ``JobPreparationTaskOrReleaseTaskNotSpecified``, a code no page knows.

Rules raise :func:`refuse`; one place of the server turns the :class:`BatchError` into a status and a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Values = Sequence[tuple[str, str | None]] | Mapping[str, str | None]


class Row(NamedTuple):
    """What the service says under one code.

    Attributes:
        status: HTTP status.
        text: first line of the message. The service has it as HTTP reason phrase too; here that is the usual one of
            the status, as an ASGI application has no say in it.
    """

    status: int
    text: str


class BatchError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        code: the service's error code.
        message: the text, without request id and time: those belong to the answer, not to the error.
        values: ``(key, value)`` pairs; a value of None leaves the member ``value`` out, as the service does.
    """

    def __init__(self, status: int, code: str, message: str, values: Values = ()) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.values: list[tuple[str, str | None]] = list(values.items() if isinstance(values, Mapping) else values)
        super().__init__(f"{status} {code}: {message}")

    def __reduce__(self) -> tuple[type[BatchError], tuple[int, str, str, list[tuple[str, str | None]]]]:
        return type(self), (self.status, self.code, self.message, self.values)


ERRORS: dict[str, Row] = {
    # -- the request itself
    "MissingRequiredHeader": Row(400, "A required HTTP header was not specified."),
    "MissingRequiredProperty": Row(400, "A required property was not specified in the request body."),
    "MissingRequiredQueryParameter": Row(400, "A required query parameter was not specified for this request."),
    "UnsupportedHeader": Row(400, "One of the HTTP headers specified in the request is not supported."),
    "UnsupportedProperty": Row(400, "One of the properties specified in the request body is not supported."),
    "UnsupportedQueryParameter": Row(400, "One of the query parameters specified in the request URI is not supported."),
    "UnsupportedConstraint": Row(400, "One of the constraints specified is not supported."),
    "UnsupportedRequestVersion": Row(400, "The specified request version is not supported."),
    "InvalidHeaderValue": Row(400, "The value provided for one of the HTTP headers was not in the correct format."),
    "InvalidPropertyValue": Row(400, "The value provided for one of the properties in the request body is invalid."),
    "InvalidQueryParameterValue": Row(
        400, "Value for one of the query parameters specified in the request URI is invalid."
    ),
    "OutOfRangeQueryParameterValue": Row(
        400, "A query parameter specified in the request URI is outside the permissible range."
    ),
    "OutOfRangeInput": Row(400, "One of the request inputs is out of range."),
    "OutOfRangePriority": Row(400, "The priority specified is out of range."),
    "InvalidConstraintValue": Row(400, "The value provided for one of the constraints is invalid."),
    "InvalidInput": Row(400, "One of the request inputs is not valid."),
    "InvalidRequestBody": Row(400, "The specified Request Body is not syntactically valid."),
    "InvalidUri": Row(400, "The requested URI does not represent any resource on the server."),
    "InvalidHttpVerb": Row(400, "The HTTP verb specified was not recognized by the server."),
    "RequestUrlFailedToParse": Row(400, "The url in the request could not be parsed."),
    "InvalidAuthenticationInfo": Row(
        400,
        "The authentication information was not provided in the correct format. "
        "Verify the value of Authorization header.",
    ),
    "EmptyMetadataKey": Row(400, "The key for one of the metadata key-value pairs is empty."),
    "InvalidMetadata": Row(400, "The specified metadata is invalid. It includes characters that are not permitted."),
    "MetadataTooLarge": Row(400, "The size of the specified metadata exceeds the maximum size permitted."),
    "MultipleConditionHeadersNotSupported": Row(400, "Multiple condition headers are not supported."),
    "TaskDependenciesNotSpecifiedOnJob": Row(
        400,
        "A task was specified as depending on other tasks, but the job did not specify that it would use task "
        "dependencies.",
    ),
    "TaskDependencyListTooLong": Row(
        400, "A task was specified as depending on other tasks, but the list of dependencies was too long to be stored."
    ),
    "TaskDependencyRangesTooLong": Row(
        400,
        "A task was specified as depending on multiple ranges of task ids, and the list of ranges was too long to be "
        "stored.",
    ),
    "InvalidAutoScalingSettings": Row(400, "The specified auto-scaling settings are not valid."),
    "AutoScalingFormulaSyntaxError": Row(400, "The specified auto-scaling formula has a syntax error."),
    "AutoScalingFormulaTooLong": Row(400, "The specified auto-scaling formula exceeds lengths limit."),
    # -- who asks
    "AuthenticationFailed": Row(
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature.",
    ),
    "InsufficientAccountPermissions": Row(
        403, "The account being accessed does not have sufficient permissions to execute this operation."
    ),
    "AccountIsDisabled": Row(403, "The specified account is disabled."),
    "Forbidden": Row(403, "Access is Forbidden"),
    "IOError": Row(403, "An I/O error occurred when accessing the specified resource."),
    # -- what is not there
    "ResourceNotFound": Row(404, "The specified resource does not exist."),
    "PoolNotFound": Row(404, "The specified pool does not exist."),
    "NodeNotFound": Row(404, "The specified node does not exist."),
    "JobNotFound": Row(404, "The specified job does not exist."),
    "JobScheduleNotFound": Row(404, "The specified job schedule does not exist."),
    "TaskNotFound": Row(404, "The specified task does not exist."),
    "FileNotFound": Row(404, "The specified file does not exist."),
    "PathNotFound": Row(404, "The specified path does not exist."),
    "NodeUserNotFound": Row(404, "The specified node user does not exist."),
    "ApplicationNotFound": Row(404, "The specified application does not exist."),
    "JobPreparationTaskNotRunOnNode": Row(404, "The job preparation task did not run on the specified node."),
    "JobReleaseTaskNotRunOnNode": Row(404, "The job release task did not run on the specified node."),
    "UnsupportedHttpVerb": Row(405, "The resource doesn't support the specified HTTP verb."),
    # -- what is in the way
    "OperationInvalidForCurrentState": Row(
        409, "The specified operation is not valid for the current state of the resource."
    ),
    "JobExists": Row(409, "The specified job already exists."),
    "JobScheduleExists": Row(409, "The specified job schedule already exists."),
    "JobWithSameIdExists": Row(
        409, "A job with the specified job schedule id exists. Job and job schedule cannot have the same id."
    ),
    "JobScheduleWithSameIdExists": Row(
        409, "A job schedule with the specified job id exists. Job and job schedule cannot have the same id."
    ),
    "JobBeingTerminated": Row(409, "The specified job is being terminated."),
    "JobBeingDeleted": Row(409, "The specified job has been marked for deletion and is being garbage collected."),
    "JobDisabled": Row(409, "The specified job is disabled."),
    "JobCompleted": Row(409, "The specified job is already in a completed state."),
    "JobNotActive": Row(409, "The specified job is not in active state."),
    "JobScheduleBeingTerminated": Row(409, "The specified job schedule is being terminated."),
    "JobScheduleBeingDeleted": Row(
        409, "The specified job schedule has been marked for deletion and is being reclaimed."
    ),
    "JobScheduleDisabled": Row(409, "The specified job schedule is disabled."),
    "JobScheduleCompleted": Row(409, "The specified job schedule is already in completed state."),
    "JobPreparationTaskOrReleaseTaskNotSpecified": Row(
        409, "The specified job does not have job preparation task or job release task."
    ),
    "TaskExists": Row(409, "The specified task already exists."),
    "TaskCompleted": Row(409, "The specified task is already in a completed state."),
    "TaskNotCompleted": Row(
        409,
        "The specified task is not in a completed state, and the requested operation can be performed only on "
        "completed tasks.",
    ),
    "TaskSucceeded": Row(
        409,
        "The specified task has already completed successfully, and the requested operation cannot be performed on "
        "successful tasks.",
    ),
    "TaskFilesUnavailable": Row(409, "The files of the specified task are unavailable."),
    "TaskFilesCleanedup": Row(409, "The files of the specified task are cleanedup."),
    "TaskIdSameAsJobPreparationTask": Row(409, "The specified task id is same as the job preparation task."),
    "TaskIdSameAsJobReleaseTask": Row(409, "The specified task id is same as the job release task."),
    "ActiveJobAndScheduleQuotaReached": Row(409, "Active job and schedule quota for the account has been reached."),
    "PoolExists": Row(409, "The specified pool already exists."),
    "PoolBeingCreated": Row(409, "The specified pool is being created."),
    "PoolBeingResized": Row(409, "The specified pool is being resized."),
    "PoolBeingDeleted": Row(409, "The specified pool has been marked for deletion and is being reclaimed."),
    "PoolQuotaReached": Row(409, "Pool quota for the account has been reached."),
    "NodeBeingCreated": Row(409, "The specified node is being created."),
    "NodeBeingStarted": Row(409, "The specified node is being started."),
    "NodeBeingRebooted": Row(409, "The specified node is being rebooted."),
    "NodeBeingReimaged": Row(409, "The specified node is being reimaged."),
    "NodeStateUnusable": Row(409, "The state of the specified node is unusable."),
    "NodeAlreadyInTargetSchedulingState": Row(409, "The specified node is already in the target scheduling state."),
    # Not in the documentation; its status was reported nowhere, its documented siblings are all 409.
    "NodeNotReady": Row(409, "Node is not able to perform the requested operations in its current state."),
    "InvalidApplicationPackageReferences": Row(
        409, "One or more application package references could not be satisfied."
    ),
    "OperationNotValidOnNode": Row(409, "The specified operation is not valid on the node."),
    "OperationNotValidOnPool": Row(409, "The specified operation is not valid on the pool."),
    # -- conditions, sizes, ranges
    "MissingContentLengthHeader": Row(411, "The Content-Length header was not specified."),
    "ConditionNotMet": Row(412, "The condition specified using HTTP conditional header(s) is not met."),
    "RequestBodyTooLarge": Row(413, "The request body is too large and exceeds the maximum permissible limit."),
    "InvalidRange": Row(416, "The range specified is invalid for the current size of the resource."),
    # -- the service itself
    "TooManyRequests": Row(429, "The server encountered too many requests."),
    "InternalError": Row(500, "The server encountered an internal error. Please retry the request."),
    "OperationTimedOut": Row(500, "The operation could not be completed within the permitted time."),
    # Not a code of the real service: what this one does not emulate, it names.
    "NotImplemented": Row(501, "The local Batch service does not emulate this."),
    "ServerBusy": Row(503, "The server is currently unable to receive requests. Please retry your request."),
    "TooManyEnableAutoScaleRequests": Row(503, "Too many Enable Pool AutoScale requests are issued on the pool."),
}
"""Code -> status and text."""

VARIANTS: dict[tuple[str, int], Row] = {
    # A read whose condition does not hold has no body at all; only the status is seen.
    ("ConditionNotMet", 304): Row(304, ERRORS["ConditionNotMet"].text),
    # Microsoft Entra tokens, which carry no signature of the request.
    ("AuthenticationFailed", 401): Row(
        401,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly.",
    ),
}
"""The few codes that mean two things, told apart by their second status."""


def refuse(
    code: str, *, values: Values | None = None, text: str | None = None, status: int | None = None
) -> BatchError:
    """The error of a code, ready to be raised.

    Args:
        code: one of :data:`ERRORS`.
        values: ``(key, value)`` pairs that say what exactly was wrong, such as ``{"Reason": ...}``.
        text: another text than the table's.
        status: picks one of :data:`VARIANTS`, such as 304 for a read whose condition does not hold.

    Raises:
        KeyError: there is no such row: a mistake in this service, not in a request.
    """
    row = ERRORS[code] if status is None or status == ERRORS[code].status else VARIANTS[code, status]
    return BatchError(row.status, code, text or row.text, values or ())


def invalid_property(name: str, value: str | None, reason: str) -> BatchError:
    """400 ``InvalidPropertyValue`` with the three values that the service gives."""
    return refuse("InvalidPropertyValue", values=[("PropertyName", name), ("PropertyValue", value), ("Reason", reason)])


def invalid_query(name: str, value: str, reason: str) -> BatchError:
    """400 ``InvalidQueryParameterValue`` with the three values that the service gives."""
    return refuse(
        "InvalidQueryParameterValue",
        values=[("QueryParameterName", name), ("QueryParameterValue", value), ("Reason", reason)],
    )


def not_emulated(what: str, advice: str = "") -> BatchError:
    """501: the local service knows of ``what`` and does not emulate it."""
    reason = f"{what} is not emulated by the local Batch service."
    return refuse("NotImplemented", values={"Reason": f"{reason} {advice}".rstrip()})
