"""What no Batch account has: a clock to stop, faults, a journal, nodes to kill; in the process and over HTTP."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.local.wire import Wire
from tests.waiting import until

POOL = {"poolInfo": {"poolId": "local"}}
SLEEP = {"id": "manager", "commandLine": "/bin/sleep 600"}


def control(wire: Wire, method: str, path: str, body: object = None, status: int = 200):
    answer = wire.ask(method, f"/_local{path}", body, version=None)
    assert answer.status_code == status, answer.text
    return answer.json()


def state(wire: Wire, path: str) -> str:
    return wire.ask("GET", path).json()["state"]


def test_it_wants_the_accounts_signature(batch: LocalBatch):
    assert httpx.get(f"{batch.url}/_local/journal").status_code == 403


def test_it_can_be_left_out():
    with LocalBatch(Settings(port=0, control=False)) as batch:
        wire = Wire(batch)
        assert wire.ask("GET", "/_local/journal").json()["code"] == "InvalidUri"
        wire.close()


def test_a_stopped_clock_holds_what_passes_and_advancing_lets_it_happen(wire: Wire):
    control(wire, "POST", "/clock/stop")
    wire.ask("POST", "/jobs", {"id": "job", **POOL, "constraints": {"maxWallClockTime": "P1D"}})
    before = control(wire, "GET", "/clock")
    assert before["stopped"] is True
    control(wire, "POST", "/clock/advance", {"seconds": 24 * 3600})
    read = wire.ask("GET", "/jobs/job").json()
    assert (read["state"], read["executionInfo"]["terminateReason"]) == ("terminating", "MaxWallClockTimeExpiry")
    control(wire, "POST", "/clock/advance", {"seconds": 1})
    assert state(wire, "/jobs/job") == "completed"
    wire.ask("DELETE", "/jobs/job")
    assert state(wire, "/jobs/job") == "deleting"
    control(wire, "POST", "/clock/resume")
    until(lambda: wire.ask("GET", "/jobs/job").status_code == 404)
    control(wire, "POST", "/clock/advance", {"seconds": -1}, status=400)


def test_the_calendar_ends_and_the_service_does_not(wire: Wire):
    statuses = {wire.ask("POST", "/_local/clock/advance", {"seconds": 3e9}).status_code for _ in range(90)}
    assert statuses == {200, 400}
    control(wire, "POST", "/reset")
    assert wire.ask("GET", "/jobs").status_code == 200


def test_the_journal_says_what_was_asked_and_answered(wire: Wire):
    wire.ask("GET", "/jobs/none")
    control(wire, "GET", "/clock")
    (entry,) = control(wire, "GET", "/journal")["value"]
    assert (entry["method"], entry["operation"], entry["status"], entry["code"]) == (
        "GET",
        "get_job",
        404,
        "JobNotFound",
    )
    assert entry["path"].startswith("/jobs/none?")


def test_a_fault_of_an_operation_that_does_not_exist_is_refused(batch: LocalBatch):
    with pytest.raises(ValueError, match="There is no operation 'creat_job'; did you mean 'create_job'"):
        batch.faults.add(operation="creat_job", then="drop")
    batch.faults.add(operation="list_*", then="drop", times=1)


def test_faults_come_and_go(wire: Wire):
    control(wire, "POST", "/faults", {"then": "answer", "status": 503, "retry_after": 3, "operation": "get_job"})
    answer = wire.ask("GET", "/jobs/any")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "3", "ServerBusy")
    assert wire.ask("GET", "/jobs").status_code == 200
    assert control(wire, "GET", "/faults")["value"][0]["hits"] == 1
    control(wire, "DELETE", "/faults")
    assert wire.ask("GET", "/jobs/any").status_code == 404
    control(wire, "POST", "/faults", {"then": "nonsense"}, status=400)


@pytest.mark.parametrize("rule", [{"then": "drop"}, {"then": "answer", "status": 503}, {"then": "drop", "path": "/_*"}])
def test_every_fault_can_be_taken_back_over_http(wire: Wire, rule: dict[str, object]):
    control(wire, "POST", "/faults", rule)
    assert control(wire, "GET", "/faults")["value"][0]["hits"] == 0
    control(wire, "DELETE", "/faults")
    assert wire.ask("GET", "/jobs").status_code == 200


def test_a_clock_that_is_wrong_where_the_calendar_ends_breaks_no_answer(wire: Wire):
    answer = wire.ask("POST", "/_local/clock/advance", {"seconds": 3.1e9}, version=None)
    while answer.status_code == 200:
        answer = wire.ask("POST", "/_local/clock/advance", {"seconds": 3.1e9}, version=None)
    control(wire, "POST", "/faults", {"then": "skew", "seconds": 3.1e9})
    answer = wire.ask("GET", "/jobs")
    assert (answer.status_code, answer.headers["date"]) == (200, "Fri, 31 Dec 9999 23:59:59 GMT")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/faults", {"then": "skew", "seconds": 1e300}),
        ("/faults", {"then": "answer", "status": 204, "code": "X"}),
        ("/faults", {"then": "garbage", "status": 204}),
        ("/scripts", {"files": []}),
    ],
)
def test_a_rule_that_no_request_could_follow_is_refused(wire: Wire, path: str, body: dict[str, object]):
    assert control(wire, "POST", path, body, status=400)["code"] == "InvalidRequestBody"
    assert control(wire, "GET", path)["value"] == []


def test_an_answer_that_is_lost_after_the_work_was_done(wire: Wire, batch: LocalBatch):
    batch.faults.add(operation="create_job", then="lose-answer", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        wire.ask("POST", "/jobs", {"id": "job", **POOL})
    again = wire.ask("POST", "/jobs", {"id": "job", **POOL})
    assert (again.status_code, again.json()["code"]) == (409, "JobExists")


def test_a_node_is_killed_and_its_task_runs_again(wire: Wire):
    wire.ask("POST", "/jobs", {"id": "job", **POOL, "jobManagerTask": SLEEP})
    task = "/jobs/job/tasks/manager"
    until(lambda: state(wire, task) == "running")
    first = wire.ask("GET", task).json()
    node = first["nodeInfo"]["nodeId"]
    assert control(wire, "POST", f"/pools/local/nodes/{node}/kill")["id"] == node
    until(
        lambda: (
            wire.ask("GET", task).json().get("executionInfo", {}).get("startTime", "")
            > first["executionInfo"]["startTime"]
        )
    )
    info = wire.ask("GET", task).json()["executionInfo"]
    assert (info["retryCount"], info["requeueCount"]) == (0, 0)


def test_a_spot_node_is_taken_away_and_given_back(wire: Wire, batch: LocalBatch):
    wire.ask("POST", "/pools", {"id": "spot", "vmSize": "s", "targetLowPriorityNodes": 2})
    until(lambda: len(wire.ask("GET", "/pools/spot/nodes").json()["value"]) == 2)
    wire.ask("POST", "/jobs", {"id": "job", "poolInfo": {"poolId": "spot"}, "jobManagerTask": SLEEP})
    task = "/jobs/job/tasks/manager"
    until(lambda: state(wire, task) == "running")
    first = wire.ask("GET", task).json()["nodeInfo"]["nodeId"]
    batch.preempt_node("spot", first)
    until(lambda: wire.ask("GET", task).json().get("nodeInfo", {}).get("nodeId", first) != first)
    assert state(wire, f"/pools/spot/nodes/{first}") == "preempted"
    info = wire.ask("GET", task).json()["executionInfo"]
    assert (info["retryCount"], info["requeueCount"]) == (0, 0)
    batch.restore_node("spot", first)
    assert state(wire, f"/pools/spot/nodes/{first}") == "idle"
    batch.kill_node("spot", first)
    until(lambda: state(wire, f"/pools/spot/nodes/{first}") == "idle")


def test_a_dedicated_node_is_not_preempted_and_a_node_can_be_named_by_its_place(wire: Wire):
    control(wire, "POST", "/pools/local/nodes/0/preempt", status=409)
    control(wire, "POST", "/pools/local/nodes/9/kill", status=404)
    control(wire, "POST", "/pools/none/nodes/0/kill", status=404)
    control(wire, "POST", "/pools/local/nodes/0/dance", status=400)
    control(wire, "GET", "/nonsense", status=400)
    assert "POST /_local/clock/advance" in control(wire, "GET", "")["value"]


def test_a_reset_leaves_an_empty_account(wire: Wire, batch: LocalBatch):
    wire.ask("POST", "/jobs", {"id": "job", **POOL, "jobManagerTask": SLEEP})
    until(lambda: state(wire, "/jobs/job/tasks/manager") == "running")
    wire.ask("POST", "/pools", {"id": "more", "vmSize": "s", "targetDedicatedNodes": 1})
    batch.clock.stop()
    control(wire, "POST", "/reset")
    assert wire.ask("GET", "/jobs").json()["value"] == []
    assert [pool["id"] for pool in wire.ask("GET", "/pools").json()["value"]] == ["local"]
    assert not batch.clock.stopped
    # The same ids again, at once: nothing of the earlier job gets mixed up with them.
    wire.ask(
        "POST", "/jobs", {"id": "job", **POOL, "jobManagerTask": {"id": "manager", "commandLine": "/bin/echo new"}}
    )
    until(lambda: state(wire, "/jobs/job") == "completed")
    assert wire.ask("GET", "/jobs/job/tasks/manager").json()["executionInfo"]["exitCode"] == 0
