"""Recorded traffic of the service against this one: tasks and their files."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import formats
from tests.local.clients.traffic import AUTO_USER, UNLIMITED, job, ran, task

if TYPE_CHECKING:
    from tests.local.wire import Wire


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
