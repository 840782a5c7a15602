"""Recorded traffic of the service against this one: headers, statuses, members and defaults of jobs and tasks."""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_jobmanager.local import formats

if TYPE_CHECKING:
    import httpx

    from tests.local.wire import Wire

POOL = {"poolInfo": {"poolId": "local"}}
NOWHERE = {"poolInfo": {"poolId": "nowhere"}}
UNLIMITED = "P10675199DT2H48M5.4775807S"
AUTO_USER = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SERVICE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z")


def job(wire: Wire, name: str = "job", **more: Any) -> dict[str, Any]:
    wire.must("POST", "/jobs", {"id": name, **NOWHERE, **more})
    return wire.get(f"/jobs/{name}")


def task(wire: Wire, name: str = "t", job_id: str = "job", **more: Any) -> dict[str, Any]:
    wire.must("POST", f"/jobs/{job_id}/tasks", {"id": name, "commandLine": "/bin/true", **more})
    return wire.get(f"/jobs/{job_id}/tasks/{name}")


def ran(wire: Wire, command: str, name: str = "t", job_id: str = "ran") -> dict[str, Any]:
    if wire.send("GET", f"/jobs/{job_id}").status_code == 404:
        wire.must("POST", "/jobs", {"id": job_id, **POOL})
    wire.must("POST", f"/jobs/{job_id}/tasks", {"id": name, "commandLine": command})
    return wire.until_state(f"/jobs/{job_id}/tasks/{name}", "completed")


# -- every answer


def check_framing(answer: httpx.Response) -> None:
    """Headers that are always there, and how the body is framed."""
    assert answer.headers["dataserviceversion"] == "3.0"
    assert GUID.fullmatch(answer.headers["request-id"])
    assert answer.headers["server"] == "Microsoft-HTTPAPI/2.0"
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert parsedate_to_datetime(answer.headers["date"])
    assert len(answer.headers.get_list("date")) == 1
    if answer.request.method == "HEAD":
        pass  # what is recorded says nothing of those that have no file behind them
    elif answer.status_code in {200, 201, 202}:
        assert answer.headers.get("transfer-encoding") == "chunked"
        assert "content-length" not in answer.headers
    elif answer.status_code == 204:
        assert answer.headers.get("content-length") == "0"
        assert "transfer-encoding" not in answer.headers
    elif answer.content:
        assert int(answer.headers["content-length"]) == len(answer.content)
    if answer.content:
        assert answer.headers["content-type"] == "application/json;odata=minimalmetadata"


def test_the_client_s_request_id_comes_back_only_when_asked_for(wire: Wire):
    plain = wire.send("GET", "/jobs", client_request_id="abc")
    asked = wire.send("GET", "/jobs", client_request_id="abc", return_client_request_id="true")

    assert "client-request-id" not in plain.headers
    assert asked.headers["client-request-id"] == "abc"


# method, path, body, status, ETag and Last-Modified, Location, DataServiceId, JSON
OPERATIONS: list[tuple[str, str, Any, int, bool, str | None, str | None, bool]] = [
    ("POST", "/jobs", {"id": "a", **NOWHERE}, 201, True, "/jobs/job-1", "/jobs/job-1", False),
    ("POST", "/jobs", {"id": "b", **NOWHERE}, 201, True, "/jobs/job-1", "/jobs/job-1", False),
    ("GET", "/jobs/a", None, 200, True, None, None, True),
    ("GET", "/jobs", None, 200, False, None, None, True),
    ("PATCH", "/jobs/a", {"priority": 3}, 200, True, None, "/jobs/a", False),
    ("PUT", "/jobs/a", NOWHERE, 200, True, None, "/jobs/a", False),
    ("GET", "/jobs/a/taskcounts", None, 200, False, None, None, True),
    ("POST", "/jobs/a/tasks", {"id": "T", "commandLine": "x"}, 201, True, "/jobs/a/tasks/T", "/jobs/a/tasks/T", False),
    (
        "POST",
        "/jobs/a/addtaskcollection",
        {"value": [{"id": "u", "commandLine": "x"}]},
        200,
        False,
        None,
        None,
        True,
    ),
    ("GET", "/jobs/a/tasks/T", None, 200, True, None, None, True),
    ("GET", "/jobs/a/tasks", None, 200, False, None, None, True),
    ("PUT", "/jobs/a/tasks/T", {"constraints": {"maxTaskRetryCount": 1}}, 200, True, None, "/jobs/a/tasks/T", False),
    ("GET", "/jobs/a/tasks/T/subtasksinfo", None, 200, False, None, None, True),
    ("POST", "/jobs/a/tasks/T/terminate", None, 204, True, None, "/jobs/a/tasks/T/terminate", False),
    ("POST", "/jobs/a/tasks/T/reactivate", None, 204, True, None, None, False),
    ("DELETE", "/jobs/a/tasks/T", None, 200, False, None, None, False),
    ("POST", "/jobs/a/disable", {"disableTasks": "requeue"}, 202, True, None, "/jobs/a/disable", False),
    ("POST", "/jobs/a/enable", None, 202, True, None, "/jobs/a/enable", False),
    ("POST", "/jobs/a/terminate", {"terminateReason": "x"}, 202, True, None, "/jobs/a/terminate", False),
    ("POST", "/jobs/b/terminate?force=true", None, 202, True, None, "/jobs/b/terminate", False),
    ("DELETE", "/jobs/a", None, 202, False, None, None, False),
    ("DELETE", "/jobs/b?force=true", None, 202, False, None, None, False),
]


