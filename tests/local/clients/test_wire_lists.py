"""Recorded traffic of the service against this one: lists, conditions and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_jobmanager.local import formats
from tests.local.clients.traffic import NOWHERE, SERVICE_TIME, check_framing, job, task

if TYPE_CHECKING:
    from tests.local.wire import Wire


# -- lists


def test_pages_link_to_each_other(wire: Wire):
    for name in ("b", "A", "c"):
        job(wire, name)

    first = wire.get("/jobs?maxresults=1&$select=id")
    link = urlsplit(first["odata.nextLink"])
    second = wire.get(f"{link.path}?{link.query}")

    assert list(first) == ["odata.metadata", "value", "odata.nextLink"]
    assert first["value"] == [{"id": "A"}]
    assert f"{link.scheme}://{link.netloc}" == wire.batch.url
    assert re.search(
        r"maxresults=1&\$select=id&api-version=2025-06-01&\$skiptoken=WATV2:[A-Za-z0-9+/]+=*:1\$1$", link.query
    )
    assert second["value"] == [{"id": "b"}]
    link = urlsplit(second["odata.nextLink"])
    assert "odata.nextLink" not in (third := wire.get(f"{link.path}?{link.query}"))
    assert third["value"] == [{"id": "c"}]


def test_select_keeps_the_headers_of_a_single_job(wire: Wire):
    job(wire)

    for query in ("$select=id,state", "%24select=id%2Cstate"):
        answer = wire.send("GET", f"/jobs/job?{query}")
        assert {name: value for name, value in answer.json().items() if name != "odata.metadata"} == {
            "id": "job",
            "state": "active",
        }
        assert "etag" in answer.headers
    assert list(wire.get("/jobs?$expand=stats&$select=id,state")["value"][0]) == ["id", "state"]


def test_rows_are_whole_objects(wire: Wire):
    found = job(wire)
    task(wire)

    (row,) = wire.get("/jobs")["value"]
    (task_row,) = wire.get("/jobs/job/tasks")["value"]

    assert row == {name: value for name, value in found.items() if name != "odata.metadata"}
    assert next(iter(task_row)) == "id"
    assert wire.get("/jobs/job/tasks")["odata.metadata"] == f"{wire.batch.url}/$metadata#tasks"


# -- conditions


def test_conditions(wire: Wire):
    found = job(wire)
    past, future = "Mon, 01 Jan 2024 00:00:00 GMT", formats.http_date(formats.parse_timestamp("2099-01-01T00:00:00Z"))

    def status(method: str, **headers: str) -> int:
        return wire.send(method, "/jobs/job", {"priority": 1} if method == "PATCH" else None, **headers).status_code

    assert status("GET", if_match=found["eTag"]) == 200
    assert status("GET", if_match="0x0") == 412
    assert status("GET", if_none_match=found["eTag"]) == 304
    assert status("GET", if_none_match="0x0") == 200
    assert status("GET", if_modified_since=past) == 200
    assert status("GET", if_modified_since=future) == 304
    assert status("PATCH", if_unmodified_since=past) == 412
    assert status("PATCH", if_match="0x0") == 412
    assert status("PATCH", if_unmodified_since=future) == 200
    assert status("PATCH", if_match=found["eTag"]) == 412
    not_modified = wire.send("GET", "/jobs/job", if_none_match="*")
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert wire.send("GET", "/jobs/job", if_unmodified_since="soon").json()["code"] == "InvalidHeaderValue"


# -- errors

ERRORS: list[tuple[str, str, Any, int, str, str, list[str]]] = [
    (
        "GET",
        "/pools?maxresults=-5",
        None,
        400,
        "InvalidQueryParameterValue",
        "Value for one of the query parameters specified in the request URI is invalid.",
        ["QueryParameterName", "QueryParameterValue", "Reason"],
    ),
    ("GET", "/jobs/nope", None, 404, "JobNotFound", "The specified job does not exist.", []),
    ("GET", "/jobs/job/tasks/nope", None, 404, "TaskNotFound", "The specified task does not exist.", []),
    ("GET", "/jobs/nope/tasks/nope", None, 404, "JobNotFound", "The specified job does not exist.", []),
    ("GET", "/pools/nope", None, 404, "PoolNotFound", "The specified pool does not exist.", []),
    ("POST", "/jobs", {"id": "JOB", **NOWHERE}, 409, "JobExists", "The specified job already exists.", []),
    (
        "POST",
        "/jobs/job/tasks",
        {"id": "T", "commandLine": "x"},
        409,
        "TaskExists",
        "The specified task already exists.",
        [],
    ),
    (
        "POST",
        "/jobs/job/tasks",
        {"id": "a b", "commandLine": "x"},
        400,
        "InvalidPropertyValue",
        "The value provided for one of the properties in the request body is invalid.",
        ["PropertyName", "PropertyValue", "Reason"],
    ),
    (
        "POST",
        "/jobs/done/tasks",
        {"id": "x", "commandLine": "x"},
        409,
        "JobCompleted",
        "The specified job is already in a completed state.",
        [],
    ),
    (
        "POST",
        "/jobs/done/terminate",
        None,
        409,
        "JobCompleted",
        "The specified job is already in a completed state.",
        [],
    ),
    (
        "POST",
        "/jobs/job/tasks/ended/terminate",
        None,
        409,
        "TaskCompleted",
        "The specified task is already in a completed state.",
        [],
    ),
    (
        "GET",
        "/jobs/job/jobpreparationandreleasetaskstatus",
        None,
        409,
        "JobPreparationTaskOrReleaseTaskNotSpecified",
        "The specified job does not have job preparation task or job release task.",
        [],
    ),
    (
        "GET",
        "/jobs/job/tasks/t/files",
        None,
        409,
        "OperationInvalidForCurrentState",
        "The specified operation is not valid for the current state of the resource.",
        ["Reason"],
    ),
    (
        "GET",
        "/jobs?api-version=1999-01-01",
        None,
        400,
        "UnsupportedRequestVersion",
        "The specified request version is not supported.",
        ["Version", "Reason"],
    ),
    (
        "POST",
        "/jobs",
        b"{",
        400,
        "InvalidRequestBody",
        "The specified Request Body is not syntactically valid.",
        ["Reason"],
    ),
    (
        "POST",
        "/jobs/job/addtaskcollection",
        b'{"value":[{"id":"x","commandLine":"' + b"x" * 1_100_000 + b'"}]}',
        413,
        "RequestBodyTooLarge",
        "The request body is too large and exceeds the maximum permissible limit.",
        ["MaxLimit"],
    ),
]


@pytest.mark.parametrize("row", ERRORS, ids=[row[4] for row in ERRORS])
def test_errors(wire: Wire, row: tuple[str, str, Any, int, str, str, list[str]]):
    method, path, body, status, code, text, values = row
    job(wire)
    task(wire)
    task(wire, "ended")
    wire.must("POST", "/jobs/job/tasks/ended/terminate")
    job(wire, "done")
    wire.must("POST", "/jobs/done/terminate")
    wire.until_state("/jobs/done", "completed")

    answer = wire.send(method, path, body)

    found = answer.json()
    assert (answer.status_code, found["code"]) == (status, code), answer.text
    check_framing(answer)
    assert "etag" not in answer.headers
    assert list(found) == ["odata.metadata", "code", "message", *(["values"] if values else [])]
    assert found["odata.metadata"] == (
        f"{wire.batch.url}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"
    )
    assert found["message"]["lang"] == "en-US"
    first, request_id, moment = found["message"]["value"].split("\n")
    assert first == text
    assert request_id == f"RequestId:{answer.headers['request-id']}"
    assert re.fullmatch(rf"Time:{SERVICE_TIME.pattern}", moment)
    assert [entry["key"] for entry in found.get("values", [])] == values


def test_a_wrong_key_is_403_and_shows_the_string_to_sign(wire: Wire):
    answer = wire.client.get(
        "/jobs?api-version=2025-06-01",
        headers={
            "Authorization": f"SharedKey {wire.batch.account}:d3Jvbmc=",
            "ocp-date": formats.http_date(formats.parse_timestamp("2099-01-01T00:00:00Z")),
        },
    )
    late = answer.json()

    assert (answer.status_code, late["code"]) == (403, "AuthenticationFailed")
    assert late["values"][0]["key"] == "AuthenticationErrorDetail"
    assert late["message"]["value"].startswith("Server failed to authenticate the request.")


def test_a_head_of_what_is_not_there_has_no_body(wire: Wire):
    answer = wire.send("HEAD", "/pools/nope")

    assert (answer.status_code, answer.content) == (404, b"")
    assert "content-type" not in answer.headers
    assert "content-length" not in answer.headers


def test_numbers_and_booleans_in_quotes_will_do(wire: Wire):
    found = job(wire, priority="3", usesTaskDependencies="true")

    assert (found["priority"], found["usesTaskDependencies"]) == (3, True)
    assert wire.send("PATCH", "/jobs/job", {"priority": "high"}).json()["code"] == "InvalidRequestBody"
