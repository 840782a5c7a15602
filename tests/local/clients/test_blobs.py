"""Files of tasks through a real blob service: brought before they run, taken away after, and what a failure says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.local.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.azurite import Azurite, Container


@pytest.fixture(scope="module")
def with_storage(azurite: Azurite) -> Iterator[LocalBatch]:
    with LocalBatch(Settings(port=0, auto_storage=azurite.connection_string)) as batch:
        yield batch


@pytest.fixture
def wire(with_storage: LocalBatch) -> Iterator[Wire]:
    with_storage.reset()
    bare = Wire(with_storage)
    bare.must("POST", "/jobs", {"id": "job", "poolInfo": {"poolId": "local"}})
    yield bare
    bare.close()


def run(wire: Wire, command: str, name: str = "t", **more: Any) -> dict[str, Any]:
    """A task once it is completed."""
    wire.must("POST", "/jobs/job/tasks", {"id": name, "commandLine": f"/bin/sh -c '{command}'", **more})
    return wire.until_state(f"/jobs/job/tasks/{name}", "completed")


def out(wire: Wire, name: str = "t", file: str = "stdout.txt") -> str:
    return wire.must("GET", f"/jobs/job/tasks/{name}/files/{file}").text


def upload(url: str, pattern: str, condition: str = "taskcompletion", **container: Any) -> dict[str, Any]:
    return {
        "filePattern": pattern,
        "destination": {"container": {"containerUrl": url, **container}},
        "uploadOptions": {"uploadCondition": condition},
    }


def test_what_a_task_needs_is_there_before_it_runs(wire: Wire, container: Container):
    container.put(**{"one.txt": b"1", "in/two.sh": b"#!/bin/sh\necho two\n", "in/deep/three.txt": b"3"})
    files = [
        {"httpUrl": container.blob_url("one.txt"), "filePath": "first.txt"},
        {"storageContainerUrl": container.url("rl"), "blobPrefix": "in/", "filePath": "data", "fileMode": "0755"},
        {"autoStorageContainerName": container.name, "filePath": "auto"},
    ]

    task = run(wire, "cat first.txt data/in/deep/three.txt auto/one.txt; ./data/in/two.sh", resourceFiles=files)

    assert task["executionInfo"]["exitCode"] == 0, out(wire, file="stderr.txt")
    assert out(wire) == "131two\n"


def test_what_a_task_made_is_taken_away_by_how_it_ended(wire: Wire, container: Container):
    files = [
        upload(container.url("w"), "../std*.txt", path="$AZ_BATCH_TASK_ID"),
        upload(container.url("w"), "$AZ_BATCH_TASK_ID/**/*.csv", "tasksuccess", path="results"),
        upload(container.url("w"), "dump", "taskfailure", path="dumps/the-one"),
    ]
    command = "mkdir -p $AZ_BATCH_TASK_ID/x; echo a > $AZ_BATCH_TASK_ID/x/a.csv; echo d > dump; exit "

    good = run(wire, f"{command} 0", "good", outputFiles=files)
    bad = run(wire, f"{command} 3", "bad", outputFiles=files)

    assert (good["executionInfo"]["result"], bad["executionInfo"]["exitCode"]) == ("success", 3)
    blobs = container.blobs()
    assert blobs["results/x/a.csv"] == b"a\n"
    assert blobs["dumps/the-one"] == b"d\n"
    assert len([name for name in blobs if name.startswith("results/")]) == 1
    assert len([name for name in blobs if name.startswith("dumps/")]) == 1
    assert any(name.endswith("stdout.txt") for name in blobs)
    assert "results/x/a.csv" in out(wire, "good", "fileuploadout.txt")
    assert out(wire, "good", "fileuploaderr.txt") == ""


def test_a_file_that_is_not_there_fails_the_task_without_a_try(wire: Wire, container: Container):
    files = [{"httpUrl": container.blob_url("missing"), "filePath": "x"}]

    task = run(wire, "true", resourceFiles=files, constraints={"maxTaskRetryCount": 3})

    info = task["executionInfo"]
    assert (info["result"], info["retryCount"]) == ("failure", 0)
    assert "exitCode" not in info
    assert (info["failureInfo"]["code"], info["failureInfo"]["category"]) == ("BlobNotFound", "UserError")
    assert "sig=" not in str(info)


def test_an_upload_that_fails_fails_a_task_that_ran_well(wire: Wire, azurite: Azurite, container: Container):
    missing = type(container)(azurite, "nothere")

    task = run(
        wire, "true", outputFiles=[upload(missing.url("w"), "../stdout.txt")], constraints={"maxTaskRetryCount": 3}
    )

    info = task["executionInfo"]
    assert (info["exitCode"], info["result"], info["retryCount"]) == (0, "failure", 0)
    assert info["failureInfo"]["code"] == "FileUploadContainerNotFound"
    assert "FileUploadContainerNotFound" in out(wire, file="fileuploaderr.txt")
    assert "sig=" not in str(info) + out(wire, file="fileuploaderr.txt") + out(wire, file="fileuploadout.txt")


def test_a_manager_takes_its_files_too(wire: Wire, container: Container):
    container.put(**{"in.txt": b"hello"})
    manager = {
        "id": "jm",
        "commandLine": "/bin/sh -c 'cat in.txt > result'",
        "resourceFiles": [{"httpUrl": container.blob_url("in.txt"), "filePath": "in.txt"}],
        "outputFiles": [upload(container.url("w"), "result", "tasksuccess", path="out")],
    }
    wire.must("POST", "/jobs", {"id": "managed", "poolInfo": {"poolId": "local"}, "jobManagerTask": manager})

    found = wire.until_state("/jobs/managed", "completed")

    assert found["executionInfo"]["terminateReason"] == "JMComplete"
    assert container.blobs()["out"] == b"hello"


@pytest.mark.parametrize(
    ("more", "status", "name"),
    [
        ({"resourceFiles": [{"filePath": "x"}]}, 400, "resourceFiles[0]"),
        ({"resourceFiles": [{"httpUrl": "http://h/x", "filePath": "../x"}]}, 400, "resourceFiles[0].filePath"),
        ({"outputFiles": [upload("nowhere", "*")]}, 400, "containerUrl"),
        (
            {"resourceFiles": [{"httpUrl": "http://h/x", "filePath": "x", "identityReference": {"resourceId": "i"}}]},
            501,
            "identityReference",
        ),
    ],
)
def test_what_can_t_work_is_refused_when_the_task_is_added(wire: Wire, more: dict[str, Any], status: int, name: str):
    answer = wire.send("POST", "/jobs/job/tasks", {"id": "t", "commandLine": "x", **more})

    assert answer.status_code == status, answer.text
    assert name in answer.text


def test_without_auto_storage_its_files_are_refused(batch: LocalBatch):
    wire = Wire(batch)
    wire.must("POST", "/jobs", {"id": "job", "poolInfo": {"poolId": "local"}})

    answer = wire.send(
        "POST", "/jobs/job/tasks", {"id": "t", "commandLine": "x", "resourceFiles": [{"autoStorageContainerName": "c"}]}
    )
    wire.close()

    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidPropertyValue")
    assert "auto-storage" in answer.text
