from __future__ import annotations

import pickle

import pytest

from airflow_provider_jobmanager.local import errors
from airflow_provider_jobmanager.local.errors import BatchError, refuse

# The documentation's table, and what recorded traffic adds to it, written out a second time.
EXPECTED = {
    400: """MissingRequiredHeader MissingRequiredProperty UnsupportedHeader UnsupportedProperty InvalidHeaderValue
        InvalidPropertyValue MissingRequiredQueryParameter UnsupportedQueryParameter InvalidQueryParameterValue
        OutOfRangeQueryParameterValue RequestUrlFailedToParse InvalidUri InvalidHttpVerb EmptyMetadataKey
        InvalidRequestBody OutOfRangeInput InvalidAuthenticationInfo InvalidInput InvalidMetadata MetadataTooLarge
        MultipleConditionHeadersNotSupported UnsupportedRequestVersion TaskDependenciesNotSpecifiedOnJob
        TaskDependencyListTooLong TaskDependencyRangesTooLong InvalidAutoScalingSettings
        AutoScalingFormulaSyntaxError AutoScalingFormulaTooLong OutOfRangePriority InvalidConstraintValue
        UnsupportedConstraint""",
    403: "AuthenticationFailed InsufficientAccountPermissions AccountIsDisabled IOError Forbidden",
    404: """ResourceNotFound PoolNotFound NodeNotFound JobNotFound TaskNotFound FileNotFound PathNotFound
        JobScheduleNotFound NodeUserNotFound ApplicationNotFound JobPreparationTaskNotRunOnNode
        JobReleaseTaskNotRunOnNode""",
    405: "UnsupportedHttpVerb",
    409: """JobExists TaskExists PoolExists JobScheduleExists JobWithSameIdExists JobScheduleWithSameIdExists
        JobCompleted JobBeingTerminated JobBeingDeleted JobDisabled JobNotActive TaskCompleted TaskNotCompleted
        TaskSucceeded ActiveJobAndScheduleQuotaReached PoolQuotaReached OperationInvalidForCurrentState
        TaskFilesUnavailable TaskFilesCleanedup PoolBeingDeleted PoolBeingResized PoolBeingCreated NodeBeingCreated
        NodeBeingStarted NodeBeingRebooted NodeBeingReimaged NodeStateUnusable NodeNotReady
        NodeAlreadyInTargetSchedulingState JobPreparationTaskOrReleaseTaskNotSpecified
        TaskIdSameAsJobPreparationTask TaskIdSameAsJobReleaseTask InvalidApplicationPackageReferences
        OperationNotValidOnNode OperationNotValidOnPool JobScheduleBeingTerminated JobScheduleBeingDeleted
        JobScheduleDisabled JobScheduleCompleted""",
    411: "MissingContentLengthHeader",
    412: "ConditionNotMet",
    413: "RequestBodyTooLarge",
    416: "InvalidRange",
    429: "TooManyRequests",
    500: "InternalError OperationTimedOut",
    501: "NotImplemented",
    503: "ServerBusy TooManyEnableAutoScaleRequests",
}
RECORDED = {
    "InvalidPropertyValue": "The value provided for one of the properties in the request body is invalid.",
    "Forbidden": "Access is Forbidden",
    "JobNotFound": "The specified job does not exist.",
    "TaskNotFound": "The specified task does not exist.",
    "JobScheduleNotFound": "The specified job schedule does not exist.",
    "PoolNotFound": "The specified pool does not exist.",
    "PoolExists": "The specified pool already exists.",
    "PoolBeingDeleted": "The specified pool has been marked for deletion and is being reclaimed.",
    "TaskCompleted": "The specified task is already in a completed state.",
    "UnsupportedProperty": "One of the properties specified in the request body is not supported.",
    "ConditionNotMet": "The condition specified using HTTP conditional header(s) is not met.",
    "RequestBodyTooLarge": "The request body is too large and exceeds the maximum permissible limit.",
    "OperationInvalidForCurrentState": ("The specified operation is not valid for the current state of the resource."),
    "NodeNotReady": "Node is not able to perform the requested operations in its current state.",
}


def test_the_table_is_the_documented_one_and_what_the_wire_adds():
    expected = {code: status for status, codes in EXPECTED.items() for code in codes.split()}

    assert {code: row.status for code, row in errors.ERRORS.items()} == expected


def test_names_the_wire_does_not_use_are_not_in_the_table():
    wrong = {"RequestEntityTooLarge", "JobPreparationTaskNotSpecified", "JobReleaseTaskNotSpecified", "JobTerminating"}

    assert not wrong & set(errors.ERRORS)


@pytest.mark.parametrize("code", RECORDED)
def test_recorded_texts(code: str):
    assert errors.ERRORS[code].text == RECORDED[code]


def test_texts_are_one_line_since_they_become_the_reason_phrase():
    assert all("\n" not in row.text and row.text.isascii() for row in errors.ERRORS.values())


def test_refuse_takes_values_as_pairs_or_mapping():
    pairs = refuse("InvalidPropertyValue", values=[("PropertyName", "x"), ("PropertyValue", None)])
    mapping = refuse("Forbidden", values={"Reason": "no"})

    assert (pairs.status, pairs.values) == (400, [("PropertyName", "x"), ("PropertyValue", None)])
    assert (mapping.status, mapping.values) == (403, [("Reason", "no")])


def test_two_codes_have_a_second_status():
    assert refuse("AuthenticationFailed").status == 403
    assert "including the signature" in refuse("AuthenticationFailed").message
    entra = refuse("AuthenticationFailed", status=401)
    assert entra.status == 401
    assert "signature" not in entra.message
    assert refuse("ConditionNotMet").status == 412
    assert refuse("ConditionNotMet", status=304).status == 304


def test_a_code_that_is_not_in_the_table_is_a_mistake_of_ours():
    with pytest.raises(KeyError):
        refuse("JobTerminating")
    with pytest.raises(KeyError):
        refuse("JobNotFound", status=410)


def test_helpers_name_what_was_wrong():
    assert errors.invalid_query("maxresults", "-5", "too small").values == [
        ("QueryParameterName", "maxresults"),
        ("QueryParameterValue", "-5"),
        ("Reason", "too small"),
    ]
    assert errors.invalid_property("id", None, "no").values[1] == ("PropertyValue", None)
    refusal = errors.not_emulated("Remote desktop", "Use a shell.")
    assert refusal.status == 501
    assert refusal.values == [("Reason", "Remote desktop is not emulated by the local Batch service. Use a shell.")]


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(refuse("JobExists", values={"a": "b"}, text="other")))

    assert isinstance(error, BatchError)
    assert (error.status, error.code, error.message, error.values) == (409, "JobExists", "other", [("a", "b")])
