from __future__ import annotations

import json
import logging

from airflow_provider_jobmanager.batch.calls import Answer
from airflow_provider_jobmanager.batch.files import STDERR, STDOUT
from airflow_provider_jobmanager.batch.job_manager_task import JobManagerTask
from airflow_provider_jobmanager.batch.marks import marks
from airflow_provider_jobmanager.batch.telling import ATTEMPT_LIMIT, LINES_LIMIT, LOOK_LIMIT, Telling
from airflow_provider_jobmanager.errors import ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.telling import StartLimit
from tests.batch.conversing import Script, listing

SECRET = "s3cr3t-value"
MARKED = "m4rked-value"


class World:
    """A job, its manager and the files it writes, as a service would tell them."""

    def __init__(self) -> None:
        self.manager = {"id": "jm", "state": "active", "executionInfo": {"retryCount": 0, "requeueCount": 0}}
        self.pool = {"id": "p", "state": "active", "allocationState": "steady", "taskSlotsPerNode": 1}
        self.nodes = []
        self.files = {STDOUT: b"", STDERR: b""}
        self.trouble = None
        self.script = Script(
            {
                "GET /jobs/j": lambda _: {
                    "id": "j",
                    "state": "active",
                    "executionInfo": {"poolId": "p"},
                    "jobManagerTask": {
                        "id": "jm",
                        "environmentSettings": [
                            {"name": "API_KEY", "value": SECRET},
                            {"name": "HARMLESS", "value": MARKED},
                        ],
                    },
                    "metadata": marks(JobManagerTask(environment_settings={"HARMLESS": {"secret": True}})),
                },
                "GET /jobs/j/tasks/jm": lambda _: self.manager,
                "GET /pools/p": lambda _: self.pool,
                "GET /pools/p/nodes": lambda _: self.nodes,
                "GET /jobs/j/tasks/jm/files": self._list,
                "GET /jobs/j/tasks/jm/files/stdout.txt": self._read(STDOUT),
                "GET /jobs/j/tasks/jm/files/stderr.txt": self._read(STDERR),
            }
        )

    def _list(self, _call):
        if self.manager["state"] == "active":
            return ServiceRefused(status=409, code="OperationInvalidForCurrentState")
        modified = self.manager["executionInfo"].get("startTime", "")
        return self.trouble or [listing(name, len(data), modified) for name, data in self.files.items()]

    def _read(self, name):
        def read(call):
            first, last = call.headers["ocp-range"].removeprefix("bytes=").split("-")
            return self.files[name][int(first) : int(last) + 1]

        return read

    def run(self, start="2026-05-01T12:00:00Z", node="n1", **counts):
        self.manager = {
            "id": "jm",
            "state": "running",
            "executionInfo": {"startTime": start, "retryCount": 0, "requeueCount": 0} | counts,
            "nodeInfo": {"nodeId": node},
        }

    def look(self, telling, *, last=False):
        return [line.text for line in self.script.perform(telling.step(last=last))]


def test_why_not_started_is_said_once_per_change():
    world, telling = World(), Telling("j", "jm")
    assert world.look(telling) == [
        "The job manager has not started: Pool 'p' has no node, wants none and has no autoscale: it has to be resized."
    ]
    assert world.look(telling) == []
    assert "has to be resized" in telling.diagnosis
    world.pool |= {"allocationState": "resizing", "targetDedicatedNodes": 1}
    assert world.look(telling) == [
        "The job manager has not started: Pool 'p' has no node yet: it is being resized to 1 node."
    ]
    world.nodes = [{"id": "n1", "state": "idle"}]
    assert "should start soon" in world.look(telling)[0]
    world.run()
    assert world.look(telling) == ["The job manager 'jm' runs on node n1."]
    assert telling.started
    assert telling.diagnosis == ""
    assert world.look(telling) == []


def test_a_pool_that_may_not_be_read_is_said_once_and_ends_no_look():
    world, telling = World(), Telling("j", "jm")

    def refuse(_call):
        number = len(world.script.calls)
        return ServiceRefused(
            status=403, code="Forbidden", message="No.", request="GET /pools/p", request_id=f"r{number}"
        )

    world.script.answers["GET /pools/p"] = refuse
    (said,) = world.look(telling)
    assert said.startswith("The job manager has not started: Pool 'p' can't be read, so why is not known: ")
    assert said.endswith(": GET /pools/p: HTTP 403 Forbidden: No.")
    assert world.look(telling) == []
    verdict = world.script.perform(StartLimit(5, 0).judge(telling))
    assert verdict.failure["code"] == "StartTimeout"
    assert "can't be read" in verdict.failure["message"]


