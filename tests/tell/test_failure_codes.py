"""Every code of a ``failureInfo`` that the service is known to have, and what the task log says of it.

The local service brings each about by a script; how real causes bring about those that they can is in
:mod:`tests.tell.test_failures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.batch.hints import TABLE
from airflow_provider_jobmanager.errors import JobFailed
from airflow_provider_jobmanager.local.scripts import _FAILURES
from tests.tell.working import work

if TYPE_CHECKING:
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
