"""Changes to what is there, and members that are refused by name, to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.local.wire import POOL, completed, job
from tests.waiting import until

if TYPE_CHECKING:
    from tests.local.wire import Wire


def test_a_policy_that_is_changed_has_its_defaults(wire: Wire):
    wire.must("POST", "/pools", {"id": "p", "vmSize": "s"})
    half = wire.ask("PATCH", "/pools/p", {"taskSchedulingPolicy": {"jobDefaultOrder": "creationtime"}})
    assert (half.status_code, half.json()["code"]) == (400, "MissingRequiredProperty")
    assert wire.ask("PATCH", "/pools/p", {"taskSchedulingPolicy": {"nodeFillType": "pack"}}).status_code == 200
    policy = wire.ask("GET", "/pools/p").json()["taskSchedulingPolicy"]
    assert policy == {"nodeFillType": "Pack", "jobDefaultOrder": "none"}
    wire.until("/pools/p", lambda found: found["allocationState"] == "steady")
    wire.must("POST", "/pools/p/resize", {"targetDedicatedNodes": 1})
    assert job(wire, poolInfo={"poolId": "p"}).status_code == 201
    assert wire.ask("POST", "/jobs/Job/tasks", {"id": "T", "commandLine": "true"}).status_code == 201
    completed(wire, "/jobs/Job/tasks/T")


CHANGES = {
    "displayName": "d",
    "vmSize": "other",
    "taskSlotsPerNode": 2,
    "enableInterNodeCommunication": True,
    "virtualMachineConfiguration": {"nodeAgentSKUId": "batch.node.debian 12", "imageReference": {}},
    "networkConfiguration": {"subnetId": "s"},
    "userAccounts": [{"name": "u"}],
    "taskSchedulingPolicy": {"nodeFillType": "Pack", "jobDefaultOrder": "none"},
    "upgradePolicy": {"mode": "manual"},
}


def test_a_pool_without_nodes_can_change_what_it_is_made_of(wire: Wire):
    wire.must("POST", "/pools", {"id": "p", "vmSize": "s"})
    wire.must("PATCH", "/pools/p", CHANGES)
    found = wire.get("/pools/p")
    assert {name: found[name] for name in CHANGES} == CHANGES


@pytest.mark.parametrize("name", CHANGES)
def test_a_pool_with_nodes_can_not(wire: Wire, name: str):
    answer = wire.send("PATCH", "/pools/local", {name: CHANGES[name]})
    assert (answer.status_code, answer.json()["code"]) == (409, "OperationInvalidForCurrentState")
    assert name in answer.json()["values"][0]["value"]


@pytest.mark.parametrize(
    ("name", "method", "path", "body"),
    [
        ("mountConfiguration", "PATCH", "/pools/local", {"mountConfiguration": []}),
        ("allowTaskPreemption", "POST", "/jobs", {"id": "j", **POOL, "allowTaskPreemption": True}),
        ("allowTaskPreemption", "PATCH", "/jobs/Job", {"allowTaskPreemption": True}),
        (
            "containerHostBatchBindMounts",
            "POST",
            "/jobs/Job/tasks",
            {
                "id": "t",
                "commandLine": "x",
                "containerSettings": {"imageName": "i", "containerHostBatchBindMounts": [{"source": "Shared"}]},
            },
        ),
        (
            "identityReference",
            "POST",
            "/jobs/Job/tasks",
            {
                "id": "t",
                "commandLine": "x",
                "containerSettings": {"imageName": "i", "registry": {"identityReference": {"resourceId": "x"}}},
            },
        ),
    ],
)
def test_what_is_not_acted_on_is_refused_by_name(
    wire: Wire, name: str, method: str, path: str, body: dict[str, object]
):
    job(wire)
    answer = wire.send(method, path, body)
    assert (answer.status_code, answer.json()["code"]) == (501, "NotImplemented")
    assert f"The property {name} is not emulated" in answer.json()["values"][0]["value"]


@pytest.mark.parametrize("name", ["certificateReferences", "cloudServiceConfiguration"])
def test_members_that_the_newest_version_has_no_more_are_refused_and_not_shown(wire: Wire, name: str):
    pool = {"vmSize": "s", name: [] if name == "certificateReferences" else {"osFamily": "5"}}
    made = {"poolInfo": {"autoPoolSpecification": {"poolLifetimeOption": "job", "pool": pool}}}
    for path, body in (
        ("/pools", {"id": "p", **pool}),
        ("/jobs", {"id": "j", **made}),
        ("/jobschedules", {"id": "s", "schedule": {}, "jobSpecification": made}),
    ):
        answer = wire.send("POST", path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequestBody")
        assert f"{name}' is not known to this api-version" in answer.json()["values"][0]["value"]
        assert wire.ask("POST", path, body, version="2023-05-01.17.0").status_code == 201
    assert name in wire.get("/pools/p?api-version=2023-05-01.17.0")
    assert name not in wire.get("/pools/p")
    assert name not in wire.get("/jobs/j")["poolInfo"]["autoPoolSpecification"]["pool"]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/Job", "/pools/local", "/jobs/Job/taskcounts"])
def test_what_can_not_be_expanded_is_refused_for_one_as_for_a_list(wire: Wire, path: str):
    job(wire)
    answer = wire.send("GET", f"{path}?$expand=foo")
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidQueryParameterValue")
    assert {"key": "QueryParameterName", "value": "$expand"} in answer.json()["values"]


def test_a_refused_change_changes_nothing(wire: Wire):
    metadata = [{"name": "a", "value": "b"}]
    schedule = {"schedule": {"recurrenceInterval": "PT1H"}, "metadata": metadata, "jobSpecification": POOL}
    wire.ask("POST", "/jobschedules", {"id": "s", **schedule})
    wire.ask("POST", "/pools", {"id": "p", "vmSize": "s", "startTask": {"commandLine": "true"}, "metadata": metadata})
    until(lambda: wire.ask("GET", "/pools/p").json()["allocationState"] == "steady")
    before = [wire.ask("GET", path).json() for path in ("/jobschedules/s", "/pools/p")]
    wrong = {**POOL, "jobReleaseTask": {"commandLine": "true"}}
    answers = [
        wire.ask("PUT", "/jobschedules/s", {"schedule": {"recurrenceInterval": "PT2H"}, "jobSpecification": wrong}),
        wire.ask("PUT", "/jobschedules/s", {"jobSpecification": POOL, "metadata": [{"name": "", "value": "x"}]}),
        wire.ask("POST", "/pools/p/updateproperties", {"metadata": [{"name": "", "value": "x"}]}),
        wire.ask("POST", "/pools/p/updateproperties", {"applicationPackageReferences": [{"applicationId": "none"}]}),
    ]
    assert {answer.status_code // 100 for answer in answers} == {4}
    assert [wire.ask("GET", path).json() for path in ("/jobschedules/s", "/pools/p")] == before
    assert wire.ask("PUT", "/jobschedules/s", {"jobSpecification": POOL}).status_code == 200
    assert wire.ask("POST", "/pools/p/updateproperties", {}).status_code == 204
    after = [wire.ask("GET", path).json() for path in ("/jobschedules/s", "/pools/p")]
    assert not {"schedule", "metadata"} & after[0].keys()
    assert not {"startTask", "metadata"} & after[1].keys()
