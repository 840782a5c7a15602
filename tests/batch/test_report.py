from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import airflow_provider_jobmanager
from airflow_provider_jobmanager.batch.files import Tail, tails
from airflow_provider_jobmanager.batch.hints import TABLE, catalogue, hint_for, known_codes
from airflow_provider_jobmanager.batch.report import MESSAGE_LIMIT, FailedChild, Report, gather
from airflow_provider_jobmanager.batch.verdict import Verdict
from airflow_provider_jobmanager.errors import JobFailed, ServiceRefused, ServiceUnavailable
from tests.batch.conversing import Script, listing, rows_of

EXIT = {
    "category": "UserError",
    "code": "FailureExitCode",
    "message": "The task exited with an exit code representing a failure",
    "details": [
        {"name": "Message", "value": "The task process exited with an unexpected exit code"},
        {"name": "AdditionalErrorCode", "value": "FailureExitCode"},
    ],
}
FAILED = Verdict(
    job_id="j",
    status="failed",
    reason="JMComplete",
    manager_id="jm",
    exit_code=3,
    failure=EXIT,
    created_at="2026-05-01T12:00:00Z",
    started_at="2026-05-01T12:00:10.5Z",
    ended_at="2026-05-01T12:05:10Z",
    retries=1,
)


CODES = """
    CommandProgramNotFound CommandLaunchFailed BlobNotFound BlobAccessDenied BlobDownloadTimedOut DiskFull
    ResourceContainerAccessDenied ApplicationPackageError MountConfigurationError ContainerInvalidImage
    FileUploadContainerNotFound FileUploadMiscError MaxInternalRetryCountReached TaskSchedulingConstraintFailed
    InvalidAutoPoolSettings AutoPoolCreationFailedWithQuotaReached
""".split()  # noqa: SIM905 - reads as the list it is


def failure(code, message="", **details):
    return {
        "category": "UserError",
        "code": code,
        "message": message,
        "details": [{"name": name, "value": value} for name, value in details.items()],
    }


def test_a_report_says_what_a_person_needs():
    report = Report(
        FAILED,
        (Tail("stderr.txt", 120, ("Traceback", "ValueError: no input")), Tail("stdout.txt", 0)),
        (FailedChild("c1", 2, "FailureExitCode", ""), FailedChild("c2", None, "BlobNotFound", "gone")),
        2,
        "Do better.",
    )
    headline, *rest = report.facts()
    assert headline == FAILED.summary()
    assert "exited with code 3 (FailureExitCode" in headline
    assert rest == [
        "Message: The task process exited with an unexpected exit code",
        "Category: UserError",
        "Times: last started 10 s after its creation, ran 5 min (the last time).",
        "Failed children: 2: c1 (exit code 2), c2 (BlobNotFound).",
        "Hint: Do better.",
    ]
    assert report.output() == [
        "Last lines of stderr.txt of task 'jm' (120 bytes):",
        "  | Traceback",
        "  | ValueError: no input",
        "stdout.txt of task 'jm' is empty.",
    ]
    assert report.message().endswith("Last lines of stderr.txt:\n  | Traceback\n  | ValueError: no input")


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (FAILED.evolve(retries=0), "waited 10 s for a node, ran 5 min."),
        (FAILED.evolve(retries=0, recoveries=1), "last started 10 s after its creation, ran 5 min (the last time)."),
        (FAILED.evolve(retries=0, requeues=2), "last started 10 s after its creation, ran 5 min (the last time)."),
        (FAILED.evolve(started_at=None), "waited 5 min and never started."),
        (FAILED.evolve(started_at=None, failed_task="c1"), "ended 5 min after its creation."),
        (FAILED.evolve(started_at=None, manager_id=""), "ended 5 min after its creation."),
    ],
)
def test_times_are_those_that_are_known(verdict, said):
    assert f"Times: {said}" in Report(verdict).facts()


def test_line_ends_in_the_service_s_words_lose_nothing():
    cancelled = FAILED.evolve(status="cancelled", reason="maintenance\r\nticket 4711", failure=None)
    assert Report(cancelled).message().startswith("Job 'j' was cancelled (maintenance ticket 4711)")
    verdict = FAILED.evolve(
        failure=failure("FileUploadMiscError", "Upload failed.\r\nThe server said no.", Why="a\r\nb")
    )
    report = Report(verdict, failed_children=(), notes=())
    assert "Upload failed. The server said no" in report.facts()[0]
    assert report.facts()[0].startswith("Job 'j' failed (JMComplete): ")
    assert "Why: a b" in report.facts()


