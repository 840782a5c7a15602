"""The example DAGs as they are, through a real scheduler, triggerer and Batch service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.demo.airflow_api import AirflowApiError
from airflow_provider_jobmanager.demo.examples import examples_folder, served
from tests import azurite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.batch import BatchClient

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch


@pytest.fixture(scope="module")
def scripts() -> Iterator[str]:
    with served(examples_folder() / "managers") as url:
        yield url


@pytest.fixture
def sdk(batch: LocalBatch) -> Iterator[BatchClient]:
    from azure.batch import BatchClient
    from azure.core.credentials import AzureNamedKeyCredential

    with BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key)) as client:
        yield client


def add(airflow: AirflowHome, dag_id: str) -> str:
    return airflow.add_dag(dag_id, examples_folder() / f"{dag_id}.py")


def test_a_manager_that_fans_out_and_a_sensor_on_its_job(airflow: AirflowHome, sdk: BatchClient, scripts: str) -> None:
    dag_id = add(airflow, "example_job_manager")
    api = airflow.api
    conf = {"script_url": f"{scripts}/fan_out.py", "children": 3, "child_seconds": 1}
    run = api.trigger(dag_id, conf)
    api.wait_for_task(dag_id, run, "fan_out", {"deferred"})
    assert api.wait_for_run(dag_id, run).state == "success"

    xcoms = api.xcoms(dag_id, run, "fan_out")
    verdict = xcoms["verdict"]
    assert xcoms["return_value"] == verdict
    assert (verdict["status"], verdict["reason"], verdict["exit_code"]) == ("succeeded", "JMComplete", 0)
    assert verdict["job_id"] == xcoms["job_id"]
    followed = api.xcoms(dag_id, run, "follow")["return_value"]
    assert (followed["job_id"], followed["status"]) == (xcoms["job_id"], "succeeded")

    job = sdk.get_job(xcoms["job_id"])
    tasks = {task.id: task for task in sdk.list_tasks(xcoms["job_id"])}
    output = b"".join(sdk.download_task_file(xcoms["job_id"], "child-1", "stdout.txt")).decode()
    assert (job.state, job.execution_info.termination_reason) == ("completed", "JMComplete")
    assert sorted(tasks) == ["child-0", "child-1", "child-2", "jobmanager"]
    assert {task.execution_info.exit_code for task in tasks.values()} == {0}
    assert output == "child 1 is at work\n"


def test_a_manager_that_fails(airflow: AirflowHome, batch: LocalBatch, sdk: BatchClient) -> None:
    dag_id = add(airflow, "example_failing_manager")
    api = airflow.api
    run = api.trigger(dag_id, {"exit_code": 7})
    api.wait_for_task(dag_id, run, "fail", {"deferred"})
    assert api.wait_for_run(dag_id, run).state == "failed"

    xcoms = api.xcoms(dag_id, run, "fail")
    verdict = xcoms["verdict"]
    assert (verdict["status"], verdict["reason"], verdict["exit_code"]) == ("failed", "JMComplete", 7)
    assert verdict["retries"] == 1
    log = api.log(dag_id, run, "fail")
    assert "JobFailed" in log
    assert "job manager 'jobmanager' exited with code 7" in log
    assert batch.key not in log
    assert sdk.get_job(xcoms["job_id"]).state == "completed"


def test_wrong_params_are_refused_before_anything_runs(airflow: AirflowHome) -> None:
    dag_id = add(airflow, "example_job_manager")
    with pytest.raises(AirflowApiError, match="children"):
        airflow.api.trigger(dag_id, {"children": 0})


def test_the_script_is_idempotent_under_a_retry_of_its_own(
    airflow: AirflowHome, sdk: BatchClient, scripts: str
) -> None:
    dag_id = "interrupted_job_manager"
    source = (examples_folder() / "example_job_manager.py").read_text()
    source = source.replace('"example_job_manager"', f'"{dag_id}"').replace('"fan-out-', '"interrupted-')
    # The first run of the script is cut off while it waits for its children; Batch starts it again.
    once = "test -e again || { touch again; exec timeout 3 python3 fan_out.py; }; exec python3 fan_out.py"
    airflow.add_dag(dag_id, source.replace("exec python3 fan_out.py", once))
    conf = {"script_url": f"{scripts}/fan_out.py", "children": 2, "child_seconds": 4}
    run = airflow.api.trigger(dag_id, conf)
    assert airflow.api.wait_for_run(dag_id, run).state == "success"
    xcoms = airflow.api.xcoms(dag_id, run, "fan_out")
    assert xcoms["verdict"]["retries"] == 1
    tasks = {task.id: task.execution_info.retry_count for task in sdk.list_tasks(xcoms["job_id"])}
    assert tasks == {"jobmanager": 1, "child-0": 0, "child-1": 0}


def finish(airflow: AirflowHome, dag_id: str, conf: dict[str, Any] | None = None) -> tuple[str, str]:
    """Runs an example to its end; returns the run's id and state."""
    add(airflow, dag_id)
    run = airflow.api.trigger(dag_id, conf)
    return run, airflow.api.wait_for_run(dag_id, run).state