def check_operations(
    wire: Wire, operations: list[tuple[str, str, Any, int, bool, str | None, str | None, bool]]
) -> None:
    for method, path, body, status, tagged, location, service_id, is_json in operations:
        if path.endswith("/enable"):
            wire.until_state(path.rpartition("/")[0], "disabled")
        answer = wire.send(method, path, body)
        where = f"{method} {path}: {answer.text}"
        assert answer.status_code == status, where
        check_framing(answer)
        assert ("etag" in answer.headers, "last-modified" in answer.headers) == (tagged, tagged), where
        for name, wanted in (("location", location), ("dataserviceid", service_id)):
            found = answer.headers.get(name)
            assert found == (None if wanted is None else f"{wire.batch.url}{wanted}"), where
        assert bool(answer.content) is is_json, where


def test_status_and_headers_of_every_operation_on_jobs_and_tasks(wire: Wire):
    check_operations(wire, OPERATIONS)


def test_older_clients_send_other_headers_and_are_answered_all_the_same(wire: Wire):
    job(wire)
    for content_type in ("application/json; odata=minimalmetadata; charset=utf-8", "application/json"):
        assert wire.send("PATCH", "/jobs/job?timeout=30", {"priority": 1}, content_type=content_type).status_code == 200
    for name, headers in (("one", {}), ("two", {"content_type": "application/json; odata=minimalmetadata"})):
        job(wire, name)
        assert wire.send("POST", f"/jobs/{name}/terminate?timeout=30", None, **headers).status_code == 202


# -- formats


def test_the_tag_is_the_time_of_the_last_change(wire: Wire):
    found = job(wire)
    answer = wire.send("GET", "/jobs/job")

    modified = formats.parse_timestamp(found["lastModified"])
    assert answer.headers["etag"] == found["eTag"] == formats.etag(modified)
    assert answer.headers["last-modified"] == formats.http_date(modified)


def test_bodies_are_laid_out_as_the_service_does(wire: Wire):
    empty = wire.send("GET", "/jobs").content.decode()
    job(wire, metadata=[{"name": "a", "value": "b"}])
    one = wire.send("GET", "/jobs/job?$select=id,metadata").content.decode()

    host = wire.batch.url
    assert empty == f'{{\r\n  "odata.metadata":"{host}/$metadata#jobs","value":[\r\n    \r\n  ]\r\n}}'
    assert one == (
        f'{{\r\n  "odata.metadata":"{host}/$metadata#jobs/@Element","id":"job","metadata":[\r\n    {{\r\n'
        '      "name":"a","value":"b"\r\n    }\r\n  ]\r\n}'
    )


def test_every_time_is_trimmed_utc(wire: Wire):
    found = json.dumps([job(wire), ran(wire, "/bin/true")])

    times = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', found)
    assert len(times) >= 8
    assert all(SERVICE_TIME.fullmatch(moment) for moment in times)


# -- jobs


