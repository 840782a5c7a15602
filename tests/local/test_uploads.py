from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import uploads
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.transfer_errors import Stopped, TransferError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.azurite import Azurite, Container


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A task's directory after it ran: logs above, results in the working directory."""
    working = tmp_path / "task" / "wd"
    for name in ("out.txt", ".hidden", "a.txt", "b.log", "a[1].txt", "sub/c.txt", "sub/deep/d.txt", "sub/.e/f.txt"):
        (working / name).parent.mkdir(parents=True, exist_ok=True)
        (working / name).write_text(name)
    for name in ("stdout.txt", "stderr.txt"):
        (working.parent / name).write_text(name)
    return working


def entry(url: str, pattern: str, condition: str = "taskcompletion", **container: Any) -> dict[str, Any]:
    return {
        "filePattern": pattern,
        "destination": {"container": {"containerUrl": url, **container}},
        "uploadOptions": {"uploadCondition": condition},
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("out.txt", {"out.txt"}),
        ("nothing.txt", set()),
        ("*.txt", {"out.txt", "a.txt", "a[1].txt"}),
        ("?.txt", {"a.txt"}),
        ("[ab].*", {"a.txt", "b.log"}),
        ("[!a].*", {"b.log"}),
        ("[a-c].log", {"b.log"}),
        ("a[[]1].txt", {"a[1].txt"}),
        ("*", {"out.txt", "a.txt", "b.log", "a[1].txt"}),
        (".*", {".hidden"}),
        ("**/*.txt", {"out.txt", "a.txt", "a[1].txt", "sub/c.txt", "sub/deep/d.txt"}),
        ("**/*", {"out.txt", "a.txt", "b.log", "a[1].txt", "sub/c.txt", "sub/deep/d.txt"}),
        ("sub/**/*.txt", {"c.txt", "deep/d.txt"}),
        ("sub/*", {"c.txt"}),
        ("sub/.e/*", {"f.txt"}),
        ("sub/c.txt", {"c.txt"}),
        ("s*/c.txt", {"sub/c.txt"}),
        ("../std*.txt", {"stdout.txt", "stderr.txt"}),
        ("nowhere/*", set()),
        ("x" * 300, set()),
        ("no\0name", set()),
    ],
)
def test_patterns(directory: Path, pattern: str, names: set[str]):
    found = uploads.find(pattern, directory)

    assert {name for _, name in found} == names
    assert all(path.is_file() for path, _ in found)
    absolute = uploads.find(str(directory / pattern), directory.parent)
    assert {path.resolve() for path, _ in absolute} == {path.resolve() for path, _ in found}


def test_variables_are_expanded_before_the_pattern_is_applied():
    environment = {"AZ_BATCH_TASK_ID": "t1", "DIR": "sub"}

    assert uploads.expand("$DIR/${AZ_BATCH_TASK_ID}_*.txt", environment) == "sub/t1_*.txt"
    assert uploads.expand("$OTHER/x$", environment) == "$OTHER/x$"


@pytest.mark.parametrize(
    ("condition", "on_zero", "on_two", "on_none"),
    [
        ("tasksuccess", True, False, False),
        ("TaskFailure", False, True, True),
        ("taskcompletion", True, True, True),
    ],
)
def test_conditions_look_at_the_exit_code_alone(condition: str, on_zero: bool, on_two: bool, on_none: bool):
    assert [uploads.wanted(condition, code) for code in (0, 2, None)] == [on_zero, on_two, on_none]


def test_where_files_go(container: Container, directory: Path):
    files = [
        entry(container.url("rwl"), "../std*.txt", path="$X/logs/"),
        entry(container.url("rwl"), "**/*.txt", "tasksuccess", path="all"),
        entry(container.url("rwl"), "out.txt", "tasksuccess", path="results/final.txt"),
        entry(container.url("rwl"), "sub/$NAME.txt", "tasksuccess"),
        entry(container.url("rwl"), "b.log", "taskfailure"),
    ]
    uploads.check_output_files(files)

    uploads.upload(files, directory, {"NAME": "c"}, 0)

    assert container.blobs() == {
        "$X/logs/stdout.txt": b"stdout.txt",
        "$X/logs/stderr.txt": b"stderr.txt",
        "all/out.txt": b"out.txt",
        "all/a.txt": b"a.txt",
        "all/a[1].txt": b"a[1].txt",
        "all/sub/c.txt": b"sub/c.txt",
        "all/sub/deep/d.txt": b"sub/deep/d.txt",
        "results/final.txt": b"out.txt",
        "c.txt": b"sub/c.txt",
    }
    log = (directory.parent / "fileuploadout.txt").read_text()
    assert "results/final.txt" in log
    assert "sig=" not in log
    assert (directory.parent / "fileuploaderr.txt").read_text() == ""


def test_no_upload_wanted_no_logs(directory: Path):
    uploads.upload([entry("http://127.0.0.1:1/a/c", "*", "tasksuccess")], directory, {}, 1)

    assert not (directory.parent / "fileuploadout.txt").exists()


