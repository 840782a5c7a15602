from __future__ import annotations

import errno
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.local import transfer, transfer_errors
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.transfer import Storage, check_resource_files, fetch
from airflow_provider_jobmanager.local.transfer_errors import Stopped, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.azurite import Azurite, Container

NONE = Storage()


class _Source(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/moved":
            self._answer(302, b"", Location="/file?sig=SECRETSIG")
        elif path == "/file":
            self._answer(200, b"hello")
        elif path == "/slow":
            threading.Event().wait(2)
            self._answer(200, b"late")
        elif path == "/cut":
            self._answer(200, b"half", **{"Content-Length": "8"})
            self.close_connection = True
        else:
            self._answer(int(path.strip("/")), b"no")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Source) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def failure(entry: dict[str, Any], directory: Path, storage: Storage = NONE) -> TransferError:
    with pytest.raises(TransferError) as failed:
        fetch([entry], directory, storage)
    assert "sig=" not in str(failed.value)
    assert "SECRETSIG" not in str(failed.value.failure_info())
    return failed.value


# -- by address


def test_a_file_by_address_lands_where_it_should_with_its_mode(web: str, tmp_path: Path):
    files = [
        {"httpUrl": f"{web}/file", "filePath": "a.txt"},
        {"httpUrl": f"{web}/moved", "filePath": "deep/er/b.sh", "fileMode": "0755"},
    ]
    check_resource_files(files, NONE)

    fetch(files, tmp_path, NONE)

    assert (tmp_path / "a.txt").read_bytes() == b"hello"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o770
    assert (tmp_path / "deep/er/b.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("path", "code", "category"),
    [
        ("/404", "BlobNotFound", "UserError"),
        ("/403", "BlobAccessDenied", "UserError"),
        ("/409", "BlobAccessDenied", "UserError"),
        ("/500", "BlobDownloadMiscError", "ServerError"),
        ("/504", "BlobDownloadTimedOut", "ServerError"),
        ("/cut", "BlobDownloadMiscError", "ServerError"),
    ],
)
def test_what_an_address_answers_becomes_the_task_s_failure(
    web: str, tmp_path: Path, path: str, code: str, category: str
):
    info = failure({"httpUrl": f"{web}{path}?sig=SECRETSIG", "filePath": "x"}, tmp_path).failure_info()

    assert list(info) == ["category", "code", "message", "details"]
    assert (info["code"], info["category"]) == (code, category)
    assert info["details"][:2] == [{"name": "BlobSource", "value": f"{web}{path}"}, {"name": "FilePath", "value": "x"}]


def test_a_source_that_does_not_answer_times_out(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.2)

    assert failure({"httpUrl": f"{web}/slow?sig=SECRETSIG", "filePath": "x"}, tmp_path).code == "BlobDownloadTimedOut"


def test_a_source_that_is_not_there(tmp_path: Path):
    entry = {"httpUrl": "http://127.0.0.1:1/x?sig=SECRETSIG", "filePath": "x"}

    assert failure(entry, tmp_path).code == "BlobDownloadMiscError"


def test_the_node_s_own_troubles(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "directory").mkdir()

    below = failure({"httpUrl": f"{web}/file", "filePath": "file/x"}, tmp_path)
    over = failure({"httpUrl": f"{web}/file", "filePath": "directory"}, tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    no_space = failure({"httpUrl": f"{web}/file", "filePath": "x"}, tmp_path)

    assert (below.code, over.code) == ("ResourceDirectoryCreateFailed", "ResourceFileCreateFailed")
    assert no_space.code == "DiskFull"


def test_a_download_is_given_up_when_the_task_ends(web: str, tmp_path: Path):
    stop = threading.Event()
    stop.set()

    with pytest.raises(Stopped):
        fetch([{"httpUrl": f"{web}/file", "filePath": "x"}], tmp_path, NONE, stop)


# -- from containers


def test_a_blob_with_a_signature(container: Container, tmp_path: Path):
    container.put(**{"data/in.bin": b"\0" * 5_000_000})

    fetch([{"httpUrl": container.blob_url("data/in.bin"), "filePath": "in.bin"}], tmp_path, NONE)

    assert (tmp_path / "in.bin").stat().st_size == 5_000_000


def test_a_whole_container_and_a_prefix_keep_their_folders(container: Container, tmp_path: Path):
    container.put(**{"a.txt": b"a", "in/b.txt": b"b", "in/deep/c.txt": b"", "index": b"d"})
    whole = {"storageContainerUrl": container.url("rl"), "fileMode": "0640"}
    part = {"storageContainerUrl": container.url("rl"), "blobPrefix": "in", "filePath": "some/where"}
    check_resource_files([whole, part], NONE)

    fetch([whole, part], tmp_path, NONE)

    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "a.txt",
        "in/b.txt",
        "in/deep/c.txt",
        "index",
        "some/where/in/b.txt",
        "some/where/in/deep/c.txt",
        "some/where/index",
    }
    assert (tmp_path / "in/b.txt").read_bytes() == b"b"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "some/where/index").stat().st_mode & 0o777 == 0o770


def test_a_listing_longer_than_a_page(container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transfer, "PAGE", 3)
    container.put(**{f"f{number}": b"x" for number in range(8)})

    fetch([{"storageContainerUrl": container.url("rl")}], tmp_path, NONE)

    assert len(list(tmp_path.iterdir())) == 8