def test_a_minimal_job_reads_back_with_every_default_in_order(wire: Wire):
    found = job(wire, "Job")

    assert list(found) == [
        "odata.metadata", "id", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime",
        "priority", "maxParallelTasks", "usesTaskDependencies", "allowTaskPreemption", "constraints", "poolInfo",
        "executionInfo", "onAllTasksComplete", "onTaskFailure",
    ]  # fmt: skip
    fixed = {
        name: found[name]
        for name in found
        if name not in {"eTag", "lastModified", "creationTime", "stateTransitionTime", "executionInfo"}
    }
    assert fixed == {
        "odata.metadata": f"{wire.batch.url}/$metadata#jobs/@Element",
        "id": "Job",
        "url": f"{wire.batch.url}/jobs/Job",
        "state": "active",
        "priority": 0,
        "maxParallelTasks": -1,
        "usesTaskDependencies": False,
        "allowTaskPreemption": False,
        "constraints": {"maxWallClockTime": UNLIMITED, "maxTaskRetryCount": 0},
        "poolInfo": {"poolId": "nowhere"},
        "onAllTasksComplete": "noaction",
        "onTaskFailure": "noaction",
    }
    assert found["executionInfo"] == {"startTime": found["lastModified"], "poolId": "nowhere"}
    assert found["stateTransitionTime"] == found["lastModified"]
    assert found["creationTime"] <= found["lastModified"]


FULL_JOB: dict[str, Any] = {
    "displayName": "d",
    "priority": 5,
    "constraints": {"maxWallClockTime": "PT01H", "maxTaskRetryCount": 5},
    "jobManagerTask": {
        "id": "jm",
        "commandLine": "x",
        "displayName": "m",
        "environmentSettings": [{"name": "A", "value": "1"}],
    },
    "jobPreparationTask": {"commandLine": "p"},
    "jobReleaseTask": {"commandLine": "r"},
    "commonEnvironmentSettings": [{"name": "B", "value": "2"}],
    "metadata": [{"name": "k", "value": "v"}],
    "usesTaskDependencies": True,
    "onAllTasksComplete": "terminatejob",
    "onTaskFailure": "performexitoptionsjobaction",
}


def test_a_full_job_reads_back_in_order(wire: Wire):
    found = job(wire, **FULL_JOB)

    assert list(found) == [
        "odata.metadata", "id", "displayName", "url", "eTag", "lastModified", "creationTime", "state",
        "stateTransitionTime", "priority", "maxParallelTasks", "usesTaskDependencies", "allowTaskPreemption",
        "constraints", "jobManagerTask", "jobPreparationTask", "jobReleaseTask", "commonEnvironmentSettings",
        "poolInfo", "metadata", "executionInfo", "onAllTasksComplete", "onTaskFailure",
    ]  # fmt: skip
    assert found["constraints"] == {"maxWallClockTime": "PT1H", "maxTaskRetryCount": 5}
    assert list(found["jobManagerTask"].items()) == list(
        {
            "id": "jm",
            "displayName": "m",
            "commandLine": "x",
            "environmentSettings": [{"name": "A", "value": "1"}],
            "constraints": {"maxWallClockTime": UNLIMITED, "retentionTime": "P7D", "maxTaskRetryCount": 5},
            "requiredSlots": 1,
            "userIdentity": AUTO_USER,
            "runExclusive": True,
            "allowLowPriorityNode": True,
            "killJobOnCompletion": True,
        }.items()
    )
    assert found["jobPreparationTask"] == {
        "id": "jobpreparation",
        "commandLine": "p",
        "constraints": {"maxWallClockTime": UNLIMITED, "retentionTime": "P7D", "maxTaskRetryCount": 5},
        "userIdentity": AUTO_USER,
        "waitForSuccess": True,
        "rerunOnNodeRebootAfterSuccess": True,
    }
    assert found["jobReleaseTask"] == {
        "id": "jobrelease",
        "commandLine": "r",
        "maxWallClockTime": "PT15M",
        "retentionTime": "P7D",
        "userIdentity": AUTO_USER,
    }


def test_the_manager_s_constraints_stay_as_they_were_at_creation(wire: Wire):
    job(wire, **FULL_JOB)

    wire.must("PATCH", "/jobs/job", {"constraints": {"maxTaskRetryCount": 0}})

    found = wire.get("/jobs/job")
    assert found["constraints"]["maxTaskRetryCount"] == 0
    assert found["jobManagerTask"]["constraints"]["maxTaskRetryCount"] == 5


def test_patch_replaces_each_given_member_whole_and_keeps_the_others(wire: Wire):
    before = job(wire, priority=7, constraints={"maxWallClockTime": "PT1H", "maxTaskRetryCount": 5})

    wire.must("PATCH", "/jobs/job", {"constraints": {"maxWallClockTime": "P1D"}, **NOWHERE})

    after = wire.get("/jobs/job")
    assert after["constraints"] == {"maxWallClockTime": "P1D", "maxTaskRetryCount": 0}
    assert after["priority"] == 7
    assert after["eTag"] != before["eTag"]


