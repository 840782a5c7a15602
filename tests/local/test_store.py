"""Records in the order of their ids, and on disk before anyone is told."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local.records import Job, Node, Pool, Schedule, Task
from airflow_provider_jobmanager.local.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def job(name: str, seq: int = 1) -> Job:
    return Job(name.lower(), {"id": name, "state": "active", "executionInfo": {}}, seq)


def task(of: Job, name: str) -> Task:
    return Task(name.lower(), {"id": name, "state": "active"}, 9, of.key, is_manager=True, process=[1, "then"])


def on_disk(path: Path) -> list[tuple[str, str, str]]:
    with sqlite3.connect(path) as disk:
        rows = disk.execute("SELECT kind, parent, key FROM record ORDER BY kind, parent, key").fetchall()
    disk.close()
    return rows


def test_a_shelf_is_in_order_and_found_in_any_case():
    store = Store(None)
    for name in ("b", "C", "a"):
        store.save(job(name))
    assert [each.id for each in store.jobs] == ["a", "b", "C"]
    assert [each.id for each in store.jobs.after("a")] == ["b", "C"]
    assert [each.id for each in store.jobs.after("aa")] == ["b", "C"]
    found = store.jobs.get("c")
    assert found is not None
    assert found.id == "C"
    assert "c" in store.jobs
    assert store.jobs.get("d") is None


def test_everything_comes_back(tmp_path: Path):
    path = tmp_path / "state"
    store, parent = Store(path), job("Job", 7)
    kept = [
        parent,
        task(parent, "T"),
        Pool("p", {"id": "p", "state": "active"}, 3, made=2),
        Node("n", {"id": "n", "isDedicated": True, "state": "idle"}, 4, "p", ineligible=["job"]),
        Schedule("s", {"id": "s", "state": "active"}, 5, since="2026-01-01T00:00:00Z"),
    ]
    for record in kept:
        store.save(record)
    store.commit()
    again = Store(path)
    found = [again.jobs.get("job"), again.tasks("job").get("t"), again.pools.get("p"), again.nodes("p").get("n")]
    found.append(again.schedules.get("s"))
    assert [record.dump() for record in found if record] == [record.dump() for record in kept]
    assert again.next_seq() == 10
    store.close()
    again.close()


def test_nothing_is_on_disk_before_the_commit_and_all_of_it_after(tmp_path: Path):
    path = tmp_path / "state"
    store, parent = Store(path), job("job")
    store.save(parent)
    store.save(task(parent, "t"))
    assert on_disk(path) == []
    store.commit()
    assert on_disk(path) == [("job", "", "job"), ("task", "job", "t")]
    store.remove(parent)
    store.commit()
    assert on_disk(path) == []
    store.close()


def test_what_goes_and_comes_again_within_one_turn(tmp_path: Path):
    path = tmp_path / "state"
    store, first = Store(path), job("job", 1)
    store.save(first)
    store.remove(first)
    store.save(job("job", 2))
    store.commit()
    again = Store(path)
    found = again.jobs.get("job")
    assert found is not None
    assert found.seq == 2
    store.close()
    again.close()


def test_a_file_is_new_until_something_is_written_though_that_goes_again(tmp_path: Path):
    path = tmp_path / "state"
    store = Store(path)
    store.close()
    store = Store(path)
    assert store.is_new
    store.save(job("a"))
    store.commit()
    assert not store.is_new
    store.remove(store.jobs.get("a"))
    store.close()
    store = Store(path)
    assert not store.is_new
    store.clear()
    assert store.is_new
    store.close()
