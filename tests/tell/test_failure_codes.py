"""Every code of a ``failureInfo`` that the service is known to have, and what the task log says of it.

The local service brings each about by a script; how real causes bring about those that they can is in
:mod:`tests.tell.test_failures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.hints import TABLE
from airflow_provider_jobmanager.errors import JobFailed
from airflow_provider_jobmanager.local.scripts import _FAILURES
from tests.tell.working import meanwhile, says, work

if TYPE_CHECKING:
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.local import LocalBatch

# All but what an exit code or an end by somebody has (FailureExitCode, TaskEnded).
KNOWN = [
    "CommandProgramNotFound",
    "CommandLaunchFailed",
    "BlobNotFound",
    "BlobAccessDenied",
    "BlobDownloadTimedOut",
    "BlobDownloadMiscError",
    "ResourceContainerAccessDenied",
    "ResourceContainerNotFound",
    "ResourceContainerListTimedOut",
    "ResourceContainerListMiscError",
    "ResourceDirectoryCreateFailed",
    "ResourceFileCreateFailed",
    "ResourceFileWriteFailed",
    "DiskFull",
    "ApplicationPackageError",
    "MountConfigurationError",
    "ContainerInvalidImage",
    "ContainerInvalidRegistry",
    "ContainerInvalidSettings",
    "ContainerMiscError",
    "FileUploadContainerNotFound",
    "FileUploadAccessDenied",
    "FileUploadConflict",
    "FileUploadTimedOut",
    "FileUploadMiscError",
    "MaxInternalRetryCountReached",
    "TaskSchedulingConstraintFailed",
    "Unknown",
]


def test_the_local_service_can_bring_about_all_of_them() -> None:
    assert set(_FAILURES) == set(KNOWN)


@pytest.mark.parametrize("code", KNOWN)
def test_the_log_names_the_failure_and_what_may_help(local_batch: LocalBatch, code: str) -> None:
    local_batch.scripts.add(failure=code, exit_code=0, stderr="the last that was heard")
    category, message = _FAILURES[code]
    worked = work(command_line="/opt/report --all")

    assert isinstance(worked.error, JobFailed)
    failure = worked.error.verdict.failure
    assert (failure["category"].lower(), failure["code"]) == (category.lower(), code)
    ran = code.startswith("FileUpload")
    assert worked.error.verdict.exit_code == (0 if ran else None)
    for phrase in (code, message, "job manager 'jobmanager'", "waited 0 s for a node"):
        assert phrase in worked.text
    hints = [row.hint for row in TABLE if code in row.codes]
    assert any(f"Hint: {hint}" in worked.text for hint in hints) == (code != "Unknown")
    assert worked.xcoms["verdict"]["failure"]["code"] == code


def from_input(query: str) -> dict[str, Any]:
    return {"resource_files": [{"http_url": f"https://account.blob.core.windows.net/in/x{query}", "file_path": "x"}]}


def to_output(query: str) -> dict[str, Any]:
    container = {"container_url": f"https://account.blob.core.windows.net/out{query}"}
    options = {"upload_condition": "taskcompletion"}
    return {
        "output_files": [{"file_pattern": "*", "destination": {"container": container}, "upload_options": options}],
    }


PAST = "?se=2020-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
FUTURE = "?se=2099-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
UPLOAD = "The command was through; uploading its output_files was not"
EVIDENCE = {
    "the input's SAS ended, that of the output did not": (
        {"failure": "FileUploadAccessDenied"},
        from_input(PAST) | to_output(FUTURE),
        f"{UPLOAD} (403)",
    ),
    "the output's SAS ended": (
        {"failure": "FileUploadAccessDenied"},
        from_input(FUTURE) | to_output(PAST),
        f"{UPLOAD}: the container's SAS has expired",
    ),
    "something else that expired was printed": (
        {"failure": "FileUploadAccessDenied", "stderr": "cache entry expired, refreshing"},
        to_output(FUTURE),
        f"{UPLOAD} (403)",
    ),
    "the output's SAS ended, the input has none": (
        {"failure": "BlobAccessDenied"},
        from_input("") | to_output(PAST),
        "A resource file may not be read (403)",
    ),
    "the input's SAS ended": (
        {"failure": "BlobAccessDenied"},
        from_input(PAST) | to_output(FUTURE),
        "The SAS of a resource file has expired",
    ),
    "the program said what failed": (
        {"exit_code": 1, "stdout": "cp: error writing x: No space left on device"},
        {},
        "No space is left on the node's disk",
    ),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_hint_is_judged_from_what_failed(local_batch: LocalBatch, name: str) -> None:
    script, files, hint = EVIDENCE[name]
    local_batch.scripts.add(**script)
    says(work(command_line="/opt/report --all", **files), JobFailed, f"Hint: {hint}")


def test_what_an_ended_manager_printed_is_not_why_it_was_ended(
    local_batch: LocalBatch, hook: AzureBatchJobManagerHook
) -> None:
    # As of /usr/bin/time -v.
    local_batch.scripts.add(seconds=3600, stderr="\tElapsed (wall clock) time (h:mm:ss or m:ss): 0:03.10")
    with meanwhile(hook, lambda job: hook.client.call(calls.post("jobs", job, "tasks", "jobmanager", "terminate"))):
        worked = work(command_line="/usr/bin/time -v /opt/report")
    said = ("TaskEnded: Task Was Ended by User Request", "Elapsed (wall clock) time")
    says(worked, JobFailed, *said, "exited with code -9", "Hint: Somebody ended the task by a request")
