"""Recorded traffic of the service against this one: pools, nodes, auto pools, job schedules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import formats
from tests.local.clients.traffic import AUTO_USER, NOWHERE, UNLIMITED, check_operations

if TYPE_CHECKING:
    from tests.local.wire import Wire

MACHINE = {
    "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"},
    "nodeAgentSKUId": "batch.node.ubuntu 24.04",
}
POOL = {"vmSize": "STANDARD_D2S_V3", "virtualMachineConfiguration": MACHINE}
FORMULA = {"autoScaleFormula": "$TargetDedicatedNodes = 1;"}
GUID = r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"


def pool(wire: Wire, name: str = "p", **more: Any) -> dict[str, Any]:
    wire.must("POST", "/pools", {"id": name, **POOL, **more})
    return wire.until(f"/pools/{name}", lambda found: found["allocationState"] == "steady")


# -- status and headers: method, path, body, status, ETag and Last-Modified, Location, DataServiceId, JSON


def test_status_and_headers_of_every_operation_on_pools(wire: Wire):
    pool(wire)
    check_operations(
        wire,
        [
            ("POST", "/pools", {"id": "Q", **POOL}, 201, True, "/pools/Q", "/pools/Q", False),
            ("GET", "/pools/p", None, 200, True, None, None, True),
            ("HEAD", "/pools/p", None, 200, True, None, None, False),
            ("GET", "/pools", None, 200, False, None, None, True),
            ("POST", "/pools/p/resize", {"targetDedicatedNodes": 2}, 202, True, None, "/pools/p/resize", False),
            ("POST", "/pools/p/stopresize", None, 202, True, None, "/pools/p/stopresize", False),
        ],
    )
    wire.until("/pools/p", lambda found: found["allocationState"] == "steady")
    check_operations(
        wire,
        [
            ("POST", "/pools/p/enableautoscale", FORMULA, 200, True, None, "/pools/p/enableautoscale", False),
            ("POST", "/pools/p/evaluateautoscale", FORMULA, 200, False, None, "/pools/p/evaluateautoscale", True),
            ("POST", "/pools/p/disableautoscale", None, 200, True, None, "/pools/p/disableautoscale", False),
            ("DELETE", "/pools/p", None, 202, False, None, None, False),
        ],
    )


def test_status_and_headers_of_every_operation_on_job_schedules(wire: Wire):
    body = {"id": "S", "schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": NOWHERE}
    check_operations(
        wire,
        [
            ("POST", "/jobschedules", body, 201, True, "/jobschedules/S", "/jobschedules/S", False),
            ("GET", "/jobschedules/S", None, 200, True, None, None, True),
            ("GET", "/jobschedules", None, 200, False, None, None, True),
            ("GET", "/jobschedules/S/jobs", None, 200, False, None, None, True),
            ("POST", "/jobschedules/S/disable", None, 204, True, None, "/jobschedules/S/disable", False),
        ],
    )
    wire.must("POST", "/jobschedules/S/enable")
    answer = wire.must("POST", "/jobschedules/S/terminate")
    assert (answer.status_code, "etag" in answer.headers) == (202, True)
    assert answer.headers["dataserviceid"] == f"{wire.batch.url}/jobschedules/S/terminate"
    answer = wire.must("DELETE", "/jobschedules/S")
    assert (answer.status_code, "etag" in answer.headers, "dataserviceid" in answer.headers) == (202, False, False)


# -- pools


def test_a_pool_reads_back_with_its_defaults(wire: Wire):
    found = pool(wire)

    assert found["odata.metadata"] == f"{wire.batch.url}/$metadata#pools/@Element"
    assert found["vmSize"] == "standard_d2s_v3"
    assert found["eTag"] == formats.etag(formats.parse_timestamp(found["lastModified"]))
    expected = {
        "state": "active",
        "allocationState": "steady",
        "resizeTimeout": "PT15M",
        "currentDedicatedNodes": 0,
        "targetDedicatedNodes": 0,
        "currentLowPriorityNodes": 0,
        "targetLowPriorityNodes": 0,
        "enableAutoScale": False,
        "enableInterNodeCommunication": False,
        "taskSlotsPerNode": 1,
        "taskSchedulingPolicy": {"nodeFillType": "Spread", "jobDefaultOrder": "none"},
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "certificateReferences" not in found
    assert "currentNodeCommunicationMode" not in found


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/pools", {"id": "P", **POOL}, 409, "PoolExists"),
        ("GET", "/pools/none", None, 404, "PoolNotFound"),
        ("DELETE", "/pools/going", None, 409, "PoolBeingDeleted"),
        ("POST", "/pools/p/resize", {"targetDedicatedNodes": -1}, 400, "InvalidPropertyValue"),
        ("POST", "/pools/p/enableautoscale", {"autoScaleFormula": "$x = ;"}, 400, "AutoScalingFormulaSyntaxError"),
        ("GET", "/pools/p/nodes/none", None, 404, "NodeNotFound"),
        ("GET", "/jobschedules/none", None, 404, "JobScheduleNotFound"),
        ("GET", "/pools?$filter=allocationState ne 'steady'", None, 400, "InvalidQueryParameterValue"),
    ],
)
def test_refusals(wire: Wire, method: str, path: str, body: Any, status: int, code: str):  # noqa: PLR0917
    pool(wire)
    pool(wire, "going", targetDedicatedNodes=1)
    wire.batch.clock.stop()  # a pool takes a moment to go, which now does not pass
    wire.must("DELETE", "/pools/going")

    answer = wire.send(method, path, body)
    wire.batch.clock.resume()

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_node_s_name_says_what_it_is(wire: Wire):
    pool(wire, targetDedicatedNodes=1, targetLowPriorityNodes=1)

    nodes = wire.get("/pools/p/nodes")["value"]

    assert {(node["isDedicated"], node["id"][-2:]) for node in nodes} == {(True, "_d"), (False, "_p")}
    for node in nodes:
        assert re.fullmatch(r"tvmps_[0-9a-f]{64}_[dp]", node["id"])
        assert node["affinityId"] == f"TVM:{node['id']}"
        assert node["url"] == f"{wire.batch.url}/pools/p/nodes/{node['id']}"


# -- auto pools


@pytest.mark.parametrize("prefix", ["a/../b\0", "a b", "", "x" * 21])
def test_a_prefix_that_makes_no_pool_id_is_refused(wire: Wire, prefix: str):
    auto = {"poolLifetimeOption": "job", "autoPoolIdPrefix": prefix, "pool": POOL}
    answer = wire.send("POST", "/jobs", {"id": "auto", "poolInfo": {"autoPoolSpecification": auto}})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidPropertyValue")


@pytest.mark.parametrize(("prefix", "pattern"), [(None, GUID), ("mine", f"mine_{GUID}")])
def test_an_auto_pool_is_named_at_once_and_goes_with_its_job(wire: Wire, prefix: str | None, pattern: str):
    auto: dict[str, Any] = {"poolLifetimeOption": "job", "pool": {**POOL, "targetDedicatedNodes": 1}}
    if prefix:
        auto["autoPoolIdPrefix"] = prefix
    manager = {"id": "jm", "commandLine": "/bin/true"}
    wire.must("POST", "/jobs", {"id": "auto", "poolInfo": {"autoPoolSpecification": auto}, "jobManagerTask": manager})

    created = wire.get("/jobs/auto")
    completed = wire.until_state("/jobs/auto", "completed")

    name = created["executionInfo"]["poolId"]
    assert re.fullmatch(pattern, name)
    specification = created["poolInfo"]["autoPoolSpecification"]
    assert specification["keepAlive"] is False
    expected = {
        "taskSlotsPerNode": 1,
        "taskSchedulingPolicy": {"nodeFillType": "Spread", "jobDefaultOrder": "none"},
        "resizeTimeout": "PT15M",
        "targetDedicatedNodes": 1,
        "targetLowPriorityNodes": 0,
        "enableAutoScale": False,
        "enableInterNodeCommunication": False,
    }
    assert {member: specification["pool"].get(member) for member in expected} == expected
    assert completed["executionInfo"]["terminateReason"] == "JMComplete"
    wire.until_gone(f"/pools/{name}")


def test_a_job_whose_auto_pool_can_t_be_made_is_completed_with_an_error_and_no_reason(wire: Wire):
    auto = {"poolLifetimeOption": "job", "pool": {**POOL, "targetDedicatedNodes": 1_000_000}}
    wire.must("POST", "/jobs", {"id": "auto", "poolInfo": {"autoPoolSpecification": auto}})

    found = wire.until_state("/jobs/auto", "completed")

    info = found["executionInfo"]
    assert info["schedulingError"]["category"] == "UserError"
    assert info["schedulingError"]["code"] == "AutoPoolCreationFailedWithQuotaReached"
    assert "terminateReason" not in info
    assert info["endTime"] == found["stateTransitionTime"]
    assert found["previousState"] == "active"


# -- job schedules


def test_a_schedule_reads_back_in_its_own_order(wire: Wire):
    specification = {**NOWHERE, "jobManagerTask": {"id": "jm", "commandLine": "x"}, "priority": 2}
    body = {"id": "s", "schedule": {"recurrenceInterval": "PT60M"}, "jobSpecification": specification}
    wire.must("POST", "/jobschedules", body)

    found = wire.until("/jobschedules/s", lambda schedule: "recentJob" in schedule["executionInfo"])

    assert list(found) == [
        "odata.metadata", "id", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime",
        "schedule", "jobSpecification", "executionInfo",
    ]  # fmt: skip
    assert found["schedule"] == {"recurrenceInterval": "PT1H"}
    assert list(found["jobSpecification"]) == [
        "priority", "maxParallelTasks", "allowTaskPreemption", "usesTaskDependencies", "onAllTasksComplete",
        "onTaskFailure", "constraints", "jobManagerTask", "poolInfo",
    ]  # fmt: skip
    assert found["jobSpecification"]["constraints"] == {"maxWallClockTime": UNLIMITED, "maxTaskRetryCount": 0}
    assert found["jobSpecification"]["jobManagerTask"]["userIdentity"] == AUTO_USER
    recent = {"url": f"{wire.batch.url}/jobs/s:job-1", "id": "s:job-1"}
    assert found["executionInfo"]["recentJob"] == recent
    created = formats.parse_timestamp(found["creationTime"])
    assert (formats.parse_timestamp(found["executionInfo"]["nextRunTime"]) - created).total_seconds() == 3600


def test_an_empty_schedule_is_dropped_and_runs_once_at_once(wire: Wire):
    wire.must("POST", "/jobschedules", {"id": "s", "schedule": {}, "jobSpecification": NOWHERE})

    found = wire.until("/jobschedules/s", lambda schedule: "recentJob" in schedule["executionInfo"])

    assert "schedule" not in found
    assert list(found["executionInfo"]) == ["recentJob"]
    assert wire.get("/jobs/s:job-1")["id"] == "s:job-1"


def test_a_terminated_schedule_ends_its_job_and_keeps_only_its_end(wire: Wire):
    body = {"id": "s", "schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": NOWHERE}
    wire.must("POST", "/jobschedules", body)
    wire.until("/jobs/s:job-1", lambda job: job["state"] == "active")

    wire.must("POST", "/jobschedules/s/terminate")
    found = wire.until_state("/jobschedules/s", "completed")

    assert wire.until_state("/jobs/s:job-1", "completed")["executionInfo"]["terminateReason"] == "TerminateJobSchedule"
    assert list(found["executionInfo"]) == ["endTime"]


def test_jobs_and_schedules_share_their_names(wire: Wire):
    wire.must("POST", "/jobs", {"id": "both", **NOWHERE})
    wire.must("POST", "/jobschedules", {"id": "first", "schedule": {}, "jobSpecification": NOWHERE})

    schedule = wire.send("POST", "/jobschedules", {"id": "BOTH", "schedule": {}, "jobSpecification": NOWHERE})
    job = wire.send("POST", "/jobs", {"id": "First", **NOWHERE})

    assert (schedule.status_code, schedule.json()["code"]) == (409, "JobWithSameIdExists")
    assert (job.status_code, job.json()["code"]) == (409, "JobScheduleWithSameIdExists")


# -- older versions


@pytest.mark.parametrize("version", ["2023-05-01.17.0", "2024-02-01.19.0", "2024-07-01.20.0", "2025-06-01"])
def test_what_differs_between_api_versions(wire: Wire, version: str):
    asked = f"api-version={version}"
    wire.must("POST", f"/pools?{asked}", {"id": "p", **POOL})
    found = wire.get(f"/pools/p?{asked}")

    policy = {"nodeFillType": "Spread"}
    if version == "2025-06-01":
        policy["jobDefaultOrder"] = "none"
    assert found["taskSchedulingPolicy"] == policy
    # Recorded traffic has them in 2024-07-01.20.0, and in no pool of 2025-06-01.
    assert ("currentNodeCommunicationMode" in found) == (version == "2024-07-01.20.0")
    assert found.get("certificateReferences") == (None if version == "2025-06-01" else [])
    nodes = wire.get(f"/pools/local/nodes?{asked}")["value"]
    assert [node.get("certificateReferences") for node in nodes] == 2 * [[] if version == "2023-05-01.17.0" else None]
    wire.must("POST", f"/jobs?{asked}", {"id": "j", **NOWHERE})
    assert list(wire.get(f"/jobs/j?{asked}")) == list(wire.get("/jobs/j"))