def test_put_resets_what_it_omits_but_what_can_t_be_changed(wire: Wire):
    before = job(wire, **FULL_JOB)

    wire.must("PUT", "/jobs/job", {"id": "other", **NOWHERE, "onAllTasksComplete": "terminatejob"})

    after = wire.get("/jobs/job")
    assert (after["id"], after["priority"], after["onAllTasksComplete"]) == ("job", 0, "terminatejob")
    assert "metadata" not in after
    assert after["constraints"] == {"maxWallClockTime": UNLIMITED, "maxTaskRetryCount": 0}
    for kept in ("jobManagerTask", "jobPreparationTask", "jobReleaseTask", "commonEnvironmentSettings"):
        assert after[kept] == before[kept]


def test_a_job_that_is_disabled_and_enabled(wire: Wire):
    created = job(wire)

    wire.must("POST", "/jobs/job/disable", {"disableTasks": "requeue"})
    disabled = wire.until_state("/jobs/job", "disabled")
    wire.must("POST", "/jobs/job/enable")
    enabled = wire.until_state("/jobs/job", "active")

    assert disabled["previousState"] == "active"
    assert disabled["previousStateTransitionTime"] == created["stateTransitionTime"]
    assert disabled["executionInfo"] == created["executionInfo"]
    assert disabled["eTag"] != created["eTag"]
    assert formats.parse_timestamp(disabled["stateTransitionTime"]) >= formats.parse_timestamp(disabled["lastModified"])
    assert enabled["previousState"] == "disabled"
    assert enabled["eTag"] not in {created["eTag"], disabled["eTag"]}


@pytest.mark.parametrize(
    ("body", "reason"), [(None, "UserTerminate"), ({"terminateReason": "<any> thing"}, "<any> thing")]
)
def test_a_job_that_is_terminated(wire: Wire, body: Any, reason: str):
    created = job(wire)

    tag = wire.must("POST", "/jobs/job/terminate", body).headers["etag"]
    completed = wire.until_state("/jobs/job", "completed")

    assert completed["executionInfo"] == {
        "startTime": created["executionInfo"]["startTime"],
        "endTime": completed["stateTransitionTime"],
        "poolId": "nowhere",
        "terminateReason": reason,
    }
    assert list(completed["executionInfo"]) == ["startTime", "endTime", "poolId", "terminateReason"]
    assert completed["previousState"] == "active"
    assert completed["previousStateTransitionTime"] == created["stateTransitionTime"]
    assert completed["eTag"] == tag != created["eTag"]


def test_a_job_that_ends_waits_for_its_release_tasks_and_says_so(wire: Wire):
    tasks = {"jobPreparationTask": {"commandLine": "/bin/true"}, "jobReleaseTask": {"commandLine": "/bin/sleep 1"}}
    wire.must("POST", "/jobs", {"id": "job", **POOL, **tasks})
    wire.must("POST", "/jobs/job/tasks", {"id": "t", "commandLine": "/bin/true"})
    wire.until_state("/jobs/job/tasks/t", "completed")

    wire.must("POST", "/jobs/job/terminate", {"terminateReason": "enough"})
    waiting = wire.until("/jobs/job", lambda found: "schedulingError" in found["executionInfo"])
    completed = wire.until_state("/jobs/job", "completed")

    assert (waiting["state"], waiting["previousState"]) == ("terminating", "active")
    assert waiting["executionInfo"]["terminateReason"] == "enough"
    error = waiting["executionInfo"]["schedulingError"]
    assert (error["category"], error["code"]) == ("ServerError", "JobTerminationAwaitingNodeProcessing")
    assert error["details"] == [{"name": "Number of nodes awaiting processing", "value": "1"}]
    assert list(completed["executionInfo"]) == ["startTime", "endTime", "poolId", "terminateReason"]
    assert completed["eTag"] == waiting["eTag"]


def test_a_deleted_job_is_gone_after_a_while(wire: Wire):
    job(wire)

    wire.must("DELETE", "/jobs/job")
    gone = wire.until_gone("/jobs/job")

    assert gone.json()["code"] == "JobNotFound"


# -- tasks