@pytest.mark.parametrize("details", [[None], "text", [{"name": "a"}], None, {"name": "a", "value": "b"}])
def test_details_of_another_form_are_left_out(details):
    verdict = FAILED.evolve(failure={"code": "X", "message": "m", "details": details})
    assert Report(verdict, hint=hint_for(verdict)).message().startswith("Job 'j' failed")


def test_everything_in_a_message_is_bounded_and_survives_pickling():
    noisy = Tail("stderr.txt", 10**9, tuple("y" * 1000 for _ in range(500)))
    many = tuple(FailedChild("c" * 64, 1, "Code" * 50, "") for _ in range(1000))
    verdict = FAILED.evolve(failure=failure("X", "m" * 10_000, a="b" * 10_000))
    report = Report(verdict, (noisy,), many, 1000, "h" * 300)
    message = report.message()
    assert len(message) <= MESSAGE_LIMIT
    assert "at least 1,000" in message
    error = JobFailed(verdict, message)
    again = pickle.loads(pickle.dumps(error))
    assert (again.verdict, str(again)) == (error.verdict, str(error))


def test_files_that_cant_be_read_are_said_once():
    report = Report(
        FAILED, (Tail("stderr.txt", problem="the node is gone"), Tail("stdout.txt", problem="the node is gone"))
    )
    assert report.output() == ["The output of task 'jm' can't be shown: the node is gone."]
    assert "the node is gone" in report.message()


@pytest.mark.parametrize(
    ("verdict", "output", "command", "said"),
    [
        (FAILED.evolve(failure=failure("CommandProgramNotFound"), exit_code=None), [], "python3 run.py", "full path"),
        (
            FAILED.evolve(failure=failure("CommandProgramNotFound"), exit_code=None),
            [],
            "export A=1 && run",
            "No shell runs the command line",
        ),
        (FAILED, [], "$HOME/run.sh", ""),
        (FAILED.evolve(exit_code=127), ["sh: 1: frobnicate: not found"], "/bin/sh -c 'frobnicate'", "on PATH"),
        (FAILED.evolve(exit_code=126), [], "", "file_mode"),
        (FAILED.evolve(exit_code=-9), [], "", "out of memory"),
        (FAILED, ["write failed: No space left on device"], "", "disk"),
        (FAILED.evolve(exit_code=126), ["./run.sh: /bin/sh^M: bad interpreter"], "", "Windows line ends"),
        (
            FAILED.evolve(exit_code=126),
            ["./run.sh: /usr/bin/python2: bad interpreter: No such file or directory"],
            "",
            "interpreter in the script's first line is not on the node",
        ),
        (FAILED, [], "  ", ""),
        (FAILED.evolve(failure=failure("BlobNotFound")), [], "", "404"),
        (FAILED.evolve(failure=failure("BlobAccessDenied")), [], "", "403"),
        (
            FAILED.evolve(
                failure=failure("BlobAccessDenied", BlobSource="https://a/b?se=2026-04-30T00%3A00%3A00Z&sig=***")
            ),
            [],
            "",
            "SAS of a resource file has expired",
        ),
        (
            FAILED.evolve(failure=failure("BlobAccessDenied", BlobSource="https://a/b?se=2027-04-30&sig=***")),
            [],
            "",
            "may not be read (403)",
        ),
        (FAILED.evolve(failure=failure("DiskFull")), [], "", "disk is full"),
        (FAILED.evolve(failure=failure("FileUploadAccessDenied")), [], "", "write permission"),
        (FAILED.evolve(failure=failure("AutoPoolCreationFailedWithQuotaReached")), [], "", "quota"),
        (FAILED.evolve(failure=failure("MaxInternalRetryCountReached")), [], "", "lost again and again"),
        (FAILED.evolve(status="timed_out", reason="MaxWallClockTimeExpiry"), [], "", "counts from its creation"),
        (FAILED.evolve(status="lost"), [], "", "deleted the job"),
        (FAILED.evolve(status="lost", never_seen=True), [], "", "job_must_exist=False"),
        (FAILED.evolve(status="cancelled"), ["No space left on device"], "", ""),
        (FAILED.evolve(failed_task="c1", exit_code=127), [], "a && b", ""),
    ],
)
def test_hints(verdict, output, command, said):
    hint = hint_for(verdict, output, command)
    assert said in hint
    assert bool(said) == bool(hint)


