"""Every failure that the local service can produce, and what the task log says about it.

The log is compared with what a person needs: what failed and how, the service's own words, the last lines of the
output, and what may help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import (
    ConfigurationError,
    JobCancelled,
    JobFailed,
    JobLost,
    JobTimedOut,
)
from tests.azurite import Container
from tests.tell.working import a_pool, context_for, meanwhile, operator, says, sh, work
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.local import LocalBatch

pytestmark = pytest.mark.usefixtures("local_batch")


SIMPLE = {
    "exit code": (
        {"command_line": sh("echo reading; echo no input in /data >&2; exit 3")},
        ("exited with code 3", "FailureExitCode", "  | no input in /data", "  | reading", "waited 0 s for a node"),
    ),
    "exit code after retries": (
        {"command_line": sh("exit 4"), "constraints": {"max_task_retry_count": 2}},
        ("exited with code 4", "[2 retries]", "last started", "(the last time)"),
    ),
    "program not found": (
        {"command_line": "frobnicate --all"},
        ("CommandProgramNotFound", "'frobnicate'", "Hint: The program was not found on the node."),
    ),
    "no shell": (
        {"command_line": "export A=1 && frobnicate"},
        ("CommandProgramNotFound", "Hint: No shell runs the command line"),
    ),
    "command not found in a shell": (
        {"command_line": sh("frobnicate")},
        ("exited with code 127", "frobnicate: not found", "Hint: The shell did not find the command"),
    ),
    "not executable in a shell": (
        {"command_line": sh("echo echo hi > run.sh; ./run.sh")},
        ("exited with code 126", "Hint: The shell may not execute the command"),
    ),
    "not executable": (
        {"command_line": "/etc/passwd"},
        ("CommandLaunchFailed", "Hint: The program could not be launched"),
    ),
    "windows line ends": (
        {
            "command_line": sh(
                'printf "#!/bin/nosuchsh\\r\\n" > r; chmod 755 r; echo "r: /bin/sh^M: bad interpreter" >&2; exit 126'
            )
        },
        ("Hint: The script has Windows line ends",),
    ),
    "disk full in its own words": (
        {"command_line": sh("echo write error: No space left on device >&2; exit 1")},
        ("exited with code 1", "Hint: No space is left"),
    ),
    "killed": (
        {"command_line": sh("kill -9 $$")},
        ("exited with code", "Hint: The process was killed (SIGKILL)"),
    ),
    "wall clock of the task": (
        {"command_line": sh("echo begun; sleep 60"), "constraints": {"max_wall_clock_time": "PT1S"}},
        ("TaskEnded", "  | begun"),
    ),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_failures_of_the_manager(name: str) -> None:
    arguments, phrases = SIMPLE[name]
    says(work(**arguments), JobFailed, *phrases)


def test_the_wall_clock_of_the_job() -> None:
    worked = work(command_line=sh("echo begun; sleep 60"), job={"constraints": {"max_wall_clock_time": "PT2S"}})
    says(worked, JobTimedOut, "ran out of time (MaxWallClockTimeExpiry)", "counts from its creation", "  | begun")
    assert worked.xcoms["verdict"]["status"] == "timed_out"


def test_ended_by_a_user(hook: AzureBatchJobManagerHook) -> None:
    with meanwhile(hook, lambda job: hook.terminate_job(job, "maintenance of the cluster")):
        worked = work(command_line=sh("echo begun; sleep 60"))
    says(worked, JobCancelled, "was cancelled (maintenance of the cluster)")


def test_deleted_by_a_user(hook: AzureBatchJobManagerHook) -> None:
    with meanwhile(hook, lambda job: hook.client.call(calls.delete("jobs", job))):
        worked = work(command_line=sh("sleep 60"))
    says(worked, JobLost, "is gone: it was deleted while it was followed", "Hint: Somebody deleted the job")


def test_children_that_fail_and_count(hook: AzureBatchJobManagerHook) -> None:
    def add(job: str) -> None:
        for number in range(7):
            task = {"id": f"child-{number}", "commandLine": f"/bin/sh -c 'exit {number}'"}
            hook.client.call(calls.post("jobs", job, "tasks", json=task))

    with meanwhile(hook, add):
        worked = work(
            command_line=sh("sleep 2"),
            run_exclusive=False,
            kill_job_on_completion=" False ",  # as a template on several lines may leave it
            job={"on_all_tasks_complete": "terminatejob"},
        )
    says(worked, JobFailed, "6 child tasks failed", "Failed children: 6: child-1 (exit code 1), child-2", "and 1 more")
    assert worked.error.report.failed_children_count == 6
    assert worked.xcoms["verdict"]["failed_children"] == 6


def test_a_child_that_ends_the_job(hook: AzureBatchJobManagerHook) -> None:
    def add(job: str) -> None:
        task = {
            "id": "culprit",
            "commandLine": "/bin/sh -c 'echo broken beyond repair >&2; exit 9'",
            "exitConditions": {"default": {"jobAction": "terminate"}},
        }
        hook.client.call(calls.post("jobs", job, "tasks", json=task))

    with meanwhile(hook, add):
        worked = work(
            command_line=sh("sleep 60"), run_exclusive=False, job={"on_task_failure": "performexitoptionsjobaction"}
        )
    says(worked, JobFailed, "(TaskFailed)", "task 'culprit'", "  | broken beyond repair", "culprit (exit code 9)")


def test_resource_files_of_all_kinds(container: Container) -> None:
    container.put(**{"in.txt": "hello"})
    fine = {"http_url": container.blob_url("in.txt"), "file_path": "in.txt"}
    assert work(command_line=sh("cat in.txt"), resource_files=[fine]).error is None

    gone = {"http_url": container.blob_url("gone.txt"), "file_path": "in.txt"}
    says(work(command_line=sh("true"), resource_files=[gone]), JobFailed, "BlobNotFound", "is not there (404)")

    unsigned = {"http_url": f"{container.bare_url}/in.txt", "file_path": "in.txt"}
    worked = work(command_line=sh("true"), resource_files=[unsigned])
    says(worked, JobFailed, "Hint: A resource file")

    expired = {"http_url": f"{container.bare_url}/in.txt?{container.sas('r', hours=-1)}", "file_path": "in.txt"}
    worked = work(command_line=sh("true"), resource_files=[expired])
    says(worked, JobFailed, "BlobAccessDenied", "Hint: The SAS of a resource file has expired")
    assert "sig=" not in worked.text.replace("sig=***", "")

    lost = {"storage_container_url": f"{container.bare_url}gone?{container.sas('rl')}"}
    says(work(command_line=sh("true"), resource_files=[lost]), JobFailed, "ResourceContainer", "Hint: ")


def test_output_files_that_cant_be_uploaded(container: Container) -> None:
    def into(url: str) -> list[dict[str, Any]]:
        return [
            {
                "file_pattern": "*.txt",
                "destination": {"container": {"container_url": url}},
                "upload_options": {"upload_condition": "taskcompletion"},
            }
        ]

    command = sh("echo result > out.txt")
    lost = Container(container.azurite, f"{container.name}gone").url("rwl")
    says(
        work(command_line=command, output_files=into(lost)),
        JobFailed,
        "FileUploadContainerNotFound",
        "Create the container first",
    )
    worked = work(command_line=command, output_files=into(container.url("r")))
    says(worked, JobFailed, "FileUpload", "Hint: The command was through; uploading its output_files was not")
    assert "sig=" not in worked.text.replace("sig=***", "")


def test_an_auto_pool_without_quota_or_with_a_wrong_formula() -> None:
    pool = {
        "pool_lifetime_option": "job",
        "pool": {
            "vm_size": "standard_d2s_v3",
            "virtual_machine_configuration": {
                "image_reference": {"publisher": "p", "offer": "o", "sku": "s"},
                "node_agent_sku_id": "batch.node.ubuntu 22.04",
            },
            "target_dedicated_nodes": 5000,
        },
    }
    worked = work(command_line=sh("true"), auto_pool=pool)
    says(worked, JobFailed, "AutoPoolCreationFailedWithQuotaReached", "Hint: The account has no quota")

    del pool["pool"]["target_dedicated_nodes"]
    pool["pool"] |= {"enable_auto_scale": True, "auto_scale_formula": "$TargetDedicatedNodes = ;"}
    worked = work(command_line=sh("true"), auto_pool=pool)
    says(worked, JobFailed, "InvalidAutoScaleFormulaInAutoPool", "Hint: The auto pool could not be made")


def output_was_read(local_batch: LocalBatch) -> bool:
    """Whether the waiting task has read what the manager printed: then it knows the node it was on."""
    return any("/files/stdout.txt" in entry.path and entry.status == 200 for entry in list(local_batch.journal))


def test_a_node_that_is_lost_is_told_apart_from_a_retry(
    hook: AzureBatchJobManagerHook, local_batch: LocalBatch, tmp_path: Path
) -> None:
    def lose(job: str) -> None:
        place = hook.get_task(job, "jobmanager")["nodeInfo"]["nodeId"]
        until(lambda: output_was_read(local_batch))
        local_batch.kill_node("local", place)

    with meanwhile(hook, lose):
        worked = work(
            command_line=sh(f"if mkdir {tmp_path}/seen 2>/dev/null; then echo first; sleep 60; fi; echo again; exit 5"),
            stream_logs=True,
        )
    says(worked, JobFailed, "exited with code 5", "its node was lost or preempted", "[1 recovery from a lost")
    assert worked.xcoms["verdict"]["recoveries"] == 1
    assert worked.xcoms["verdict"]["retries"] == 0


def test_a_spot_node_that_is_preempted_is_told_apart_from_a_retry(
    hook: AzureBatchJobManagerHook, local_batch: LocalBatch, tmp_path: Path
) -> None:
    hook.client.call(calls.post("pools", json=a_pool("spot", targetLowPriorityNodes=2)))

    def preempt(job: str) -> None:
        place = until(lambda: hook.get_task(job, "jobmanager").get("nodeInfo", {}).get("nodeId"))
        until(lambda: output_was_read(local_batch))
        local_batch.preempt_node("spot", place)

    with meanwhile(hook, preempt):
        worked = work(
            command_line=sh(f"if mkdir {tmp_path}/seen 2>/dev/null; then echo first; sleep 60; fi; exit 5"),
            pool_id="spot",
            stream_logs=True,
        )

    says(worked, JobFailed, "exited with code 5", "its node was lost or preempted", "[1 recovery from a lost")
    assert worked.xcoms["verdict"]["retries"] == 0


def test_a_pool_whose_start_task_fails_is_named(hook: AzureBatchJobManagerHook) -> None:
    start_task = {"commandLine": sh("exit 9"), "waitForSuccess": True}
    hook.client.call(calls.post("pools", json=a_pool("bad-start", targetDedicatedNodes=1, startTask=start_task)))

    worked = work(command_line=sh("true"), pool_id="bad-start", start_timeout=10)

    says(worked, JobTimedOut, "StartTimeout", "start task")


def test_a_preparation_task_that_fails_is_named() -> None:
    preparation = {"commandLine": sh("exit 8"), "constraints": {"maxTaskRetryCount": 0}}

    worked = work(command_line=sh("true"), job={"jobPreparationTask": preparation}, start_timeout=10)

    says(worked, JobTimedOut, "StartTimeout", "reparation task")


def test_a_pool_scaled_to_zero_is_waited_for_and_named(hook: AzureBatchJobManagerHook) -> None:
    hook.client.call(calls.post("pools", json=a_pool("empty", targetDedicatedNodes=0)))

    worked = work(command_line=sh("true"), pool_id="empty", start_timeout=2)

    says(worked, JobTimedOut, "StartTimeout", "'empty'")


def test_exit_codes_that_mean_something() -> None:
    says(
        work(command_line=sh("exit 9"), skip_on_exit_code=[8, 9]),
        AirflowSkipException,
        "Skipped because of exit code 9",
    )
    worked = work(command_line=sh("echo why >&2; exit 7"), fail_without_retry_on_exit_code=7)
    says(worked, AirflowFailException, "No retry because of exit code 7", "  | why")
    assert worked.error.verdict.exit_code == 7
    assert worked.error.report.tails
    says(work(command_line=sh("exit 6"), skip_on_exit_code=9, fail_without_retry_on_exit_code=7), JobFailed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"skip_on_exit_code": 0}, "0 is the exit code of success"),
        ({"skip_on_exit_code": "many"}, "must be an exit code or a list"),
        ({"skip_on_exit_code": True}, "must be an exit code or a list"),
        ({"skip_on_exit_code": [1, 2], "fail_without_retry_on_exit_code": 2}, "is in both"),
        ({"result_file": "/etc/passwd"}, "relative to the job manager's working directory"),
        ({"result_file": "../stdout.txt"}, "relative to the job manager's working directory"),
        ({"keep_logs": 5}, "keep_logs must be the URL of a blob container"),
        ({"keep_logs": {"path": "x"}}, "container_url is missing"),
        ({"keep_logs": {"container_url": "https://a/b", "folder": "x"}}, "folder"),
    ],
)
def test_wrong_arguments_are_found_when_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match="Task 'work'") as caught:
        operator(command_line="x", **arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize("stream_logs", [False, True])
def test_a_setting_that_only_its_mark_makes_secret(stream_logs: bool) -> None:
    worked = work(
        command_line=sh("echo it is $HARMLESS; echo and $HARMLESS >&2; exit 3"),
        environment_settings=[{"name": "HARMLESS", "value": "marked-value", "secret": True}],
        stream_logs=stream_logs,
    )
    says(worked, JobFailed, "it is ***", "and ***")
    assert "marked-value" not in worked.text


def test_a_manager_id_of_digits_that_native_rendering_made_a_number() -> None:
    command = sh("echo hello")
    assert work(command_line=command, job_manager_id=20260131, stream_logs=True).xcoms["verdict"]["exit_code"] == 0

    task = operator(command_line=command, job_manager_id=20260131, deferrable=True)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context_for({}))
    assert caught.value.trigger.manager_id == "20260131"
    task.hook.client.close()


def test_a_defect_in_the_report_leaves_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_jobmanager.batch import report

    def broken(*_: object, **__: object) -> str:
        raise LookupError("a defect")

    monkeypatch.setattr(report, "hint_for", broken)
    worked = work(command_line=sh("exit 3"))
    says(worked, JobFailed, "exited with code 3", "What else is known of job")
    assert worked.error.verdict.exit_code == 3
    assert worked.error.report is None