def test_a_minimal_task_reads_back_with_every_default_in_order(wire: Wire):
    job(wire, constraints={"maxTaskRetryCount": 3})

    found = task(wire, "T")

    assert list(found) == [
        "odata.metadata", "id", "url", "eTag", "creationTime", "lastModified", "state", "stateTransitionTime",
        "commandLine", "userIdentity", "constraints", "requiredSlots", "executionInfo",
    ]  # fmt: skip
    assert found["odata.metadata"] == f"{wire.batch.url}/$metadata#tasks/@Element"
    assert found["url"] == f"{wire.batch.url}/jobs/job/tasks/T"
    assert found["userIdentity"] == AUTO_USER
    assert found["constraints"] == {"maxWallClockTime": UNLIMITED, "retentionTime": "P7D", "maxTaskRetryCount": 3}
    assert found["requiredSlots"] == 1
    assert found["executionInfo"] == {"retryCount": 0, "requeueCount": 0}


def test_a_user_by_name_and_secrets_that_do_not_come_back(wire: Wire):
    job(wire)
    registry = {"registryServer": "r", "username": "u", "password": "planted"}

    found = task(wire, userIdentity={"username": "me"}, containerSettings={"imageName": "i", "registry": registry})

    assert found["userIdentity"] == {"username": "me"}
    assert found["containerSettings"]["registry"] == {"registryServer": "r", "username": "u"}
    assert "planted" not in json.dumps(found)


def test_a_task_that_ran_well(wire: Wire):
    found = ran(wire, "/bin/true")

    assert list(found["executionInfo"]) == ["startTime", "endTime", "exitCode", "result", "retryCount", "requeueCount"]
    assert found["executionInfo"]["exitCode"] == 0
    assert found["executionInfo"]["result"] == "success"
    assert list(found["nodeInfo"]) == [
        "affinityId", "nodeUrl", "poolId", "nodeId", "taskRootDirectory", "taskRootDirectoryUrl",
    ]  # fmt: skip
    node = found["nodeInfo"]
    assert re.fullmatch(r"tvmps_[0-9a-f]{64}_d", node["nodeId"])
    assert node["affinityId"] == f"TVM:{node['nodeId']}"
    assert node["taskRootDirectory"] == "workitems/ran/job-1/t"
    assert node["taskRootDirectoryUrl"] == f"{node['nodeUrl']}/files/workitems/ran/job-1/t"
    assert found["previousState"] == "running"
    assert found["lastModified"] == found["creationTime"]
    assert found["eTag"] == formats.etag(formats.parse_timestamp(found["lastModified"]))


def test_a_task_that_failed(wire: Wire):
    found = ran(wire, "/bin/sh -c 'exit 2'")

    assert list(found["executionInfo"]) == [
        "startTime", "endTime", "exitCode", "failureInfo", "result", "retryCount", "requeueCount",
    ]  # fmt: skip
    assert found["executionInfo"]["exitCode"] == 2
    assert found["executionInfo"]["result"] == "failure"
    assert found["executionInfo"]["failureInfo"] == {
        "category": "UserError",
        "code": "FailureExitCode",
        "message": "The task exited with an exit code representing a failure",
        "details": [
            {"name": "Message", "value": "The task process exited with an unexpected exit code"},
            {"name": "AdditionalErrorCode", "value": "FailureExitCode"},
        ],
    }


def test_a_task_that_is_terminated_before_it_ran_and_reactivated(wire: Wire):
    job(wire)
    created = task(wire)

    wire.must("POST", "/jobs/job/tasks/t/terminate")
    ended = wire.get("/jobs/job/tasks/t")
    wire.must("POST", "/jobs/job/tasks/t/reactivate")
    again = wire.get("/jobs/job/tasks/t")

    assert ended["state"] == "completed"
    assert ended["executionInfo"] == {
        "endTime": ended["stateTransitionTime"],
        "failureInfo": {
            "category": "UserError",
            "code": "TaskEnded",
            "message": "Task Was Ended by User Request",
        },
        "result": "Failure",
        "retryCount": 0,
        "requeueCount": 0,
    }
    assert ended["nodeInfo"] == {}
    assert ended["eTag"] != created["eTag"]
    assert (again["state"], again["previousState"]) == ("active", "completed")
    assert again["executionInfo"] == {"retryCount": 0, "requeueCount": 0}
    assert "nodeInfo" not in again
    assert again["eTag"] != ended["eTag"]


