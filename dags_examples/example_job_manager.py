"""Run a job manager that fans out into child tasks, and follow the same job with a sensor.

The two tasks of this DAG run side by side and neither holds a worker slot: ``fan_out`` creates the job and waits for it
deferred; ``follow`` knows only the job's id and waits for the same job.

The manager is a script of its own, `managers/fan_out.py`. For a run in Azure upload it where the nodes can read it and
give its address as the param ``script_url``; the README beside this file says what it needs with the local service.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

# Chosen here rather than derived, so that the sensor knows it before the job exists. One per run and try: Batch runs no
# second job of the same id. So clear both tasks together.
JOB_ID = "fan-out-{{ dag_run.run_after | ts_nodash }}-{{ ti.try_number }}"

with DAG(
    "example_job_manager",
    schedule=None,
    params={
        # "Trigger" in the UI shows these as a form.
        "pool_id": Param("local", type="string", title="Pool", description="The Batch pool that the job runs on"),
        "script_url": Param(
            "http://127.0.0.1:8000/fan_out.py",
            type="string",
            format="uri",
            title="Manager script",
            description="Where the nodes can download managers/fan_out.py",
        ),
        "children": Param(4, type="integer", minimum=1, maximum=1000, title="Child tasks"),
        "child_seconds": Param(2, type="number", minimum=0, title="Seconds that each child works"),
    },
    tags=["example", "azure-batch"],
    doc_md=__doc__,
):
    fan_out = AzureBatchJobManagerOperator(
        task_id="fan_out",
        job_id=JOB_ID,
        pool_id="{{ params.pool_id }}",
        # Batch runs no shell of its own; this one finds python3 on the node's PATH.
        command_line="/bin/sh -c 'exec python3 fan_out.py'",
        resource_files=[{"http_url": "{{ params.script_url }}", "file_path": "fan_out.py"}],
        environment_settings={
            "CHILDREN": "{{ params.children }}",
            "CHILD_COMMAND": "/bin/sh -c 'echo child {child} is at work; sleep {{ params.child_seconds }}'",
            "POLL_SECONDS": "1",
        },
        constraints={"max_task_retry_count": 1, "max_wall_clock_time": "PT1H"},
        # The manager only waits: let its children use the other slots of its node. In a pool of one node they would
        # never start with the default (true), nor where a node has but one slot (taskSlotsPerNode, 1 unless set).
        run_exclusive=False,
        # How the script may talk to Batch: a token for its own job, which the local service gives. Azure has retired
        # it; there leave this line out, and give the pool a user-assigned identity with the role "Azure Batch Job
        # Submitter" on the Batch account.
        authentication_token_settings={"access": ["job"]},
        deferrable=True,
    )

    follow = AzureBatchJobManagerSensor(
        task_id="follow",
        job_id=JOB_ID,
        # The sensor starts together with the operator, maybe before the job is there.
        job_must_exist=False,
        deferrable=True,
        timeout=3600,
    )