def test_a_job_that_will_start_at_once_is_not_talked_about():
    world, telling = World(), Telling("j", "jm")
    world.nodes = [{"id": "n1", "state": "idle"}]
    assert world.look(telling) == []
    assert "should start soon" in telling.diagnosis


def test_output_comes_line_by_line_without_secrets():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = f"one\nkey {SECRET} {MARKED}\npart".encode()
    world.files[STDERR] = b"warn ?sig=SIGNATURE\n"
    assert world.look(telling) == [
        "The job manager 'jm' runs on node n1.",
        "[stdout] one",
        "[stdout] key *** ***",
        "[stderr] warn ?sig=***",
    ]
    requests = len(world.script.calls)
    assert world.look(telling) == []
    # Nothing new: one list of the files.
    assert len(world.script.calls) == requests + 1
    world.files[STDOUT] += b"ly\nend"
    assert world.look(telling) == ["[stdout] partly"]
    assert world.look(telling, last=True) == ["[stdout] end"]


def test_another_process_goes_on_where_this_one_stopped():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"one\n"
    world.look(telling)
    state = json.loads(json.dumps(telling.as_dict()))
    world.files[STDOUT] += b"two\n"
    world.manager["state"] = "completed"
    assert world.look(Telling("j", "jm", output=True).resume(state), last=True) == ["[stdout] two"]


def handed_over(telling):
    """As another process takes it up."""
    state = json.loads(json.dumps(telling.as_dict()))
    return Telling(telling.job_id, telling.manager_id, output=True).resume(state)


def test_a_line_that_had_not_ended_is_told_by_who_goes_on():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"one\nkey " + SECRET[:6].encode()
    world.files[STDERR] = b"Error: "
    assert world.look(telling)[1:] == ["[stdout] one"]
    worker = handed_over(telling)
    assert worker.told == len("one\n")
    world.files[STDOUT] += SECRET[6:].encode() + b"\n"
    world.manager["state"] = "completed"
    assert world.look(worker, last=True) == ["[stdout] key ***", "[stderr] Error: "]


def test_the_rest_of_a_line_that_was_left_out_is_left_out_by_who_goes_on_too():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"z" * 100_000 + SECRET[:6].encode()
    assert len(world.look(telling)) == 2
    world.files[STDOUT] += SECRET[6:].encode() + b"\nnext\n"
    assert world.look(handed_over(telling)) == ["[stdout] next"]


def test_what_was_read_is_told_although_the_next_request_fails():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"important\nun"
    world.files[STDERR] = b"warn\n"
    where = "GET /jobs/j/tasks/jm/files/stderr.txt"
    read, world.script.answers[where] = world.script.answers[where], ServiceUnavailable("busy", status=503)
    assert world.look(telling)[1:] == ["[stdout] important"]
    world.manager["state"] = "completed"
    world.trouble = ServiceRefused(status=409, code="NodeNotReady")
    assert world.look(handed_over(telling), last=True) == [
        "The job manager's output can't be read: the node that it ran on can't be read from at the moment."
    ]
    assert world.look(telling, last=True)[0] == "[stdout] un"
    world.trouble, world.script.answers[where] = None, read
    assert world.look(telling, last=True) == ["[stderr] warn"]


def test_a_look_that_is_cut_off_is_made_again_by_who_goes_on():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.look(telling)
    world.files[STDOUT] = b"important\n"
    world.files[STDERR] = b"warn\n"
    look = telling.step()
    call = next(look)
    while not str(call).endswith("stderr.txt"):
        data = world.script.answers[str(call)]
        call = look.send(Answer(200, {}, data(call)))
    look.close()
    assert world.look(handed_over(telling)) == ["[stdout] important", "[stderr] warn"]


def test_whether_all_was_told_is_known():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"one\n"
    world.look(telling)
    assert not telling.told_all
    world.trouble = ServiceRefused(status=409, code="NodeNotReady")
    world.look(telling, last=True)
    assert not telling.told_all
    world.trouble = None
    world.look(telling, last=True)
    assert telling.told_all


