"""What a task's log tells on a real Airflow, deferred: output, results, exit codes, why a job does not start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from airflow_provider_jobmanager.demo.examples import examples_folder, served
from tests import azurite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

DAG = """
from airflow.sdk import DAG

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

common = dict(pool_id="local", deferrable=True, poll_interval=1, run_exclusive=False)
with DAG("telling", schedule=None):
    AzureBatchJobManagerOperator(
        task_id="streams",
        command_line="/bin/sh -c 'echo token $MY_TOKEN; for i in 1 2 3 4 5 6; do echo line $i; sleep 3; done'",
        environment_settings=[{"name": "MY_TOKEN", "value": "s3cr3t-of-the-job"}],
        stream_logs=True,
        **common,
    )
    AzureBatchJobManagerOperator(
        task_id="never_starts",
        command_line="/bin/true",
        start_timeout=20,
        **common | {"pool_id": "nowhere"},
    )
    AzureBatchJobManagerOperator(
        task_id="fails",
        command_line="/bin/sh -c 'echo token $MY_TOKEN >&2; echo No space left on device >&2; exit 6'",
        environment_settings=[{"name": "MY_TOKEN", "value": "s3cr3t-of-the-job"}],
        **common,
    )
    AzureBatchJobManagerOperator(
        task_id="loses_its_node",
        command_line="/bin/sh -c 'echo begun on $AZ_BATCH_NODE_ID; sleep 15; exit 7'",
        stream_logs=True,
        **common,
    )
"""


@pytest.fixture(scope="module")
def sdk(batch: LocalBatch) -> Iterator[BatchClient]:
    with BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key)) as client:
        yield client


def test_what_a_deferred_task_tells(airflow: AirflowHome, batch: LocalBatch, sdk: BatchClient) -> None:
    airflow.add_dag("telling", DAG)
    api = airflow.api
    run = api.trigger("telling")
    for task in ("streams", "never_starts", "loses_its_node"):
        api.wait_for_task("telling", run, task, {"deferred"})

    # Lines come while the task is deferred, and so does why another one waits.
    def told_early() -> bool:
        early = api.log("telling", run, "streams") + api.log("telling", run, "never_starts")
        return "[stdout] line 1" in early and "There is no pool 'nowhere'" in early

    api.wait_until(told_early, bool, "the log to tell", timeout=60)
    assert api.task_instance("telling", run, "streams").state == "deferred"

    job = api.xcoms("telling", run, "loses_its_node")["job_id"]
    api.wait_until(
        lambda: "[stdout] begun" in api.log("telling", run, "loses_its_node"), bool, "its output", timeout=60
    )
    batch.kill_node("local", sdk.get_task(job, "jobmanager").node_info.node_id)

    assert api.wait_for_run("telling", run, timeout=200).state == "failed"
    streams = api.log("telling", run, "streams")
    assert [streams.count(f"[stdout] line {number}") for number in range(1, 7)] == [1] * 6
    assert "[stdout] token ***" in streams
    everything = streams + api.log("telling", run, "fails")
    assert "s3cr3t-of-the-job" not in everything

    never = api.log("telling", run, "never_starts")
    assert "JobTimedOut" in never
    assert never.count("The job manager has not started: There is no pool 'nowhere'") == 1
    assert "not started within 20 s" in never
    reason = sdk.get_job(api.xcoms("telling", run, "never_starts")["job_id"]).execution_info.termination_reason
    assert "not started within 20 s" in reason

    fails = api.log("telling", run, "fails")
    assert "| No space left on device" in fails
    assert "Hint: No space is left on the node's disk" in fails
    assert "exited with code 6" in fails

    lost = api.log("telling", run, "loses_its_node")
    assert "its node was lost or preempted, which Batch counts as no retry" in lost
    assert api.xcoms("telling", run, "loses_its_node")["verdict"]["recoveries"] == 1
    assert lost.count("[stdout] begun on") == 2


def test_exit_codes_that_skip_and_that_forbid_a_retry(airflow: AirflowHome) -> None:
    dag_id = airflow.add_dag("example_exit_codes", examples_folder() / "example_exit_codes.py")
    api = airflow.api

    def states(run: str) -> dict[str, tuple[str | None, int]]:
        return {task.task_id: (task.state, task.try_number) for task in api.task_instances(dag_id, run)}

    with served(examples_folder() / "managers") as scripts:
        conf: dict[str, Any] = {"script_url": f"{scripts}/check_stock.py"}
        short = api.trigger(dag_id, conf)
        enough = api.trigger(dag_id, conf | {"found": {"nails": 100, "screws": 20}})
        wrong = api.trigger(dag_id, conf | {"wanted": {"nails": "many"}})
        assert api.wait_for_run(dag_id, short).state == "success"
        assert api.wait_for_run(dag_id, enough).state == "success"
        assert api.wait_for_run(dag_id, wrong).state == "failed"
    assert api.xcoms(dag_id, short, "check_stock")["return_value"] == {"nails": 30}
    assert api.xcoms(dag_id, short, "order")["return_value"] == "30 nails"
    assert {task: state for task, (state, _) in states(enough).items()} == {
        "check_stock": "skipped",
        "order": "skipped",
    }
    assert states(wrong)["check_stock"] == ("failed", 1)
    assert "No retry because of exit code 2" in api.log(dag_id, wrong, "check_stock")


def test_logs_that_are_kept(airflow: AirflowHome) -> None:
    dag_id = airflow.add_dag("example_kept_logs", examples_folder() / "example_kept_logs.py")
    api = airflow.api
    with azurite.running() as blobs, served(examples_folder() / "managers") as scripts:
        container = blobs.container()
        container.put(**{"texts/a.txt": "one two three", "texts/b.txt": "four five", "other/c.txt": "not counted"})
        secret = container.url("rwl")
        api.request("POST", "/variables", json={"key": "example_container_sas_url", "value": secret})
        run = api.trigger(dag_id, {"script_url": f"{scripts}/count_words.py"})
        assert api.wait_for_run(dag_id, run).state == "success"
        kept = container.blobs()
    (counts,) = (data for name, data in kept.items() if name.endswith("words.json"))
    assert json.loads(counts) == {"a.txt": 3, "b.txt": 2}
    assert kept[f"logs/{run}/stdout.txt"].endswith(b"5 words in 2 texts\n")
    log = api.log(dag_id, run, "count_words")
    assert "[stdout] 5 words in 2 texts" in log
    signature = secret.partition("sig=")[2].partition("&")[0]
    shown = json.dumps([api.task_instance(dag_id, run, "count_words").rendered, api.xcoms(dag_id, run, "count_words")])
    assert signature not in shown + log
    links = api.request("GET", f"/dags/{dag_id}/dagRuns/{run}/taskInstances/count_words/links")["extra_links"]
    assert links["Kept logs"].endswith("/stdout.txt")
    assert "sig" not in links["Kept logs"]
