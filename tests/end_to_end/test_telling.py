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
    from pathlib import Path

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

DAG = """
from airflow.sdk import DAG

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

common = dict(pool_id="local", deferrable=True, poll_interval=1, run_exclusive=False)
with DAG("telling", schedule=None):
    AzureBatchJobManagerOperator(
        task_id="streams",
        command_line="/bin/sh -c 'echo token $MY_TOKEN; echo early; until test -e {go}; do sleep 1; done; echo late'",
        environment_settings=[{{"name": "MY_TOKEN", "value": "s3cr3t-of-the-job"}}],
        stream_logs=True,
        **common | {{"pool_id": "calm"}},
    )
    AzureBatchJobManagerOperator(
        task_id="never_starts",
        command_line="/bin/true",
        start_timeout=30,
        **common | {{"pool_id": "nowhere"}},
    )
    AzureBatchJobManagerOperator(
        task_id="fails",
        command_line="/bin/sh -c 'echo token $MY_TOKEN >&2; echo No space left on device >&2; exit 6'",
        environment_settings=[{{"name": "MY_TOKEN", "value": "s3cr3t-of-the-job"}}],
        **common,
    )
    AzureBatchJobManagerOperator(
        task_id="loses_its_node",
        command_line="/bin/sh -c 'echo begun on $AZ_BATCH_NODE_ID; until test -e {go}; do sleep 1; done; exit 7'",
        stream_logs=True,
        **common,
    )
"""

CALM = {
    "id": "calm",
    "vmSize": "standard_d2s_v3",
    "virtualMachineConfiguration": {
        "imageReference": {"publisher": "p", "offer": "o", "sku": "s"},
        "nodeAgentSKUId": "batch.node.ubuntu 22.04",
    },
    "targetDedicatedNodes": 1,
}


@pytest.fixture(scope="module")
def sdk(batch: LocalBatch) -> Iterator[BatchClient]:
    with BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key)) as client:
        yield client


@pytest.mark.timeout(600)
def test_what_a_deferred_task_tells(airflow: AirflowHome, batch: LocalBatch, sdk: BatchClient, tmp_path: Path) -> None:
    go = tmp_path / "go"
    # A pool of its own for the task whose output is counted: the node that is lost below must not be its node too.
    sdk.create_pool(CALM)  # type: ignore[arg-type]
    airflow.add_dag("telling", DAG.format(go=go))
    api = airflow.api
    run = api.trigger("telling")

    def log(task: str) -> str:
        return api.log("telling", run, task)

    # Lines come while the task is deferred, and so does why another one waits.
    for task in ("streams", "never_starts", "loses_its_node"):
        api.wait_until(lambda task=task: log(task), lambda said: "Following job" in said, f"{task} to defer", 180)
    api.wait_until(lambda: log("streams"), lambda said: "[stdout] early" in said, "output", 120)
    assert api.task_instance("telling", run, "streams").state == "deferred"

    job = api.xcoms("telling", run, "loses_its_node")["job_id"]
    api.wait_until(lambda: log("loses_its_node"), lambda said: "[stdout] begun" in said, "output", 120)
    batch.kill_node("local", sdk.get_task(job, "jobmanager").node_info.node_id)
    api.wait_until(lambda: log("loses_its_node"), lambda said: said.count("[stdout] begun") == 2, "a new start", 120)

    go.touch()
    assert api.wait_for_run("telling", run, timeout=200).state == "failed"
    streams = log("streams")
    assert [streams.count(f"[stdout] {text}") for text in ("token ***", "early", "late")] == [1, 1, 1]
    assert "s3cr3t-of-the-job" not in streams + log("fails")

    never = log("never_starts")
    assert "JobTimedOut" in never
    assert never.count("The job manager has not started: There is no pool 'nowhere'") == 1
    assert "not started within 30 s" in never
    reason = sdk.get_job(api.xcoms("telling", run, "never_starts")["job_id"]).execution_info.termination_reason
    assert "not started within 30 s" in reason

    fails = log("fails")
    assert "| No space left on device" in fails
    assert "Hint: No space is left on the node's disk" in fails
    assert "exited with code 6" in fails

    assert "its node was lost or preempted, which Batch counts as no retry" in log("loses_its_node")
    lost = api.xcoms("telling", run, "loses_its_node")["verdict"]
    assert (lost["recoveries"], lost["retries"], lost["exit_code"]) == (1, 0, 7)


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