def test_a_collection_gives_a_row_for_each_task(wire: Wire):
    job(wire)
    task(wire, "there")
    value = [{"id": name, "commandLine": "x"} for name in ("new", "there")]
    value.append({"id": "needs", "commandLine": "x", "dependsOn": {"taskIds": ["new"]}})

    body = wire.must("POST", "/jobs/job/addtaskcollection", {"value": value}).json()

    assert body["odata.metadata"] == f"{wire.batch.url}/$metadata#taskaddresult"
    rows = {row["taskId"]: row for row in body["value"]}
    assert list(rows["new"]) == ["status", "taskId", "eTag", "lastModified", "location"]
    assert rows["new"]["status"] == "Success"
    assert rows["new"]["location"] == f"{wire.batch.url}/jobs/job/tasks/new"
    assert (rows["there"]["status"], rows["there"]["error"]["code"]) == ("clienterror", "TaskExists")
    message = "One of the properties specified in the request body is not supported.\nRequestId:"
    assert rows["needs"]["error"]["code"] == "UnsupportedProperty"
    assert rows["needs"]["error"]["message"]["value"].startswith(message)
    assert rows["there"]["error"]["message"]["value"].startswith("The specified task already exists.\nRequestId:")


def test_task_counts(wire: Wire):
    ran(wire, "/bin/true", "good")
    ran(wire, "/bin/false", "bad")

    found = wire.until("/jobs/ran/taskcounts", lambda counts: counts["taskCounts"]["completed"] == 2)

    assert found["odata.metadata"] == f"{wire.batch.url}/$metadata#taskcountsresult/@Element"
    counts = {"active": 0, "running": 0, "completed": 2, "succeeded": 1, "failed": 1}
    assert found["taskCounts"] == found["taskSlotCounts"] == counts


# -- files


def test_files_of_a_task(wire: Wire):
    ran(wire, "/bin/sh -c 'printf hello; mkdir d; echo x > d/f'")

    top = wire.get("/jobs/ran/tasks/t/files")
    deep = wire.get("/jobs/ran/tasks/t/files?recursive=true&$filter=startswith(name,'wd/d')")
    whole = wire.send("GET", "/jobs/ran/tasks/t/files/stdout.txt", accept="application/octet-stream")
    part = wire.send("GET", "/jobs/ran/tasks/t/files/stdout.txt", ocp_range="bytes=1-2")
    head = wire.send("HEAD", "/jobs/ran/tasks/t/files/wd%2Fd%2Ff")

    assert top["odata.metadata"] == f"{wire.batch.url}/$metadata#files"
    files = {row["name"]: row for row in top["value"]}
    assert set(files) == {"stdout.txt", "stderr.txt", "wd"}
    assert list(files["wd"]) == ["name", "url", "isDirectory"]
    assert files["wd"]["isDirectory"] is True
    properties = files["stdout.txt"]["properties"]
    assert list(properties) == ["lastModified", "contentLength", "contentType", "fileMode"]
    assert (properties["contentLength"], properties["contentType"]) == ("5", "text/plain")
    assert re.fullmatch(r"0o100[0-7]{3}", properties["fileMode"])
    assert {row["name"] for row in deep["value"]} == {"wd/d", "wd/d/f"}

    assert (whole.status_code, whole.content) == (200, b"hello")
    assert "content-length" not in whole.headers
    assert "etag" not in whole.headers
    assert whole.headers["ocp-batch-file-isdirectory"] == "False"
    assert re.fullmatch(r"0o100[0-7]{3}", whole.headers["ocp-batch-file-mode"])
    assert "ocp-creation-time" not in whole.headers
    assert "%3A%2F%2F" in whole.headers["ocp-batch-file-url"]
    assert whole.headers["ocp-batch-file-url"].endswith("%2Ffiles%2Fstdout.txt")
    assert (part.status_code, part.content) == (200, b"el")
    assert "content-range" not in part.headers
    assert "content-length" not in part.headers
    assert (head.status_code, head.headers["content-length"]) == (200, "2")
    assert head.headers["ocp-batch-file-url"].endswith("%2Ffiles%2Fwd%2Fd%2Ff")


def test_a_file_that_is_deleted_leaves_the_list(wire: Wire):
    ran(wire, "/bin/true")

    assert wire.send("DELETE", "/jobs/ran/tasks/t/files/stderr.txt").status_code == 200

    assert "stderr.txt" not in {row["name"] for row in wire.get("/jobs/ran/tasks/t/files")["value"]}
    assert wire.send("GET", "/jobs/ran/tasks/t/files/stderr.txt").json()["code"] == "FileNotFound"


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
