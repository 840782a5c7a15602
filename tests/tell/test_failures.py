"""Every failure that the local service can produce, and what the task log says about it.

The log is compared with what a person needs: what failed and how, the service's own words, the last lines of the
output, and what may help.
"""

from __future__ import annotations

import contextlib
import threading
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
    ResultError,
    ServiceRefused,
)
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.azurite import Container
from tests.tell.working import Worked, context_for, operator, work
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_jobmanager.local import LocalBatch

pytestmark = pytest.mark.usefixtures("local_batch")


def sh(script: str) -> str:
    return f"/bin/sh -c '{script}'"


@pytest.fixture
def hook() -> Iterator[AzureBatchJobManagerHook]:
    hook = AzureBatchJobManagerHook()
    yield hook
    hook.client.close()


@contextlib.contextmanager
def meanwhile(hook: AzureBatchJobManagerHook, act: Callable[[str], Any], state: str = "running") -> Iterator[None]:
    """Do something to the job once its manager is in a state, beside the body."""
    trouble: list[BaseException] = []

    def watch() -> None:
        try:
            job_id = until(lambda: [job["id"] for job in hook.client.call(calls.rows("jobs")).data])[0]
            until(lambda: hook.get_task(job_id, "jobmanager")["state"] == state)
            act(job_id)
        except BaseException as error:  # noqa: BLE001 - raised below
            trouble.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    if trouble:
        raise trouble[0]


def says(worked: Worked, error: type[BaseException], *phrases: str) -> None:
    assert isinstance(worked.error, error), worked.text
    for phrase in phrases:
        assert phrase in worked.text
    assert len(str(worked.error)) <= 4100


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


def a_pool(pool_id: str, **settings: Any) -> dict[str, Any]:
    return {
        "id": pool_id,
        "vmSize": "standard_d2s_v3",
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "p", "offer": "o", "sku": "s"},
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
        },
        **settings,
    }


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

    worked = work(command_line=sh("true"), pool_id="bad-start", start_timeout=4)

    says(worked, JobTimedOut, "StartTimeout", "start task")


def test_a_preparation_task_that_fails_is_named() -> None:
    preparation = {"commandLine": sh("exit 8"), "constraints": {"maxTaskRetryCount": 0}}

    worked = work(command_line=sh("true"), job={"jobPreparationTask": preparation}, start_timeout=4)

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


def test_results() -> None:
    worked = work(command_line=sh('echo "{\\"rows\\": 42}" > result.json'), result_file="result.json")
    assert worked.result == {"rows": 42}
    assert worked.xcoms["verdict"]["status"] == "succeeded"
    worked = work(command_line=sh("mkdir out; echo [1, 2] > out/r.json"), result_file="out/r.json")
    assert worked.result == [1, 2]


def test_a_result_file_that_a_template_made_wrong_is_found_before_there_is_a_job() -> None:
    task = operator(command_line="x", result_file="{{ params.name }}")
    task.render_template_fields({"params": {"name": "../stdout.txt"}})
    pushed: dict[str, Any] = {}

    with pytest.raises(ConfigurationError, match="result_file must be a path relative"):
        task.execute(context_for(pushed))

    task.hook.client.close()
    assert pushed == {}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "is not there: the job manager must write it"),
        ("echo {oops > r.json", "(6 bytes) is not JSON"),
        ('printf "\\377\\376" > r.json', "it is not UTF-8"),
        ("head -c 300000 /dev/zero > r.json", "has more than 262,144 bytes"),
        ("echo NaN > r.json", "NaN is no value of JSON"),
        ("echo [-1e400] > r.json", "the number -1e400 is too large"),
        ("echo 123456789012345678901234567890 > r.json", "the number 12345678901234567890… is too large"),
        ('printf "\\"\\\\\\\\ud800\\"" > r.json', "half a surrogate pair"),
        ('head -c 200000 /dev/zero | tr "\\\\0" "[" > r.json', "nested too deeply"),
        ("mkdir r.json", "can't be read"),
    ],
)
def test_results_that_are_none(script: str, said: str) -> None:
    worked = work(command_line=sh(script), result_file="r.json", on_finish_action="delete")
    says(worked, ResultError, said, "succeeded, but its result file 'r.json'")
    hook = AzureBatchJobManagerHook()
    assert hook.get_job(worked.job_id)["state"] == "completed"  # kept, so that the next try finds it
    hook.client.close()