def test_what_is_there_is_replaced_and_headers_are_set(container: Container, directory: Path):
    headers = [
        {"name": "x-ms-blob-content-type", "value": "text/csv"},
        {"name": "Cache-Control", "value": "no-store"},
        {"name": "x-ms-meta-owner", "value": "me"},
    ]
    container.put(**{"a.txt": b"old"})
    files = [entry(container.url("w"), "a.txt", uploadHeaders=headers)]
    uploads.check_output_files(files)

    uploads.upload(files, directory, {}, 0)

    with container.client() as client:
        properties = client.get_blob_client("a.txt").get_blob_properties()
    assert container.blobs()["a.txt"] == b"a.txt"
    assert properties.content_settings.content_type == "text/csv"
    assert properties.content_settings.cache_control == "no-store"
    assert properties.metadata == {"owner": "me"}


def failure(files: list[dict[str, Any]], directory: Path) -> TransferError:
    with pytest.raises(TransferError) as failed:
        uploads.upload(files, directory, {}, 0)
    text = str(failed.value) + (directory.parent / "fileuploaderr.txt").read_text()
    assert "sig=" not in text
    assert failed.value.code in text
    return failed.value


def test_failures(azurite: Azurite, container: Container, directory: Path):
    missing = type(container)(azurite, "nothere")

    gone = failure([entry(missing.url("w"), "a.txt")], directory)
    denied = failure([entry(container.url("r"), "a.txt")], directory)
    expired = failure([entry(container.url("w", hours=-1), "a.txt")], directory)
    nobody = failure([entry("http://127.0.0.1:1/acct/c?sig=SECRETSIG", "a.txt")], directory)

    assert gone.failure_info() == {
        "category": "UserError",
        "code": "FileUploadContainerNotFound",
        "message": "One of the specified Azure container(s) was not found while attempting to upload an output file",
        "details": gone.failure_info()["details"],
    }
    assert (denied.code, expired.code) == ("FileUploadAccessDenied", "FileUploadAccessDenied")
    assert nobody.code == "FileUploadMiscError"
    assert "SECRETSIG" not in str(nobody.details)


def test_a_blob_under_lease_is_a_conflict(container: Container, directory: Path):
    container.put(**{"a.txt": b"old"})
    with container.client() as client:
        client.get_blob_client("a.txt").acquire_lease()

    assert failure([entry(container.url("w"), "a.txt")], directory).code == "FileUploadConflict"


def test_one_failure_does_not_keep_the_others_back(container: Container, directory: Path):
    files = [entry(container.url("r"), "a.txt"), entry(container.url("w"), "b.log")]

    assert failure(files, directory).code == "FileUploadAccessDenied"
    assert set(container.blobs()) == {"b.log"}


def test_an_address_that_names_no_container_fails_its_upload_alone(container: Container, directory: Path):
    files = [entry("http://127.0.0.1:1", "out.txt"), entry(container.url("w"), "out.txt")]

    with pytest.raises(TransferError) as raised:
        uploads.upload(files, directory, {}, 0)

    assert raised.value.code == "FileUploadMiscError"
    assert list(container.blobs()) == ["out.txt"]
    assert "FileUploadMiscError" in (directory.parent / "fileuploaderr.txt").read_text()


def test_an_upload_is_given_up_when_the_task_is_deleted(container: Container, directory: Path):
    stop = threading.Event()
    stop.set()

    with pytest.raises(Stopped):
        uploads.upload([entry(container.url("w"), "*")], directory, {}, 0, stop)
    assert container.blobs() == {}


GOOD = entry("http://h/a/c?sig=SECRETSIG", "*")


@pytest.mark.parametrize(
    ("files", "status", "name"),
    [
        ("x", 400, "outputFiles"),
        ([{**GOOD, "filePattern": ""}], 400, "outputFiles[0].filePattern"),
        ([{**GOOD, "destination": {}}], 400, "outputFiles[0].destination.container.containerUrl"),
        ([entry("c?sig=SECRETSIG", "*")], 400, "outputFiles[0].destination.container.containerUrl"),
        ([{**GOOD, "uploadOptions": {}}], 400, "outputFiles[0].uploadOptions.uploadCondition"),
        ([entry("http://h/c", "*", "always")], 400, "outputFiles[0].uploadOptions.uploadCondition"),
        ([entry("http://h/c", "*", identityReference={"resourceId": "x"})], 501, "identityReference of outputFiles[0]"),
        ([entry("http://h/c", "*", uploadHeaders=[{"name": "x-ms-tags"}])], 501, "'x-ms-tags' of outputFiles[0]"),
    ],
)
def test_uploads_a_task_may_not_ask_for(files: Any, status: int, name: str):
    with pytest.raises(BatchError) as refused:
        uploads.check_output_files(files)

    assert refused.value.status == status
    assert name in str(refused.value.values)
    assert "SECRETSIG" not in str(refused.value.values)