NO_SAS = "https://a/b"
PAST = "https://a/b?se=2026-04-30T00%3A00%3A00Z&sig=***"
FUTURE = "https://a/b?se=2027-04-30T00%3A00%3A00Z&sig=***"


@pytest.mark.parametrize(
    ("verdict", "output", "sources", "destinations", "said"),
    [
        (
            FAILED.evolve(failure=failure("TaskEnded", "Task Was Ended by User Request"), exit_code=-9),
            ["\tElapsed (wall clock) time (h:mm:ss or m:ss): 0:03.10"],
            [],
            [],
            "ended the task by a request",
        ),
        (
            FAILED.evolve(failure=failure("TaskEnded", "Task Was Ended by User Request"), exit_code=-1073741510),
            [],
            [],
            [],
            "on Windows that is also how the end of its max_wall_clock_time looks",
        ),
        (
            FAILED.evolve(
                failure=failure(
                    "TaskEnded",
                    "The task was ended by user request",
                    Message="The maximum execution time configured on the task was exceeded",
                )
            ),
            [],
            [],
            [],
            "max_wall_clock_time",
        ),
        (
            FAILED.evolve(failure=failure("TaskEnded", "Task was ended because its wall clock time ran out")),
            [],
            [],
            [],
            "max_wall_clock_time",
        ),
        (FAILED.evolve(failure=failure("FileUploadAccessDenied")), [], [PAST], [FUTURE], "write permission"),
        (FAILED.evolve(failure=failure("FileUploadAccessDenied")), [], [FUTURE], [NO_SAS, PAST], "SAS has expired"),
        (
            FAILED.evolve(failure=failure("FileUploadAccessDenied")),
            ["cache entry expired, refreshing"],
            [],
            [],
            "write permission",
        ),
        (
            FAILED.evolve(failure=failure("FileUploadAccessDenied", "The SAS has expired")),
            [],
            [],
            [],
            "the container's SAS has expired",
        ),
        (FAILED.evolve(failure=failure("BlobAccessDenied")), [], [NO_SAS], [PAST], "may not be read (403)"),
        (FAILED.evolve(failure=failure("BlobAccessDenied")), [], [NO_SAS, PAST], [], "resource file has expired"),
        (
            FAILED.evolve(failure=failure("ResourceContainerAccessDenied")),
            ["Signature not valid in the specified time frame"],
            [FUTURE],
            [],
            "may not be read (403)",
        ),
        (FAILED, ["tar: No space left on device"], [PAST], [PAST], "No space is left"),
    ],
)
def test_a_hint_is_judged_from_the_right_evidence(verdict, output, sources, destinations, said):
    hint = hint_for(verdict, output, sources=sources, destinations=destinations)
    assert said in hint
    assert bool(said) == bool(hint)


def test_what_is_printed_is_not_a_command_line():
    verdict = FAILED.evolve(failure=failure("CommandLaunchFailed"), exit_code=None)
    hint = hint_for(verdict, ["command line: a && b"], "./run.sh")
    assert "could not be launched" in hint


def test_the_catalogue_is_the_table():
    assert (
        Path(airflow_provider_jobmanager.__file__).with_name("FAILURES.md").read_text().endswith("\n\n" + catalogue())
    )
    assert all(bool(row.seen) == bool(row.text) for row in TABLE)
    assert all(line.count("|") == 3 for line in catalogue().splitlines())
    assert all(code in catalogue() for code in CODES)


def test_the_well_known_codes_have_hints():
    known = known_codes()
    assert {code.lower() for code in CODES} <= set(known)
    assert all(row.hint.endswith((".", "?")) for row in TABLE)


JOB = {
    "id": "j",
    "jobManagerTask": {
        "id": "jm",
        "commandLine": "run $HOME",
        "environmentSettings": [{"name": "API_KEY", "value": "s3cr3t-value"}],
    },
}