def test_a_retry_starts_over_and_says_why():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"first attempt\nun"
    world.look(telling)
    world.files[STDOUT] = b"second\n"
    world.run("2026-05-01T12:00:09Z", retryCount=1)
    assert world.look(telling) == [
        "[stdout] un",
        "The job manager was started again: retry 1 after a non-zero exit.",
        "[stdout] second",
    ]
    assert telling.recoveries == 0


def test_a_retry_seen_while_it_waits_is_no_recovery():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.look(telling)
    world.manager = world.manager | {"state": "active", "previousState": "running"}
    world.manager["executionInfo"] = {"retryCount": 1, "requeueCount": 0}
    assert "retry 1 after a non-zero exit" in world.look(telling)[0]
    world.run("2026-05-01T12:00:09Z", retryCount=1)
    assert world.look(telling)[0] == "The job manager was started again: retry 1 after a non-zero exit."
    assert telling.recoveries == 0


def test_a_lost_node_is_told_apart_from_a_retry():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run(node="n1")
    world.files[STDOUT] = b"begun\n"
    world.look(telling)
    world.files[STDOUT] = b"BEGUN\n"  # of the very same size
    world.run("2026-05-01T12:03:00Z", node="n2")
    lines = world.script.perform(telling.step())
    assert [line.text for line in lines] == [
        "The job manager was started again: its node was lost or preempted, which Batch counts as no retry.",
        "[stdout] BEGUN",
    ]
    assert lines[0].level == logging.WARNING
    assert telling.recoveries == 1


def test_files_that_cant_be_read_are_said_once_and_change_nothing():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.trouble = ServiceRefused(status=409, code="NodeNotReady")
    assert world.look(telling) == [
        "The job manager 'jm' runs on node n1.",
        "The job manager's output can't be read: the node that it ran on can't be read from at the moment.",
    ]
    said = [line for _ in range(5) for line in world.look(telling)]
    world.trouble = ServiceUnavailable("busy", status=503)
    said += world.look(telling)
    assert said == []
    world.trouble = None
    world.files[STDOUT] = b"hello\n"
    assert world.look(telling) == ["[stdout] hello"]


def test_trouble_that_differs_by_the_request_s_id_alone_is_said_once():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    for number in range(3):
        world.trouble = ServiceRefused(status=403, code="Forbidden", message="No.", request_id=f"r{number}")
        said = world.look(telling)
        assert sum("can't be read: HTTP 403 Forbidden: No." in line for line in said) == (number == 0)


def test_a_flood_costs_bounded_reads_and_lines():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDERR] = b"x" * 99 + b"\n"
    world.files[STDERR] *= 100_000
    lines = world.look(telling)
    assert "bytes left out" in lines[1]
    assert len(lines) < LOOK_LIMIT // 100 + 10
    reads = [call for call in world.script.calls if call.path.endswith("stderr.txt")]
    assert [call.headers["ocp-range"] for call in reads] == [f"bytes={10_000_000 - LOOK_LIMIT}-9999999"]


def test_many_short_lines_cost_few_records():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.look(telling)
    world.files[STDOUT] = b"\n" * (LOOK_LIMIT - 4) + b"end\n"
    lines = world.look(telling)
    assert len(lines) == 1 + LINES_LIMIT
    assert lines[0] == f"[stdout] … {LOOK_LIMIT - 3 - LINES_LIMIT:,} lines left out …"
    assert lines[-1] == "[stdout] end"


def test_no_half_of_a_secret_is_told_when_something_is_left_out():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    world.files[STDOUT] = b"begun " + SECRET[:6].encode()
    world.look(telling)
    # What is read begins in the middle of the secret again.
    world.files[STDOUT] += SECRET[6:].encode() + b"x" * 100 + SECRET.encode() + b"\n" + b"y" * (LOOK_LIMIT - 8) + b"\n"
    assert world.files[STDOUT][-LOOK_LIMIT:].startswith(SECRET[-6:].encode())
    first, second = world.look(telling)
    assert first.endswith("bytes left out …")
    assert second.startswith("[stdout] yyy")


def test_telling_ends_after_so_many_bytes():
    world, telling = World(), Telling("j", "jm", output=True)
    world.run()
    count = 0
    for _ in range(ATTEMPT_LIMIT // LOOK_LIMIT + 5):
        world.files[STDOUT] += b"y" * (LOOK_LIMIT - 1) + b"\n"
        count += sum("no more of it is told" in line for line in world.look(telling))
    assert count == 1
    assert telling.told <= ATTEMPT_LIMIT + LOOK_LIMIT
    world.look(telling, last=True)
    assert not telling.told_all
