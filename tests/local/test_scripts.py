"""Tasks that end as a test says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.local.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

# A command that leaves a trace, for it must not run.
COMMAND = "/bin/sh -c 'echo it ran; exit 7'"


@pytest.fixture(scope="module")
def service() -> Iterator[LocalBatch]:
    with LocalBatch(Settings(port=0, nodes=1)) as batch:
        yield batch


@pytest.fixture
def wire(wire: Wire) -> Wire:
    wire.must("POST", "/jobs", {"id": "Job", "poolInfo": {"poolId": "local"}})
    return wire


def add(wire: Wire, name: str = "T", **more: Any) -> str:
    wire.must("POST", "/jobs/Job/tasks", {"id": name, "commandLine": COMMAND, **more})
    return f"/jobs/Job/tasks/{name}"


def completed(wire: Wire, path: str) -> dict[str, Any]:
    info: dict[str, Any] = wire.until_state(path, "completed")["executionInfo"]
    return info


def text(wire: Wire, path: str, file: str = "stdout.txt") -> str:
    return wire.must("GET", f"{path}/files/{file}").text


def test_a_task_ends_as_it_says_and_leaves_what_it_says(batch: LocalBatch, wire: Wire):
    batch.scripts.add(exit_code=3, stdout="out", stderr="err", files={"result.json": "[1]", "deep/er": "x"})
    path = add(wire)
    info = completed(wire, path)
    assert (info["exitCode"], info["result"], info["failureInfo"]["code"]) == (3, "failure", "FailureExitCode")
    assert [text(wire, path, file) for file in ("stdout.txt", "stderr.txt")] == ["out", "err"]
    assert [text(wire, path, file) for file in ("wd%2Fresult.json", "wd%2Fdeep%2Fer")] == ["[1]", "x"]


def test_scripts_follow_one_another_and_what_none_is_for_runs_as_ever(batch: LocalBatch, wire: Wire):
    batch.scripts.add(task_id="t*", exit_code=1, times=1)
    batch.scripts.add(task_id="t*", times=1)
    batch.scripts.add(job_id="another*")
    info = completed(wire, add(wire, "T1", constraints={"maxTaskRetryCount": 1}))
    assert (info["exitCode"], info["retryCount"]) == (0, 1)
    path = add(wire, "T2")
    assert completed(wire, path)["exitCode"] == 7
    assert text(wire, path) == "it ran\n"


def test_a_manager_that_is_scripted_ends_its_job(batch: LocalBatch, wire: Wire):
    batch.scripts.add(job_id="managed", task_id="jm")
    batch.scripts.add(job_id="managed", seconds=3600)
    manager = {"id": "jm", "commandLine": COMMAND, "runExclusive": False}
    batch.clock.stop()
    wire.must("POST", "/jobs", {"id": "Managed", "poolInfo": {"poolId": "local"}, "jobManagerTask": manager})
    wire.must("POST", "/jobs/managed/tasks", {"id": "child", "commandLine": COMMAND})
    batch.clock.advance(10)
    job = wire.get("/jobs/managed")
    assert (job["state"], job["executionInfo"]["terminateReason"]) == ("completed", "JMComplete")
    child = wire.get("/jobs/managed/tasks/child")["executionInfo"]
    assert (child["exitCode"], child["failureInfo"]["code"]) == (-9, "TaskEnded")


@pytest.mark.parametrize(
    ("code", "category", "exit_code"),
    [
        ("BlobNotFound", "UserError", None),
        ("DiskFull", "ServerError", None),
        ("CommandProgramNotFound", "UserError", None),
        ("FileUploadAccessDenied", "UserError", 0),
    ],
)
def test_failures_before_and_after_the_command(
    batch: LocalBatch, wire: Wire, code: str, category: str, exit_code: int | None
):
    batch.scripts.add(failure=code)
    info = completed(wire, add(wire))
    assert (info["failureInfo"]["code"], info["failureInfo"]["category"]) == (code, category)
    assert (info.get("exitCode"), info["result"]) == (exit_code, "failure")


def test_time_is_the_service_s(batch: LocalBatch, wire: Wire):
    batch.scripts.add(seconds=3600)
    batch.clock.stop()
    long, short = add(wire, "long"), add(wire, "short", constraints={"maxWallClockTime": "PT1M"})
    batch.clock.advance(3599)
    assert wire.get(long)["state"] == "running"
    assert wire.get(short)["executionInfo"]["failureInfo"]["code"] == "TaskEnded"
    batch.clock.advance(2)
    assert wire.get(long)["executionInfo"]["exitCode"] == 0


def test_a_run_is_ended_before_its_time(batch: LocalBatch, wire: Wire):
    batch.scripts.add(seconds=1e9)
    path = add(wire)
    wire.until_state(path, "running")
    wire.must("POST", f"{path}/terminate")
    assert completed(wire, path)["failureInfo"]["code"] == "TaskEnded"


def test_a_task_that_is_tried_again_for_ever_does_not_hold_the_time_up(batch: LocalBatch, wire: Wire):
    batch.scripts.add(exit_code=1)
    batch.clock.stop()
    path = add(wire, constraints={"maxTaskRetryCount": -1})
    batch.clock.advance(1)
    assert wire.get(path)["executionInfo"]["retryCount"] > 10


def test_from_another_process(batch: LocalBatch, wire: Wire):
    made = wire.must("POST", "/_local/scripts", {"task_id": "T", "exit_code": 4, "times": 1}).json()
    assert (made["task_id"], made["job_id"], made["exit_code"]) == ("T", "*", 4)
    assert completed(wire, add(wire))["exitCode"] == 4
    (shown,) = wire.get("/_local/scripts")["value"]
    assert (shown["times"], shown["taken"]) == (1, 1)
    refused = wire.send("POST", "/_local/scripts", {"exit": 4})
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidRequestBody")
    wire.must("DELETE", "/_local/scripts")
    assert batch.scripts.data() == []


@pytest.mark.parametrize("parts", ['{"stdout": "\\ud800"}', '{"files": {"a\\u0000": ""}}', '{"files": {"../a": ""}}'])
def test_what_no_file_can_be_is_refused_over_http(batch: LocalBatch, wire: Wire, parts: str):
    refused = wire.send("POST", "/_local/scripts", json.loads(parts))
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidRequestBody")
    assert ("surrogate pair" in refused.text) or ("without '..' and NUL" in refused.text)
    assert batch.scripts.data() == []


def test_text_is_utf_8_and_a_file_that_can_not_be_written_fails_its_task_alone(batch: LocalBatch, wire: Wire):
    batch.scripts.add(task_id="bad", files={"a" * 300: ""})
    batch.scripts.add(task_id="good", stdout="\u20ac", files={"dir/b..c": "x"})
    tasks = [{"id": name, "commandLine": COMMAND} for name in ("bad", "good")]
    wire.must("POST", "/jobs/Job/addtaskcollection", {"value": tasks})
    assert completed(wire, "/jobs/Job/tasks/bad")["failureInfo"]["code"] == "ResourceFileCreateFailed"
    assert completed(wire, "/jobs/Job/tasks/good")["exitCode"] == 0
    assert text(wire, "/jobs/Job/tasks/good") == "\u20ac"


def test_a_reset_takes_scripts_back(batch: LocalBatch):
    batch.scripts.add()
    batch.reset()
    wire = Wire(batch)
    wire.must("POST", "/jobs", {"id": "Job", "poolInfo": {"poolId": "local"}})
    assert completed(wire, add(wire))["exitCode"] == 7
    wire.close()


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"exit_code": "1"}, "'exit_code' must be <class 'int'>"),
        ({"failure": "Nothing"}, "'failure' must be in"),
        ({"seconds": -1}, "'seconds' must be >= 0"),
        ({"times": 0}, "'times' must be >= 1"),
        ({"files": {"a": b""}}, "must be <class 'str'>"),
        ({"files": []}, "'files' must be <class 'dict'>"),
        ({"files": {"/tmp/a": ""}}, "must be relative to the working directory.* it is '/tmp/a'"),
        ({"files": {"../a": ""}}, "without '..' and NUL"),
        ({"files": {"a/../../b": ""}}, "without '..' and NUL"),
        ({"files": {"a\0b": ""}}, r"it is 'a\\x00b'"),
        ({"files": {".": ""}}, "must be relative"),
        ({"files": {"\ud800": ""}}, "'files' must be text that UTF-8 can hold"),
        ({"files": {"a": "ab\ud800"}}, "'files' must be text that UTF-8 can hold; its character 2"),
        ({"stdout": "\ud800"}, "'stdout' must be text that UTF-8 can hold; its character 0"),
        ({"task_id": "\ud800"}, "'task_id' must be text that UTF-8 can hold"),
        ({"stderr": 5}, "'stderr' must be <class 'str'>"),
        ({"task": "t"}, "unexpected keyword argument 'task'"),
    ],
)
def test_what_is_no_script(batch: LocalBatch, parts: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        batch.scripts.add(**parts)