def test_gather_reads_ends_and_children():
    script = Script(
        {
            "GET /jobs/j": JOB,
            "GET /jobs/j/tasks/jm/files": rows_of(listing("stderr.txt", 40_000), listing("stdout.txt", 0)),
            "GET /jobs/j/tasks/jm/files/stderr.txt": b"torn\nboom\n",
            "GET /jobs/j/tasks": rows_of(
                {"id": "c1", "executionInfo": {"exitCode": 2, "failureInfo": {"code": "FailureExitCode"}}},
                {"id": "c2", "executionInfo": {"failureInfo": {"code": "TaskEnded"}}},
                {"id": "JM", "executionInfo": {"exitCode": 3}},
            ),
        }
    )
    report = script.perform(gather(FAILED))
    assert report.tails == (Tail("stderr.txt", 40_000, ("boom",)), Tail("stdout.txt", 0))
    assert [child.task_id for child in report.failed_children] == ["c1"]
    assert report.failed_children_count == 1
    read = next(call for call in script.calls if call.path.endswith("stderr.txt"))
    assert read.headers == {"ocp-range": f"bytes={40_000 - 16 * 1024}-39999"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ServiceRefused(status=409, code="TaskFilesUnavailable"), "retention time is over"),
        (ServiceRefused(status=409, code="NodeNotReady"), "can't be read from at the moment"),
        (ServiceRefused(status=404, code="NodeNotFound"), "is gone"),
        (ServiceRefused(status=418, code="Teapot", message="short?sig=HUSHHUSH"), "HTTP 418 Teapot: short?sig=***"),
        (ServiceUnavailable("no answer", status=None), "no answer"),
    ],
)
def test_trouble_with_files_changes_nothing(error, said):
    script = Script({"GET /jobs/j": JOB, "GET /jobs/j/tasks/jm/files": error, "GET /jobs/j/tasks": rows_of()})
    report = script.perform(gather(FAILED))
    assert report.verdict == FAILED
    assert len(report.output()) == 1
    assert said in report.output()[0]


def test_trouble_with_children_is_a_note():
    script = Script(
        {
            "GET /jobs/j": JOB,
            "GET /jobs/j/tasks/jm/files": rows_of(),
            "GET /jobs/j/tasks": ServiceRefused(status=404, code="JobNotFound"),
        }
    )
    report = script.perform(gather(FAILED))
    assert report.notes == ("Failed children could not be listed: there is no such job any more.",)
    assert report.failed_children_count is None


def test_a_job_that_is_gone_or_never_ran_is_not_asked_for_files():
    assert Script({}).perform(gather(FAILED.evolve(status="lost"))).tails == ()
    never = FAILED.evolve(started_at=None)
    report = Script({"GET /jobs/j": JOB, "GET /jobs/j/tasks": rows_of()}).perform(gather(never))
    assert report.tails == ()
    assert "waited 5 min and never started" in report.message()


def test_a_range_beyond_the_end_is_no_trouble():
    script = Script(
        {
            "GET /jobs/j/tasks/jm/files": rows_of(listing("stderr.txt", 5), listing("stdout.txt", 5)),
            "GET /jobs/j/tasks/jm/files/stderr.txt": ServiceRefused(status=416, code="InvalidRange"),
            "GET /jobs/j/tasks/jm/files/stdout.txt": b"hello",
        }
    )
    assert script.perform(tails("j", "jm")) == [Tail("stderr.txt", 5), Tail("stdout.txt", 5, ("hello",))]


def test_what_a_job_knows_as_secret_is_not_shown():
    script = Script(
        {
            "GET /jobs/j": JOB,
            "GET /jobs/j/tasks/jm/files": rows_of(listing("stderr.txt", 30), listing("stdout.txt", 30)),
            "GET /jobs/j/tasks/jm/files/stderr.txt": b"refused: s3cr3t-value\n",
            "GET /jobs/j/tasks/jm/files/stdout.txt": b"https://a.blob/c?sv=1&sig=ABCDEFGH\n",
            "GET /jobs/j/tasks": rows_of(),
        }
    )
    report = script.perform(gather(FAILED))
    assert report.tails[0].lines == ("refused: ***",)
    assert report.tails[1].lines == ("https://a.blob/c?sv=1&sig=***",)


def test_output_is_not_shown_while_the_secrets_are_not_known():
    script = Script({"GET /jobs/j": ServiceRefused(status=404, code="JobNotFound"), "GET /jobs/j/tasks": rows_of()})
    report = script.perform(gather(FAILED))
    assert report.tails == ()
    assert report.notes == ("The job could not be read, so its output is not shown: there is no such job any more.",)