def test_auto_storage(azurite: Azurite, container: Container, tmp_path: Path):
    storage = Storage(azurite.connection_string)
    container.put(a=b"auto")
    entry = {"autoStorageContainerName": container.name, "filePath": "in"}
    check_resource_files([entry], storage)

    fetch([entry], tmp_path, storage)

    assert (tmp_path / "in/a").read_bytes() == b"auto"
    assert azurite.connection_string not in repr(storage)


def test_failures_of_containers_and_blobs(azurite: Azurite, container: Container, tmp_path: Path):
    container.put(a=b"x")
    expired = container.url("rl", hours=-1)
    missing = type(container)(azurite, "nothere")

    def code(**entry: str) -> str:
        return failure({"filePath": "x", **entry}, tmp_path).code

    assert code(storageContainerUrl=missing.url("rl")) == "ResourceContainerNotFound"
    assert code(storageContainerUrl=expired) == "ResourceContainerAccessDenied"
    assert code(storageContainerUrl=container.url("r")) == "ResourceContainerAccessDenied"
    assert code(storageContainerUrl=container.url("l")) == "BlobAccessDenied"
    assert code(storageContainerUrl="http://127.0.0.1:1/acct/c?sig=SECRETSIG") == "ResourceContainerListMiscError"
    assert code(httpUrl=container.blob_url("nothere")) == "BlobNotFound"
    assert code(httpUrl=container.blob_url("a", "l")) == "BlobAccessDenied"


def test_an_address_that_names_no_container(tmp_path: Path):
    with pytest.raises(TransferError) as raised:
        transfer.fetch([{"storageContainerUrl": "http://127.0.0.1:1"}], tmp_path, transfer.Storage())

    assert raised.value.code == "ResourceContainerListMiscError"
    assert ("ContainerUrl", "http://127.0.0.1:1") in raised.value.details


def test_no_signature_reaches_a_log(container: Container, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    container.put(a=b"x")
    signature = container.sas("r").rpartition("sig=")[2]

    fetch([{"httpUrl": container.blob_url("a"), "filePath": "x"}], tmp_path, NONE)
    fetch([{"storageContainerUrl": container.url("rl")}], tmp_path, NONE)

    assert container.name in caplog.text
    assert "sig=REDACTED" in caplog.text
    assert signature not in caplog.text
    assert "sig=" not in caplog.text.replace("sig=REDACTED", "")


# -- what is allowed


@pytest.mark.parametrize(
    ("files", "name", "says"),
    [
        ({}, "resourceFiles", "a list of objects"),
        ([3], "resourceFiles", "a list of objects"),
        ([{"filePath": "x"}], "resourceFiles[0]", "Exactly one of httpUrl, storageContainerUrl"),
        ([{"httpUrl": "http://h/x", "storageContainerUrl": "http://h/y"}], "resourceFiles[0]", "Exactly one of"),
        ([{"httpUrl": "http://h/x"}], "resourceFiles[0].filePath", "required with httpUrl"),
        (
            [{"httpUrl": "http://h/x", "filePath": "x", "blobPrefix": "p"}],
            "resourceFiles[0].blobPrefix",
            "not allowed with httpUrl",
        ),
        ([{"httpUrl": "ftp://h/x", "filePath": "x"}], "resourceFiles[0].httpUrl", "http or https"),
        ([{"httpUrl": "x?sig=SECRETSIG", "filePath": "x"}], "resourceFiles[0].httpUrl", "http or https"),
        ([{"httpUrl": "http://h/x", "filePath": "../x"}], "resourceFiles[0].filePath", "must stay inside"),
        ([{"httpUrl": "http://h/x", "filePath": "/etc/x"}], "resourceFiles[0].filePath", "must stay inside"),
        ([{"httpUrl": "http://h/x", "filePath": "a/../../x"}], "resourceFiles[0].filePath", "must stay inside"),
        ([{"httpUrl": "http://h/x", "filePath": "x", "fileMode": "rwx"}], "resourceFiles[0].fileMode", "octal"),
        ([{"httpUrl": "http://h/x", "filePath": "x", "fileMode": "0999"}], "resourceFiles[0].fileMode", "octal"),
        (
            [{"autoStorageContainerName": "c"}],
            "resourceFiles[0].autoStorageContainerName",
            "No auto-storage account is configured",
        ),
    ],
)
def test_files_a_task_may_not_ask_for(files: Any, name: str, says: str):
    with pytest.raises(BatchError) as refused:
        check_resource_files(files, NONE)

    values = dict(refused.value.values)
    assert refused.value.code == "InvalidPropertyValue"
    assert values["PropertyName"] == name
    assert says in str(values["Reason"])
    assert "SECRETSIG" not in str(values)


def test_identities_are_refused_by_name():
    entry = {"httpUrl": "http://h/x", "filePath": "x", "identityReference": {"resourceId": "/subscriptions/x"}}

    with pytest.raises(BatchError) as refused:
        check_resource_files([entry], NONE)

    assert refused.value.status == 501
    assert "identityReference of resourceFiles[0]" in str(refused.value.values)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://h/c?sv=1&sig=abc%3D&se=2", "http://h/c?sv=1&sig=REDACTED&se=2"),
        ("AccountName=a;AccountKey=k==;X=y", "AccountName=a;AccountKey=REDACTED;X=y"),
        ("'GET /x?sig=abc'", "'GET /x?sig=REDACTED'"),
        ("nothing here", "nothing here"),
    ],
)
def test_redaction(text: str, clean: str):
    assert transfer_errors.redact(text) == clean
    assert transfer_errors.bare("https://u:p@h:1/c/b?sig=x#f") == "https://h:1/c/b"