def test_a_flood_and_binary_output_cost_bounded_memory() -> None:
    import tracemalloc

    script = 'head -c 100000000 /dev/zero | tr "\\\\0" x >&2; echo >&2; head -c 1000000 /dev/urandom; exit 2'
    tracemalloc.start()
    try:
        worked = work(command_line=sh(script), stream_logs=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    says(worked, JobFailed, "exited with code 2")
    assert worked.error.report.tails[0].size == 100_000_001
    assert peak < 60_000_000
    assert sum(map(len, worked.log)) < 3_000_000
    assert all(len(line) < 1200 for line in worked.log)


def test_output_that_was_read_is_told_although_the_next_read_fails(local_batch: LocalBatch) -> None:
    local_batch.faults.add(path="*/stderr.txt", then="answer", status=503, times=1)
    worked = work(command_line=sh("echo IMPORTANT; echo warn >&2; sleep 4; echo end"), stream_logs=True)
    assert worked.error is None
    assert [line for line in worked.log if line.startswith("[std")] == [
        "[stdout] IMPORTANT",
        "[stderr] warn",
        "[stdout] end",
    ]


def test_the_output_of_a_child_that_ended_the_job_is_shown_although_the_manager_s_was_told(
    hook: AzureBatchJobManagerHook,
) -> None:
    culprit = {
        "id": "culprit",
        "commandLine": sh("echo oh-no; exit 9"),
        "exitConditions": {"default": {"jobAction": "terminate"}},
    }
    with meanwhile(hook, lambda job: hook.client.call(calls.post("jobs", job, "tasks", json=culprit))):
        worked = work(
            command_line=sh("echo hello; sleep 60"),
            run_exclusive=False,
            job={"on_task_failure": "performexitoptionsjobaction"},
            stream_logs=True,
        )
    says(worked, JobFailed, "culprit", "[stdout] hello")
    assert "  | oh-no" in worked.log


@pytest.mark.parametrize("code", ["NodeNotReady", "TaskFilesUnavailable"])
def test_files_that_cant_be_read_change_nothing(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_jobmanager.account import Client

    asked = Client.call

    def call(client: Client, request: calls.Call) -> calls.Answer:
        if "/files" in request.path:
            raise ServiceRefused(status=409, code=code, request=str(request))
        return asked(client, request)

    monkeypatch.setattr(Client, "call", call)
    worked = work(command_line=sh("sleep 1"), stream_logs=True)
    assert worked.error is None
    assert worked.text.count("output can't be read") == 1
    says(
        work(command_line=sh("exit 3")),
        JobFailed,
        "exited with code 3",
        "The output of task 'jobmanager' can't be shown",
    )


def test_files_of_a_retention_that_is_over() -> None:
    worked = work(command_line=sh("echo gone; exit 3"), constraints={"retention_time": "PT0S"})
    says(worked, JobFailed, "exited with code 3")


def test_why_it_does_not_start_and_when_that_is_too_long() -> None:
    worked = work(command_line=sh("true"), pool_id="nowhere", start_timeout=1)
    says(worked, JobTimedOut, "StartTimeout", "There is no pool 'nowhere'")
    assert worked.text.count("has not started: There is no pool") == 1
    hook = AzureBatchJobManagerHook()
    job = hook.get_job(worked.job_id)
    assert job["executionInfo"]["terminateReason"].count("Airflow:") == 1
    assert job["executionInfo"]["terminateReason"].endswith(" try 1 not started within 1 s")
    hook.client.close()


def test_a_start_timeout_holds_although_the_pool_may_not_be_read(local_batch: LocalBatch) -> None:
    local_batch.faults.add(path="/pools*", then="answer", status=403, code="InsufficientAccountPermissions")
    worked = work(command_line=sh("true"), pool_id="nowhere", start_timeout=1, timeout=30)
    says(worked, JobTimedOut, "StartTimeout", "HTTP 403 InsufficientAccountPermissions")
    assert worked.text.count("has not started: Pool 'nowhere' can't be read, so why is not known") == 1


def test_a_defect_in_the_report_leaves_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_jobmanager.batch import report

    def broken(*_: object, **__: object) -> str:
        raise LookupError("a defect")

    monkeypatch.setattr(report, "hint_for", broken)
    worked = work(command_line=sh("exit 3"))
    says(worked, JobFailed, "exited with code 3", "What else is known of job")
    assert worked.error.verdict.exit_code == 3
    assert worked.error.report is None


def test_a_start_timeout_does_not_hit_a_job_that_started() -> None:
    assert work(command_line=sh("sleep 2"), start_timeout=1).error is None


def test_a_pool_that_appears_later_is_waited_for(hook: AzureBatchJobManagerHook) -> None:
    pool = a_pool("late", targetDedicatedNodes=1)
    with meanwhile(hook, lambda _: hook.client.call(calls.post("pools", json=pool)), state="active"):
        worked = work(command_line=sh("true"), pool_id="late")
    assert worked.error is None


def test_logs_that_are_kept(container: Container) -> None:
    worked = work(command_line=sh("echo kept; echo too >&2; exit 3"), keep_logs=container.url("rwl"))
    says(worked, JobFailed, "exited with code 3")
    kept = container.blobs()
    assert sorted(name.rpartition("/")[2] for name in kept) == ["stderr.txt", "stdout.txt"]
    (stdout,) = (name for name in kept if name.endswith("stdout.txt"))
    assert stdout.startswith("tell/run-")
    assert stdout.endswith("/work/1/stdout.txt")
    assert kept[stdout] == b"kept\n"
    link = worked.xcoms["_link_KeptLogsLink"]
    assert link == f"{container.bare_url}/{stdout}"
