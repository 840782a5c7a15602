"""Nested templates, params, XComs and mapping through a real Airflow, down to what the service was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

if TYPE_CHECKING:
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

DAG = """
from datetime import timedelta

from airflow.sdk import DAG, Param, task
from azure.batch.models import EnvironmentSetting

from airflow_provider_jobmanager.batch.job_manager_task import TaskConstraints
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG(
    "rendering_{native}",
    schedule=None,
    render_template_as_native_obj={native},
    params={{
        "region": Param("north", type="string", title="Region", enum=["north", "south"]),
        "slots": Param(1, type="integer", minimum=1, maximum=4),
        "limit": Param("PT5M", type="string", format="duration"),
    }},
):

    @task
    def cities():
        return ["oslo", "bergen", "narvik"]

    @task
    def settings():
        return {{"priority": 7, "metadata": {{"region": "{{{{ not a template any more }}}}"}}}}

    AzureBatchJobManagerOperator(
        task_id="nested",
        command_line="/bin/sh -c 'echo $REGION {{{{ params.region }}}}'",
        pool_id="local",
        display_name="report of {{{{ params.region }}}}",
        required_slots="{{{{ params.slots }}}}",
        run_exclusive="{{{{ params.slots > 3 }}}}",
        environment_settings=[
            {{"name": "REGION", "value": "{{{{ params.region }}}}"}},
            EnvironmentSetting(name="RUN", value="{{{{ run_id }}}}"),
        ],
        constraints=TaskConstraints(max_wall_clock_time="{{{{ params.limit }}}}", retention_time=timedelta(hours=1)),
        job=settings(),
        deferrable=False,
        poll_interval=0.2,
    )


    @task
    def setting(number):
        return {{"name": f"PART_{{number}}", "value": f"planted-{{number}}", "secret": True}}

    AzureBatchJobManagerOperator(
        task_id="gathered",
        command_line="/bin/echo planted-1",
        pool_id="local",
        environment_settings=setting.expand(number=[1, 2]),
        job={{"metadata": {{"{{{{ params.region }}}}": "of {{{{ params.region }}}}"}}}},
        deferrable=False,
        poll_interval=0.2,
    )
    AzureBatchJobManagerOperator.partial(
        task_id="mapped", pool_id="local", job_manager_id="{{{{ params.region }}}}", deferrable=False, poll_interval=0.2
    ).expand(
        command_line=cities().map(lambda city: f"/bin/echo {{city}}"),
    )
"""


@pytest.mark.parametrize("native", [False, True])
def test_what_was_rendered_is_what_was_sent_and_what_the_ui_shows(
    airflow: AirflowHome, batch: LocalBatch, native: bool
) -> None:
    dag_id = f"rendering_{native}"
    airflow.add_dag(dag_id, DAG.format(native=native))
    run_id = airflow.api.trigger(dag_id, {"region": "south", "slots": 2})

    assert airflow.api.wait_for_run(dag_id, run_id, timeout=120).state == "success"

    client = BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key))

    def get_job(job_id: str) -> dict[str, Any]:
        return client.get_job(job_id).as_dict()

    job = get_job(airflow.api.xcoms(dag_id, run_id, "nested")["job_id"])
    manager = job["jobManagerTask"]
    assert manager["commandLine"] == "/bin/sh -c 'echo $REGION south'"
    assert (manager["displayName"], manager["requiredSlots"]) == ("report of south", 2)
    assert manager["environmentSettings"] == [{"name": "REGION", "value": "south"}, {"name": "RUN", "value": run_id}]
    assert (manager["constraints"]["maxWallClockTime"], manager["constraints"]["retentionTime"]) == ("PT5M", "PT1H")
    assert manager["runExclusive"] is False
    assert job["priority"] == 7
    assert {"name": "region", "value": "{{ not a template any more }}"} in job["metadata"]

    shown = airflow.api.task_instance(dag_id, run_id, "nested").rendered
    assert shown["command_line"] == manager["commandLine"]
    assert shown["environment_settings"][0] == {"name": "REGION", "value": "south"}
    assert shown["job"]["priority"] == 7

    # What a mapped task brings is no list until it is looked at.
    job = get_job(airflow.api.xcoms(dag_id, run_id, "gathered")["job_id"])
    parts = [{"name": "PART_1", "value": "planted-1"}, {"name": "PART_2", "value": "planted-2"}]
    assert job["jobManagerTask"]["environmentSettings"] == parts
    assert {"name": "south", "value": "of south"} in job["metadata"]
    shown = airflow.api.task_instance(dag_id, run_id, "gathered").rendered
    assert shown["environment_settings"] == [
        {"name": f"PART_{number}", "value": "***", "secret": True} for number in (1, 2)
    ]
    assert shown["command_line"] == "/bin/echo ***"

    jobs = {index: airflow.api.xcoms(dag_id, run_id, "mapped", map_index=index)["job_id"] for index in range(3)}
    assert len(set(jobs.values())) == 3
    commands = [get_job(job_id)["jobManagerTask"]["commandLine"] for job_id in jobs.values()]
    assert commands == ["/bin/echo oslo", "/bin/echo bergen", "/bin/echo narvik"]
    assert {get_job(job_id)["jobManagerTask"]["id"] for job_id in jobs.values()} == {"south"}
    mapped = airflow.api.task_instance(dag_id, run_id, "mapped", map_index=1)
    assert mapped.rendered["command_line"] == "/bin/echo bergen"
