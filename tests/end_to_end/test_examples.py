"""The example DAGs as they are, through a real scheduler, triggerer and Batch service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.demo.airflow_api import AirflowApiError
from airflow_provider_jobmanager.demo.examples import examples_folder, served

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
