"""Statistics: times and counts of what ran, to whoever asks for them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.core.credentials import AzureNamedKeyCredential

from airflow_provider_jobmanager.local import usage
from tests.local.rules import Account, node_of

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch
    from airflow_provider_jobmanager.local.records import Job, Task
    from tests.local.wire import Wire

NOTHING = {
    "userCPUTime": "PT0S",
    "kernelCPUTime": "PT0S",
    "wallClockTime": "PT0S",
    "readIOps": "0",
    "writeIOps": "0",
    "readIOGiB": 0.0,
    "writeIOGiB": 0.0,
}


def of_task(account: Account, task: Task) -> dict[str, Any]:
    return usage.of_task(task, account.engine.now())


def of_job(account: Account, job: Job) -> dict[str, Any]:
    return usage.of_job(job, account.engine.store.tasks(job.key), account.engine.now())


def test_a_task_counts_from_run_to_run_and_while_it_runs(account: Account):
    job = account.create(constraints={"maxTaskRetryCount": 1})
    before = account.add(job, "before", requiredSlots=2)
    task = account.add(job, "task", requiredSlots=2)
    account.pass_time(5)
    times = {"startTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:05Z"}
    assert of_task(account, task) == {**times, **NOTHING, "waitTime": "PT0S"}
    account.end(before, 0)
    account.pass_time(10)
    found = of_task(account, task)
    assert (found["wallClockTime"], found["waitTime"]) == ("PT10S", "PT5S")
    account.end(task, 1)
    account.pass_time(20)
    found = of_task(account, task)
    assert (found["wallClockTime"], found["waitTime"]) == ("PT30S", "PT15S")
    account.end(task, 0)
    account.pass_time(40)
    assert of_task(account, task)["wallClockTime"] == "PT30S"


def test_a_job_counts_its_tasks(account: Account):
    job = account.create(constraints={"maxTaskRetryCount": 1})
    tasks = [account.add(job, name) for name in ("good", "bad", "later")]
    account.pass_time(10)
    account.end(tasks[0], 0)
    account.end(tasks[1], 1)
    account.pass_time(10)
    account.end(tasks[1], 1)
    account.pass_time(1)
    assert of_job(account, job) == {
        "startTime": job.doc["creationTime"],
        "lastUpdateTime": "2026-01-01T00:00:21Z",
        **NOTHING,
        "wallClockTime": "PT41S",
        "numSucceededTasks": "1",
        "numFailedTasks": "1",
        "numTaskRetries": "1",
        "waitTime": "PT0S",
    }


def test_time_without_a_service_is_no_time_that_a_task_ran(tmp_path: Any):
    database = tmp_path / "state.sqlite3"
    before = Account(tmp_path / "nodes", database=database)
    before.add(before.create(), "task")
    before.pass_time(10)
    before.engine.store.close()
    later = before.engine.now() + timedelta(hours=1)
    account = Account(tmp_path / "nodes", database=database, start=later)
    task = account.task(account.engine.jobs.get("job"), "task")
    account.pass_time(10)
    assert of_task(account, task)["wallClockTime"] == "PT10S"
    account.engine.store.close()


def test_a_pool_counts_its_dedicated_nodes_those_that_are_gone_too(account: Account):
    pool = account.engine.pools.get("local")
    account.pass_time(60)
    with account.turn():
        account.engine.pools.remove_nodes(pool, {"nodeList": [node_of(account).id]})
    account.pass_time(60)
    nodes = account.engine.store.nodes(pool.key)
    found = usage.of_pool(pool, nodes, account.engine.now())
    assert len(nodes) == 0
    assert found["usageStats"].pop("dedicatedCoreTime").startswith("PT1M")
    times = {"startTime": pool.doc["creationTime"], "lastUpdateTime": "2026-01-01T00:02:00Z"}
    assert found == {**times, "usageStats": times}


@pytest.mark.parametrize("path", ["/jobs/job", "/jobs/job/tasks/jm", "/pools/local", "/jobschedules/s"])
def test_statistics_come_to_whoever_asks_for_them(wire: Wire, path: str):
    pool = {"poolInfo": {"poolId": "local"}}
    wire.must("POST", "/jobs", {"id": "job", **pool, "jobManagerTask": {"id": "jm", "commandLine": "true"}})
    wire.must("POST", "/jobschedules", {"id": "s", "schedule": {}, "jobSpecification": pool})
    wire.until_state("/jobs/job", "completed")
    parent, _, name = path.rpartition("/")
    assert "stats" not in wire.get(path)
    found = wire.get(f"{path}?$expand=stats")
    assert list(found)[-1] == "stats"
    assert found["stats"]["url"] == found["url"]
    assert list(wire.get(f"{path}?$expand=stats&$select=id")) == ["odata.metadata", "id"]
    assert list(wire.get(f"{path}?$select=stats")) == ["odata.metadata", "stats"]
    rows = {row["id"]: row for row in wire.get(f"{parent}?$expand=stats")["value"]}
    assert rows[name]["stats"].keys() == found["stats"].keys()


def test_the_statistics_of_a_schedule_are_those_of_its_jobs(wire: Wire):
    manager = {"id": "jm", "commandLine": "false"}
    specification = {"poolInfo": {"poolId": "local"}, "jobManagerTask": manager}
    wire.must("POST", "/jobschedules", {"id": "s", "schedule": {}, "jobSpecification": specification})
    wire.until_state("/jobs/s:job-1", "completed")
    found = wire.get("/jobschedules/s?$expand=stats")["stats"]
    assert (found["numSucceededTasks"], found["numFailedTasks"]) == ("0", "1")
    assert found["wallClockTime"] == wire.get("/jobs/s:job-1?$expand=stats")["stats"]["wallClockTime"] != "PT0S"


def test_the_python_client_reads_them(batch: LocalBatch, wire: Wire):
    with BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key)) as client:
        info = sdk.BatchPoolInfo(pool_id="local")
        client.create_job(sdk.BatchJobCreateOptions(id="job", pool_info=info))
        client.create_task("job", sdk.BatchTaskCreateOptions(id="task", command_line="true"))
        wire.until_state("/jobs/job/tasks/task", "completed")
        job = client.get_job("job", expand=["stats"])
        assert job.job_statistics.succeeded_tasks_count == 1
        assert timedelta() < job.job_statistics.wall_clock_time < timedelta(minutes=1)
        task = client.get_task("job", "task", expand=["stats"])
        assert task.task_statistics.wall_clock_time == job.job_statistics.wall_clock_time
        pool = client.get_pool("local", expand=["stats"])
        assert pool.pool_statistics.usage_statistics.dedicated_core_time > timedelta()
        # What was read can be sent back.
        client.replace_job("job", job)
