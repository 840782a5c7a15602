"""A job manager that adds child tasks to its own job, waits for them, and ends as they ended.

It runs on a Batch node with ``azure-batch`` and ``azure-identity`` installed (a start task, an application package or a
container image brings them). The pool has a user-assigned identity with the role "Azure Batch Job Submitter" on the
Batch account, and a second slot or a second node for the children. What to do it is told by environment settings of its
task:

``AZURE_CLIENT_ID``
    Which identity to use, when the pool has several.

``CHILDREN``
    How many child tasks there shall be.
``CHILD_COMMAND``
    The command line of each. ``{child}`` in it becomes the number of the child, from 0.
``CHILD_RETRIES``
    How often the service tries a failing child again; 0 when it is not set.
``WAIT``
    ``no`` to leave as soon as the children are added. Such a manager must not end its job: ``kill_job_on_completion``
    false, and ``on_all_tasks_complete`` set to ``terminatejob``.
``POLL_SECONDS``
    The time between two looks at the children; 5 when it is not set.

The service may run it a second time at any moment (the node was lost, its own retry), so it is idempotent: the ids of
the children follow from their numbers, and those that are in the job already are left as they are. The job's own list
of tasks is the checkpoint, so nothing is lost with a node and no finished child runs twice.

Exit code 0: all children succeeded, or are added when it does not wait. 1: some failed; stderr names them. 2: the
settings are wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from azure.batch import BatchClient, models
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from azure.identity import DefaultAzureCredential


def connect() -> BatchClient:
    """Connects to the account that this task runs in."""
    options = {}
    token = os.environ.get("AZ_BATCH_AUTHENTICATION_TOKEN")
    if token:
        # The task asked for a token that is good for its own job. Batch has retired these; the local service has them.
        options["authentication_policy"] = AzureKeyCredentialPolicy(
            AzureKeyCredential(token), "Authorization", prefix="Bearer"
        )
    # Otherwise the identity of the pool; AZURE_CLIENT_ID among the task's environment settings says which.
    return BatchClient(
        os.environ["AZ_BATCH_ACCOUNT_URL"],
        DefaultAzureCredential(),
        # A busy service is waited for, for some five minutes in all.
        retry_total=12,
        retry_status=12,
        retry_backoff_max=60,
        **options,
    )


def add_children(client: BatchClient, job_id: str, count: int, command: str, retries: int) -> set[str]:
    """Adds the children that are not in the job yet and returns the ids of all of them."""
    wanted = {f"child-{number}": command.replace("{child}", str(number)) for number in range(count)}
    present = {task.id for task in client.list_tasks(job_id, select=["id"])}
    missing = [
        models.BatchTaskCreateOptions(
            id=child_id,
            command_line=command_line,
            constraints=models.BatchTaskConstraints(max_task_retry_count=retries),
        )
        for child_id, command_line in wanted.items()
        if child_id not in present
    ]
    print(f"Adding {len(missing)} of {count} children to job {job_id}; the others are there already", flush=True)
    if missing:
        # Should another run of this script have added some meanwhile, the client takes TaskExists for success.
        client.create_tasks(job_id, missing)
    return set(wanted)


def wait_for(client: BatchClient, job_id: str, children: set[str], poll_seconds: float) -> list[models.BatchTask]:
    """Waits until all children are completed and returns them in the order of their ids."""
    told = -1
    while True:
        tasks = client.list_tasks(job_id, select=["id", "state", "executionInfo"])
        done = [task for task in tasks if task.id in children and task.state == models.BatchTaskState.COMPLETED]
        if len(done) != told:
            told = len(done)
            print(f"{told} of {len(children)} children are done", flush=True)
        if told == len(children):
            return sorted(done, key=lambda task: (len(task.id), task.id))
        time.sleep(poll_seconds)


def main() -> int:
    """Does the whole and returns the exit code."""
    try:
        count = int(os.environ["CHILDREN"])
        command = os.environ["CHILD_COMMAND"]
        retries = int(os.environ.get("CHILD_RETRIES", "0"))
        poll_seconds = float(os.environ.get("POLL_SECONDS", "5"))
    except (KeyError, ValueError) as error:
        print(f"An environment setting is missing or wrong: {error}", file=sys.stderr)
        return 2
    job_id = os.environ["AZ_BATCH_JOB_ID"]
    with connect() as client:
        wanted = add_children(client, job_id, count, command, retries)
        if os.environ.get("WAIT") == "no":
            return 0
        children = wait_for(client, job_id, wanted, poll_seconds)
    failed = [task for task in children if task.execution_info.result != models.BatchTaskExecutionResult.SUCCESS]
    result = {"children": len(children), "failed": [task.id for task in failed]}
    Path("result.json").write_text(json.dumps(result))
    print(json.dumps(result), flush=True)
    for task in failed:
        print(f"{task.id} failed with exit code {task.execution_info.exit_code}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
