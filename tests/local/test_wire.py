"""Statuses, headers and bodies to the letter, as recorded traffic of the service has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local import formats, matrix, routes
from tests.local.wire import POOL, completed, job
from tests.waiting import until

if TYPE_CHECKING:
    import httpx

    from tests.local.wire import Wire

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FORMULA = {"autoScaleFormula": "$TargetDedicatedNodes=2;"}


def check_always(answer: httpx.Response) -> None:
    assert answer.headers["dataserviceversion"] == "3.0"
    assert GUID.fullmatch(answer.headers["request-id"])
    assert answer.headers["server"] == "Microsoft-HTTPAPI/2.0"
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "date" in answer.headers
    assert "client-request-id" not in answer.headers


# method, path, body, status, whether there is an ETag, path of DataServiceId (None: no such header)
ACTIONS = [
    ("GET", "/jobs/Job", None, 200, True, None),
    ("GET", "/jobs", None, 200, False, None),
    ("PATCH", "/jobs/Job", {"priority": 3}, 200, True, "/jobs/Job"),
    ("PUT", "/jobs/Job", POOL, 200, True, "/jobs/Job"),
    ("POST", "/jobs/Job/disable", {"disableTasks": "requeue"}, 202, True, "/jobs/Job/disable"),
    ("POST", "/jobs/Job/terminate", None, 202, True, "/jobs/Job/terminate"),
    ("DELETE", "/jobs/Job", None, 202, False, None),
    ("GET", "/jobs/Job/taskcounts", None, 200, False, None),
    ("POST", "/jobs/Job/tasks", {"id": "New", "commandLine": "true"}, 201, True, "/jobs/Job/tasks/New"),
    ("POST", "/jobs/Job/addtaskcollection", {"value": [{"id": "x", "commandLine": "true"}]}, 200, False, None),
    ("GET", "/jobs/Job/tasks/Task", None, 200, True, None),
    ("GET", "/jobs/Job/tasks", None, 200, False, None),
    ("PUT", "/jobs/Job/tasks/Task", {"constraints": {"maxTaskRetryCount": 2}}, 200, True, "/jobs/Job/tasks/Task"),
    ("POST", "/jobs/Job/tasks/Task/terminate", None, 204, True, "/jobs/Job/tasks/Task/terminate"),
    ("DELETE", "/jobs/Job/tasks/Task", None, 200, False, None),
    ("GET", "/jobs/Job/tasks/Task/subtasksinfo", None, 200, False, None),
    ("GET", "/pools/local", None, 200, True, None),
    ("HEAD", "/pools/local", None, 200, True, None),
    ("GET", "/pools", None, 200, False, None),
    ("POST", "/pools/local/resize", {"targetDedicatedNodes": 2}, 202, True, "/pools/local/resize"),
    ("POST", "/pools/local/enableautoscale", FORMULA, 200, True, "/pools/local/enableautoscale"),
    ("POST", "/pools/local/disableautoscale", None, 200, True, "/pools/local/disableautoscale"),
    ("DELETE", "/pools/local", None, 202, False, None),
    ("GET", "/pools/local/nodes", None, 200, False, None),
    ("GET", "/nodecounts", None, 200, False, None),
    ("GET", "/supportedimages", None, 200, False, None),
    ("GET", "/applications", None, 200, False, None),
    ("GET", "/jobschedules", None, 200, False, None),
]  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action[0]} {action[1]}")
def test_status_and_headers(wire: Wire, action):
    method, path, body, status, tagged, identity = action
    job(wire)
    wire.ask("POST", "/jobs/Job/tasks", {"id": "Task", "commandLine": "sleep 600"})
    answer = wire.ask(method, path, body)
    assert (answer.status_code, answer.text if answer.status_code >= 400 else "") == (status, "")
    check_always(answer)
    assert ("etag" in answer.headers, "last-modified" in answer.headers) == (tagged, tagged)
    assert answer.headers.get("dataserviceid") == (f"{wire.batch.url}{identity}" if identity else None)
    assert ("location" in answer.headers) == (status == 201)
    if status == 204:
        assert answer.headers["content-length"] == "0"
    elif method != "HEAD":
        assert (answer.headers.get("transfer-encoding"), "content-length" in answer.headers) == ("chunked", False)
    if answer.content:
        assert answer.headers["content-type"] == "application/json;odata=minimalmetadata"
        assert answer.content.startswith(b'{\r\n  "odata.metadata":"http')


def test_create_job(wire: Wire):
    answer = job(wire)
    assert (answer.status_code, answer.content) == (201, b"")
    # Whatever the id of the job.
    assert answer.headers["location"] == answer.headers["dataserviceid"] == f"{wire.batch.url}/jobs/job-1"
    read = wire.ask("GET", "/jobs/JOB")
    assert read.headers["etag"] == answer.headers["etag"] == read.json()["eTag"]
    modified = formats.parse_timestamp(read.json()["lastModified"])
    assert (formats.etag(modified), formats.http_date(modified)) == (
        read.headers["etag"],
        read.headers["last-modified"],
    )


def test_a_job_as_it_is_read(wire: Wire):
    manager = {"id": "Manager", "commandLine": "sleep 600", "displayName": "D"}
    job(wire, jobManagerTask=manager, constraints={"maxWallClockTime": "P3Y6M4DT12H30M5S", "maxTaskRetryCount": 2})
    read = wire.ask("GET", "/jobs/Job").json()
    stamp = read["creationTime"]
    assert list(read.items()) == [
        ("odata.metadata", f"{wire.batch.url}/$metadata#jobs/@Element"),
        ("id", "Job"),
        ("url", f"{wire.batch.url}/jobs/Job"),
        ("eTag", read["eTag"]),
        ("lastModified", stamp),
        ("creationTime", stamp),
        ("state", "active"),
        ("stateTransitionTime", stamp),
        ("priority", 0),
        ("maxParallelTasks", -1),
        ("usesTaskDependencies", False),
        ("allowTaskPreemption", False),
        ("constraints", {"maxWallClockTime": "P1279DT12H30M5S", "maxTaskRetryCount": 2}),
        ("jobManagerTask", read["jobManagerTask"]),
        ("poolInfo", {"poolId": "local"}),
        ("executionInfo", {"startTime": stamp, "poolId": "local"}),
        ("onAllTasksComplete", "noaction"),
        ("onTaskFailure", "noaction"),
    ]
    assert list(read["jobManagerTask"].items()) == [
        ("id", "Manager"),
        ("displayName", "D"),
        ("commandLine", "sleep 600"),
        (
            "constraints",
            {"maxWallClockTime": "P10675199DT2H48M5.4775807S", "retentionTime": "P7D", "maxTaskRetryCount": 2},
        ),
        ("requiredSlots", 1),
        ("userIdentity", {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}),
        ("runExclusive", True),
        ("allowLowPriorityNode", True),
        ("killJobOnCompletion", True),
    ]


def test_a_task_as_it_is_read_before_and_after_it_ran(wire: Wire):
    job(wire, poolInfo={"poolId": "later"})
    wire.ask("POST", "/jobs/Job/tasks", {"id": "Task", "commandLine": "/bin/sh -c 'exit 2'"})
    before = wire.ask("GET", "/jobs/Job/tasks/Task").json()
    assert list(before)[1:] == [
        "id", "url", "eTag", "creationTime", "lastModified", "state", "stateTransitionTime", "commandLine",
        "userIdentity", "constraints", "requiredSlots", "executionInfo",
    ]  # fmt: skip
    assert before["executionInfo"] == {"retryCount": 0, "requeueCount": 0}
    wire.ask("POST", "/pools", {"id": "later", "vmSize": "STANDARD_D1", "targetDedicatedNodes": 1})
    after = completed(wire, "/jobs/Job/tasks/Task")
    info = after["executionInfo"]
    assert list(info) == ["startTime", "endTime", "exitCode", "failureInfo", "result", "retryCount", "requeueCount"]
    assert (info["exitCode"], info["result"]) == (2, "failure")
    assert info["failureInfo"] == {
        "category": "UserError",
        "code": "FailureExitCode",
        "message": "The task exited with an exit code representing a failure",
        "details": [
            {"name": "Message", "value": "The task process exited with an unexpected exit code"},
            {"name": "AdditionalErrorCode", "value": "FailureExitCode"},
        ],
    }
    assert (after["eTag"], after["previousState"]) == (before["eTag"], "running")
    node = after["nodeInfo"]
    assert list(node) == ["affinityId", "nodeUrl", "poolId", "nodeId", "taskRootDirectory", "taskRootDirectoryUrl"]
    assert node["taskRootDirectory"] == "workitems/Job/job-1/Task"
    assert re.fullmatch(r"tvmps_[0-9a-f]{64}_d", node["nodeId"])
    assert node["affinityId"] == f"TVM:{node['nodeId']}"
    assert wire.ask("GET", "/pools/later").json()["vmSize"] == "standard_d1"


def test_errors(wire: Wire):
    answer = wire.ask("GET", "/jobs/none")
    assert answer.status_code == 404
    check_always(answer)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "transfer-encoding" not in answer.headers
    body = answer.json()
    assert list(body) == ["odata.metadata", "code", "message"]
    fragment = "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"
    assert body["odata.metadata"] == f"{wire.batch.url}/$metadata#{fragment}"
    lines = body["message"]["value"].split("\n")
    assert lines[:2] == ["The specified job does not exist.", f"RequestId:{answer.headers['request-id']}"]
    assert lines[2].startswith("Time:20")
    head = wire.ask("HEAD", "/pools/none")
    assert (head.status_code, head.content) == (404, b"")
    assert "content-type" not in head.headers
    assert "content-length" not in head.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nonsense", 400, "InvalidUri"),
        ("DELETE", "/jobs", 405, "UnsupportedHttpVerb"),
        ("GET", "/poolusagemetrics", 501, "NotImplemented"),
        ("GET", "/jobs?maxresults=-5", 400, "InvalidQueryParameterValue"),
        ("GET", "/jobs?$filter=nonsense", 400, "InvalidQueryParameterValue"),
        ("GET", "/jobs/Job/jobpreparationandreleasetaskstatus", 409, "JobPreparationTaskOrReleaseTaskNotSpecified"),
        ("GET", "/jobs/Job/tasks/none", 404, "TaskNotFound"),
        ("GET", "/jobschedules/none", 404, "JobScheduleNotFound"),
        ("GET", "/applications/none", 404, "ApplicationNotFound"),
        ("POST", "/jobs/Job/enable", 409, "OperationInvalidForCurrentState"),
    ],
)
def test_refusals(wire: Wire, method: str, path: str, status: int, code: str):
    job(wire)
    answer = wire.ask(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("version", ["2023-05-01.17.0", "2024-02-01.19.0", "2024-07-01.20.0"])
def test_older_versions(wire: Wire, version: str):
    assert wire.ask("GET", "/jobs", version=version).status_code == 200


@pytest.mark.parametrize(
    ("version", "code"), [("2018-03-01.6.1", "UnsupportedRequestVersion"), (None, "MissingRequiredQueryParameter")]
)
def test_other_versions(wire: Wire, version: str | None, code: str):
    answer = wire.ask("GET", "/jobs", version=version)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "InvalidRequestBody"),
        (b"[]", "InvalidRequestBody"),
        (b'{"id": 5, "poolInfo": {"poolId": "local"}}', "InvalidRequestBody"),
        (b'{"id": "a", "poolInfo": {"poolId": "local"}, "nonsense": 1}', "InvalidRequestBody"),
        (b'{"id": "a", "poolInfo": {"poolId": "local"}, "priority": NaN}', "InvalidRequestBody"),
        (b'{"id": "a", "poolInfo": {}, "constraints": {"maxWallClockTime": "1h"}}', "InvalidRequestBody"),
        (b'{"id": "a", "poolInfo": {"poolId": "local"}, "priority": 1001}', "OutOfRangePriority"),
        (b'{"id": "a/b", "poolInfo": {"poolId": "local"}}', "InvalidPropertyValue"),
        (b'{"id": "a", "poolInfo": {}}', "InvalidPropertyValue"),
        (b'{"id": "a"}', "MissingRequiredProperty"),
        (b"[" * 100_000, "InvalidRequestBody"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(wire: Wire, content: bytes, code: str):
    answer = wire.ask("POST", "/jobs", content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_body_beyond_1_mib(wire: Wire):
    job(wire)
    answer = wire.ask("POST", "/jobs/Job/addtaskcollection", content=b" " * 1_048_577)
    assert (answer.status_code, answer.json()["code"]) == (413, "RequestBodyTooLarge")
    assert answer.json()["values"] == [{"key": "MaxLimit", "value": "1048576"}]


def test_the_client_request_id_comes_back_when_it_is_asked_for(wire: Wire):
    headers = {"client-request-id": "mine", "return-client-request-id": "true"}
    assert wire.ask("GET", "/jobs", headers=headers).headers["client-request-id"] == "mine"


def test_conditions(wire: Wire):
    tag = job(wire).headers["etag"]
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert wire.ask("GET", "/jobs/Job", headers={"if-none-match": tag}).status_code == 304
    assert wire.ask("GET", "/jobs/Job", headers={"if-match": tag}).status_code == 200
    assert wire.ask("GET", "/jobs/Job", headers={"if-modified-since": past}).status_code == 200
    answer = wire.ask("PUT", "/jobs/Job", POOL, headers={"if-unmodified-since": past})
    assert (answer.status_code, answer.json()["code"]) == (412, "ConditionNotMet")
    assert wire.ask("DELETE", "/jobs/Job", headers={"if-match": "0x0"}).status_code == 412
    assert wire.ask("DELETE", "/jobs/Job", headers={"if-match": tag}).status_code == 202


def test_pages(wire: Wire):
    for n in range(3):
        wire.ask("POST", "/jobs", {"id": f"job{n}", **POOL})
    first = wire.ask("GET", "/jobs?maxresults=2&$select=id").json()
    assert first["value"] == [{"id": "job0"}, {"id": "job1"}]
    assert list(first)[-1] == "odata.nextLink"
    link = first["odata.nextLink"]
    assert re.fullmatch(
        rf"{wire.batch.url}/jobs\?maxresults=2&\$select=id&api-version=2025-06-01&\$skiptoken=WATV2:[\w+/=]+:1\$1", link
    )
    second = wire.ask("GET", link[len(wire.batch.url) :], version=None).json()
    assert (second["value"], "odata.nextLink" in second) == ([{"id": "job2"}], False)


def test_files(wire: Wire):
    job(wire)
    command = "/bin/sh -c 'printf 0123456789; mkdir d; echo x > \"d/a b.txt\"'"
    wire.ask("POST", "/jobs/Job/tasks", {"id": "T", "commandLine": command})
    completed(wire, "/jobs/Job/tasks/T")
    files = "/jobs/Job/tasks/T/files"
    rows = wire.ask("GET", files).json()["value"]
    assert [row["name"] for row in rows] == ["stderr.txt", "stdout.txt", "wd"]
    assert rows[2] == {"name": "wd", "url": f"{wire.batch.url}{files}/wd", "isDirectory": True}
    properties = rows[1]["properties"]
    assert list(properties) == ["lastModified", "contentLength", "contentType", "fileMode"]
    assert (properties["contentLength"], properties["contentType"]) == ("10", "text/plain")
    assert re.fullmatch(r"0o100[0-7]{3}", properties["fileMode"])
    whole = wire.ask("GET", f"{files}/stdout.txt")
    assert (whole.status_code, whole.content, "content-length" in whole.headers) == (200, b"0123456789", False)
    assert whole.headers["ocp-batch-file-isdirectory"] == "False"
    assert whole.headers["ocp-batch-file-url"].startswith("http%3A%2F%2F127.0.0.1%3A")
    assert "etag" not in whole.headers
    part = wire.ask("GET", f"{files}/stdout.txt", headers={"ocp-range": "bytes=1-2"})
    assert (part.status_code, part.content, "content-range" in part.headers) == (200, b"12", False)
    beyond = wire.ask("GET", f"{files}/stdout.txt", headers={"ocp-range": "bytes=10-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "InvalidRange")
    head = wire.ask("HEAD", f"{files}/wd%2Fd%2Fa%20b.txt")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "2", b"")
    for outside in ("..%2F..%2F..", "..%2FT2", "%2Fetc%2Fpasswd", "wd%2F..%2F..%2F..%2Fjob-1", "nothing", "%00"):
        assert wire.ask("GET", f"{files}/{outside}").status_code in (400, 404), outside
    assert wire.ask("DELETE", f"{files}/wd%2Fd?recursive=true").status_code == 200
    recursive = wire.ask("GET", f"{files}?recursive=true&$filter=startswith(name,'wd')").json()["value"]
    assert [row["name"] for row in recursive] == ["wd"]


@pytest.mark.parametrize(
    ("make", "name"),
    [("mkfifo pipe", "pipe"), ("python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('sock')\"", "sock")],
)
def test_what_is_neither_a_file_nor_a_directory_has_no_content(wire: Wire, make: str, name: str):
    job(wire)
    wire.ask("POST", "/jobs/Job/tasks", {"id": "T", "commandLine": make})
    assert completed(wire, "/jobs/Job/tasks/T")["executionInfo"]["exitCode"] == 0
    answer = wire.ask("GET", f"/jobs/Job/tasks/T/files/wd%2F{name}")
    assert (answer.status_code, answer.json()["code"]) == (409, "OperationInvalidForCurrentState")
    assert wire.ask("HEAD", f"/jobs/Job/tasks/T/files/wd%2F{name}").headers["content-length"] == "0"


def test_names_that_differ_in_case_only_and_names_that_are_no_text(wire: Wire):
    job(wire)
    make = "import os; [open(name, 'w').close() for name in (b'A', b'a', b'b\\xff')]"
    wire.ask("POST", "/jobs/Job/tasks", {"id": "T", "commandLine": f'python3 -c "{make}"'})
    assert completed(wire, "/jobs/Job/tasks/T")["executionInfo"]["exitCode"] == 0
    files = "/jobs/Job/tasks/T/files"
    found, link = [], f"{wire.batch.url}{files}?recursive=true&maxresults=1&api-version=2025-06-01"
    while link:
        page = wire.ask("GET", link[len(wire.batch.url) :], version=None).json()
        found += page["value"]
        link = page.get("odata.nextLink")
    assert [row["name"] for row in found] == ["stderr.txt", "stdout.txt", "wd", "wd/A", "wd/a", "wd/b\udcff"]
    assert found[-1]["url"].endswith("/files/wd/b%FF")
    head = wire.ask("HEAD", f"{files}/wd%2Fb%FF")
    assert head.status_code == 200
    assert head.headers["ocp-batch-file-url"].endswith("wd%2Fb%FF")


def test_files_of_an_active_task(wire: Wire):
    job(wire, poolInfo={"poolId": "none"})
    wire.ask("POST", "/jobs/Job/tasks", {"id": "T", "commandLine": "true"})
    answer = wire.ask("GET", "/jobs/Job/tasks/T/files")
    assert (answer.status_code, answer.json()["code"]) == (409, "OperationInvalidForCurrentState")
    assert answer.json()["values"][0]["value"].endswith("cannot be accessed as the task state is still active")


def test_a_registry_password_is_never_read_back(wire: Wire):
    container = {"imageName": "i", "registry": {"username": "u", "password": "planted", "registryServer": "r"}}
    job(wire, jobManagerTask={"id": "m", "commandLine": "true", "containerSettings": container})
    wire.ask("POST", "/jobs/Job/tasks", {"id": "T", "commandLine": "true", "containerSettings": container})
    for path in ("/jobs/Job", "/jobs", "/jobs/Job/tasks/T", "/jobs/Job/tasks", "/jobs/Job/tasks/m"):
        assert "planted" not in wire.ask("GET", path).text


def test_no_secret_of_a_pool_is_ever_read_back(wire: Wire):
    registry = {"username": "u", "password": "planted", "registryServer": "r"}
    specification = {
        "vmSize": "s",
        "targetDedicatedNodes": 1,
        "userAccounts": [{"name": "u", "password": "planted", "linuxUserConfiguration": {"sshPrivateKey": "planted"}}],
        "startTask": {"commandLine": "true", "containerSettings": {"imageName": "i", "registry": registry}},
        "virtualMachineConfiguration": {
            "containerConfiguration": {"type": "dockerCompatible", "containerRegistries": [registry]},
            "extensions": [{"name": "e", "protectedSettings": {"key": "planted"}}],
        },
        "resourceTags": {"password": "shown"},
    }
    made = {"poolInfo": {"autoPoolSpecification": {"poolLifetimeOption": "job", "pool": specification}}}
    assert wire.ask("POST", "/pools", {"id": "p", **specification}).status_code == 201
    assert job(wire, **made).status_code == 201
    schedule = {"id": "s", "schedule": {}, "jobSpecification": made}
    assert wire.ask("POST", "/jobschedules", schedule).status_code == 201
    until(lambda: wire.ask("GET", "/pools/p/nodes").json()["value"])
    node = wire.ask("GET", "/pools/p/nodes").json()["value"][0]["id"]
    for path in ("/pools/p", "/pools", "/pools/p/nodes", f"/pools/p/nodes/{node}", "/jobs/Job", "/jobs",
                 "/jobschedules/s", "/jobschedules", "/jobschedules/s/jobs"):  # fmt: skip
        answer = wire.ask("GET", path)
        assert answer.status_code == 200
        assert "planted" not in answer.text, path
    shown = wire.ask("GET", "/pools/p").json()
    assert shown["userAccounts"] == [{"name": "u", "linuxUserConfiguration": {}}]
    assert shown["startTask"]["containerSettings"]["registry"] == {"username": "u", "registryServer": "r"}
    assert shown["resourceTags"] == {"password": "shown"}


def test_every_operation_is_named_once_and_the_table_says_all():
    names = [operation.name for operation in routes.OPERATIONS]
    assert len(names) == len(set(names))
    table = matrix.markdown()
    for operation in routes.OPERATIONS:
        assert f"| `{operation.name}` |" in table
    assert set(matrix.NOTES) <= set(names)
    published = Path(matrix.__file__).with_name("README.md")
    assert published.read_text().endswith(table)


def test_the_operations_are_those_of_the_sdk():
    from azure.batch._operations._operations import _BatchClientOperationsMixin as sdk

    public = {name for name in dir(sdk) if not name.startswith("_")}
    own = {operation.name for operation in routes.OPERATIONS}
    internal = {name.strip("_").removesuffix("_internal") for name in dir(sdk) if name.endswith("_internal")}
    assert own == (public | internal) - {"begin_" + name for name in own}
