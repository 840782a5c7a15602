"""What comes back of a job: its result file, and its output in the task log or in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.errors import (
    ConfigurationError,
    JobFailed,
    ResultError,
    ServiceRefused,
)
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.tell.working import context_for, meanwhile, operator, says, sh, work

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch
    from tests.azurite import Container

pytestmark = pytest.mark.usefixtures("local_batch")


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
