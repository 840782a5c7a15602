"""Files as the file system may have them, whatever a task made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_jobmanager.local import files, formats
from airflow_provider_jobmanager.local.errors import BatchError


def test_what_the_service_may_not_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "closed/b", "open/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    scandir = os.scandir

    def guarded(path: Any) -> Any:  # root may read everything, and the tests may run as root
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    names = sorted(entry.name for entry in files.walk(tmp_path, recursive=True))
    assert names == ["a", "closed", "open", "open/c"]


def test_a_file_that_can_not_be_read_or_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "f").touch()
    entry = files.find(tmp_path, "f")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(BatchError) as unread:
        entry.read(0, 0)
    with pytest.raises(BatchError) as undeleted:
        files.delete(entry, recursive=False)
    assert unread.value.code == undeleted.value.code == "IOError"
    assert unread.value.values == [("Reason", "The node can't read the file: Permission denied")]


@pytest.mark.parametrize(("seconds", "year"), [(-(10**12), "1970"), (10**15, "9999")])
def test_times_beyond_the_calendar(tmp_path: Path, seconds: int, year: str):
    (tmp_path / "f").touch()
    status = list((tmp_path / "f").stat())
    status[8] = seconds
    entry = files.Entry("f", tmp_path / "f", os.stat_result(status))
    assert formats.timestamp(entry.modified).startswith(year)
    assert entry.properties()["lastModified"].startswith(year)


def test_a_pipe_that_takes_a_file_s_place_is_not_waited_for(tmp_path: Path):
    (tmp_path / "f").write_text("text")
    entry = files.find(tmp_path, "f")
    (tmp_path / "f").unlink()
    os.mkfifo(tmp_path / "f")
    with pytest.raises(BatchError) as refused:
        entry.read(0, 4)
    assert refused.value.code == "OperationInvalidForCurrentState"


def linked(root: Path) -> Path:
    """A task's directory with links to a file, a directory, outside, nowhere and in a circle."""
    outside, home = root / "outside", root / "home"
    (home / "real").mkdir(parents=True)
    (home / "real" / "x").write_text("kept")
    outside.mkdir()
    (outside / "y").write_text("kept")
    (outside / "back").symlink_to(home / "real" / "x")
    for name, target in {
        "file": home / "real" / "x", "folder": home / "real", "out": outside, "outfile": outside / "y",
        "nowhere": root / "none", "circle": home / "circle",
    }.items():  # fmt: skip
        (home / name).symlink_to(target)
    return home


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("name", ["file", "folder", "real/../folder"])
def test_deleting_a_link_leaves_what_it_leads_to(tmp_path: Path, name: str, recursive: bool):
    home = linked(tmp_path)
    files.delete(files.find(home, name), recursive=recursive)
    assert not (home / name).is_symlink()
    assert (home / "real" / "x").read_text() == "kept"


@pytest.mark.parametrize("recursive", [False, True])
def test_links_that_lead_out_or_nowhere_are_not_listed(tmp_path: Path, recursive: bool):
    home = linked(tmp_path)
    names = {entry.name for entry in files.walk(home, recursive=recursive)}
    assert names == {"file", "folder", "real"} | ({"real/x"} if recursive else set())


@pytest.mark.parametrize("name", ["out", "out/y", "out/back", "outfile", "nowhere", "circle"])
def test_links_that_lead_out_or_nowhere_are_not_found(tmp_path: Path, name: str):
    with pytest.raises(BatchError) as refused:
        files.find(linked(tmp_path), name)
    assert refused.value.code == "FileNotFound"


def test_what_a_link_leads_to_is_read(tmp_path: Path):
    entry = files.find(linked(tmp_path), "folder/x")
    assert b"".join(entry.read(0, 4)) == b"kept"
