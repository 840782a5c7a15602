"""A manager that adds tasks and leaves: the job goes on without it, and ends with its last task.

Since the manager does not wait, its end must not end the job (``kill_job_on_completion=False``), and something else has
to: ``on_all_tasks_complete``. Nobody but the tasks can say then how the work went, so a failed child makes the Airflow
task fail; ``children="ignore"`` would leave that to the manager again.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator

with DAG(
    "example_creator_manager",
    schedule=None,
    params={
        "pool_id": Param("local", type="string", title="Pool"),
        "script_url": Param(
            "http://127.0.0.1:8000/fan_out.py",
            type="string",
            format="uri",
            title="Manager script",
            description="Where the nodes can download managers/fan_out.py",
        ),
        "failing_child": Param(-1, type="integer", title="Number of the child that fails, -1 for none"),
    },
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    AzureBatchJobManagerOperator(
        task_id="create",
        pool_id="{{ params.pool_id }}",
        command_line="/bin/sh -c 'exec python3 fan_out.py'",
        resource_files=[{"http_url": "{{ params.script_url }}", "file_path": "fan_out.py"}],
        environment_settings={
            "CHILDREN": "3",
            "CHILD_COMMAND": "/bin/sh -c 'sleep 1; test {child} -ne {{ params.failing_child }}'",
            "WAIT": "no",
        },
        kill_job_on_completion=False,
        job={"on_all_tasks_complete": "terminatejob", "priority": 100},
        # The local service's way in; in Azure the pool's identity (see example_job_manager.py).
        authentication_token_settings={"access": ["job"]},
        deferrable=True,
    )