def test_the_smallest_one(airflow: AirflowHome) -> None:
    run, state = finish(airflow, "example_smallest")
    assert state == "success"
    assert airflow.api.xcoms("example_smallest", run, "hello")["verdict"]["status"] == "succeeded"


def test_a_sensor_on_a_job_made_elsewhere(airflow: AirflowHome, sdk: BatchClient) -> None:
    dag_id = add(airflow, "example_sensor")
    run = airflow.api.trigger(dag_id, {"job_id": "elsewhere"})
    airflow.api.wait_for_task(dag_id, run, "wait", {"deferred"})
    manager = {"id": "m", "commandLine": "/bin/true"}
    sdk.create_job({"id": "elsewhere", "poolInfo": {"poolId": "local"}, "jobManagerTask": manager})
    assert airflow.api.wait_for_run(dag_id, run).state == "success"
    assert airflow.api.xcoms(dag_id, run, "wait")["return_value"]["manager_id"] == "m"


@pytest.mark.parametrize(("failing", "state"), [(-1, "success"), (1, "failed")])
def test_a_manager_that_adds_tasks_and_leaves(
    airflow: AirflowHome, sdk: BatchClient, scripts: str, failing: int, state: str
) -> None:
    dag_id = "example_creator_manager"
    conf = {"script_url": f"{scripts}/fan_out.py", "failing_child": failing}
    run, ended = finish(airflow, dag_id, conf)
    assert ended == state
    xcoms = airflow.api.xcoms(dag_id, run, "create")
    verdict = xcoms["verdict"]
    assert (verdict["reason"], verdict["exit_code"]) == ("AllTasksComplete", 0)
    assert verdict["failed_children"] == (0 if failing < 0 else 1)
    job = sdk.get_job(xcoms["job_id"])
    assert (job.priority, job.job_manager_task.kill_job_on_completion) == (100, False)
    assert sum(1 for _ in sdk.list_tasks(xcoms["job_id"])) == 4


def test_one_job_per_input(airflow: AirflowHome, sdk: BatchClient) -> None:
    dag_id = "example_mapped"
    run, state = finish(airflow, dag_id)
    assert state == "success"
    jobs = [airflow.api.xcoms(dag_id, run, "process", index)["job_id"] for index in range(3)]
    assert len(set(jobs)) == 3
    outputs = {b"".join(sdk.download_task_file(job, "jobmanager", "stdout.txt")).decode() for job in jobs}
    assert outputs == {f"working on {name}\n" for name in ("january", "february", "march")}
    assert airflow.api.xcoms(dag_id, run, "report")["return_value"] == [f"{job}: succeeded" for job in jobs]


def test_a_pool_for_one_job(airflow: AirflowHome, sdk: BatchClient) -> None:
    run, state = finish(airflow, "example_auto_pool")
    assert state == "success"
    verdict = airflow.api.xcoms("example_auto_pool", run, "run")["verdict"]
    assert re.fullmatch(r"airflow_[0-9A-F-]{36}", verdict["pool_id"])


def test_files_in_and_out(airflow: AirflowHome, sdk: BatchClient) -> None:
    dag_id = "example_storage"
    with azurite.running() as blobs:
        container = blobs.container()
        container.put(**{"in/one.txt": "just four small words", "in/two.txt": "two words", "other.txt": "no"})
        secret = container.url("rwlc")
        airflow.api.request("POST", "/variables", json={"key": "batch_container_secret", "value": secret})
        run, state = finish(airflow, dag_id)
        assert state == "success"
        written = {name.split("/", 1)[1]: content for name, content in container.blobs().items() if "manual" in name}
    assert {name: content.strip() for name, content in written.items()} == {
        "counts/one.txt.count": b"4",
        "counts/two.txt.count": b"2",
        "logs/stdout.txt": b"",
        "logs/stderr.txt": b"",
    }
    signature = secret.partition("sig=")[2].partition("&")[0]
    rendered = airflow.api.task_instance(dag_id, run, "count_words").rendered
    assert rendered["resource_files"]
    assert signature not in str(rendered)
    assert signature not in airflow.api.log(dag_id, run, "count_words")


def test_a_callback_gets_the_verdict(airflow: AirflowHome) -> None:
    run, state = finish(airflow, "example_notification")
    assert state == "failed"
    job_id = airflow.api.xcoms("example_notification", run, "fail")["job_id"]
    log = airflow.api.log("example_notification", run, "fail")
    assert f"Job {job_id} failed, exit code 4:" in log


def test_a_result_file_becomes_the_return_value(airflow: AirflowHome) -> None:
    dag_id = "example_result_file"
    run, state = finish(airflow, dag_id)
    assert state == "success"
    assert airflow.api.xcoms(dag_id, run, "count")["return_value"] == {"files": 3, "largest": "march.csv"}
    assert airflow.api.xcoms(dag_id, run, "tell")["return_value"] == "3 files, the largest is march.csv"


def test_no_example_goes_untested() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    examples = [path.stem for path in examples_folder().glob("*.py")]
    assert len(examples) > 5
    assert [example for example in examples if f'"{example}"' not in tests] == []
    listed = (examples_folder() / "README.md").read_text()
    assert [example for example in examples if f"({example}.py)" not in listed] == []
