"""Recorded traffic of the service against this one: headers, formats and jobs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import formats
from tests.local.clients.traffic import AUTO_USER, NOWHERE, POOL, SERVICE_TIME, UNLIMITED, check_operations, job, ran

if TYPE_CHECKING:
    from tests.local.wire import Wire


# -- every answer


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
