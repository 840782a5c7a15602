from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve

from airflow_provider_jobmanager.batch.diagnosis import Situation, diagnose, span, started_again

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=timezone.utc)
EARLIER = "2026-05-01T11:55:00.1234567Z"
LONG_AGO = "2026-04-28T12:00:00Z"
STEADY = {
    "id": "p",
    "state": "active",
    "allocationState": "steady",
    "allocationStateTransitionTime": EARLIER,
    "taskSlotsPerNode": 2,
    "targetDedicatedNodes": 2,
    "targetLowPriorityNodes": 0,
}
EMPTY = STEADY | {"targetDedicatedNodes": 0}
QUOTA = [{"code": "AccountCoreQuotaReached", "message": "The specified account has reached its core quota"}]
JOB = {"id": "j", "state": "active", "jobManagerTask": {"id": "jm"}}
WAITING = {"state": "active", "executionInfo": {"retryCount": 0, "requeueCount": 0}}


def node(state="idle", **members):
    return {"id": f"n-{state}", "state": state, "schedulingState": "enabled", "isDedicated": True} | members


def busy(tasks=1, slots=1, **members):
    return node("running", runningTasksCount=tasks, runningTaskSlotsCount=slots, **members)


def situation(**changes):
    return evolve(Situation(JOB, WAITING, "p", STEADY, (node(),), (), NOW), **changes)


def manager_with(**members):
    return JOB | {"jobManagerTask": {"id": "jm"} | members}


def failed_preparation(node_id="n-idle"):
    return {
        "nodeId": node_id,
        "jobPreparationTaskExecutionInfo": {
            "state": "completed",
            "result": "failure",
            "exitCode": 4,
            "failureInfo": {"code": "FailureExitCode", "message": "The task exited with an error."},
        },
    }


TABLE = [
    (situation(job=JOB | {"state": "disabled"}), "JobDisabled", "enable it"),
    (situation(job=JOB | {"state": "disabling"}), "JobDisabled", "enable it"),
    (situation(job=JOB | {"state": "terminating"}), "JobEnding", "terminating"),
    (situation(pool=None), "PoolNotFound", "There is no pool 'p'"),
    (situation(pool=None, problem="HTTP 403"), "PoolUnreadable", "can't be read, so why is not known: HTTP 403."),
    (situation(pool=None, problem="HTTP 403", manager=WAITING | {"state": "preparing"}), "Preparing", "is running"),
    (situation(problem="HTTP 403"), "Ready", "has a free node"),
    (
        situation(job=JOB | {"jobPreparationTask": {"waitForSuccess": False}}, preparations=(failed_preparation(),)),
        "Ready",
        "has a free node",
    ),
    (situation(pool=STEADY | {"state": "deleting"}), "PoolDeleting", "being deleted"),
    (situation(manager={"state": "preparing"}), "Preparing", "preparation task is running"),
    (
        situation(nodes=(), pool=STEADY | {"allocationState": "resizing"}),
        "PoolResizing",
        "being resized to 2 nodes for 5 min",
    ),
    (situation(nodes=(), pool=STEADY | {"allocationState": "stopping"}), "PoolResizing", "stopping a resize"),
    (
        situation(
            nodes=(),
            pool=EMPTY
            | {
                "enableAutoScale": True,
                "autoScaleRun": {
                    "timestamp": EARLIER,
                    "error": {"code": "InvalidAutoScaleFormula", "message": "x is not defined"},
                },
            },
        ),
        "AutoScaleFailed",
        "formula failed 5 min ago: InvalidAutoScaleFormula: x is not defined.",
    ),
    (
        situation(nodes=(), pool=STEADY | {"resizeErrors": QUOTA}),
        "ResizeFailed",
        "resize failed 5 min ago: AccountCoreQuotaReached: The specified account has reached its core quota.",
    ),
    (situation(nodes=()), "NodesMissing", "although 2 are wanted"),
    (
        situation(nodes=(), pool=EMPTY | {"enableAutoScale": True, "autoScaleEvaluationInterval": "PT5M"}),
        "AutoScaledToZero",
        "(every PT5M)",
    ),
    (situation(nodes=(), pool=EMPTY), "PoolEmpty", "has to be resized"),
    (
        situation(job=manager_with(allowLowPriorityNode=False), nodes=(node(isDedicated=False),)),
        "NoDedicatedNode",
        "allow_low_priority_node is false",
    ),
    (situation(job=manager_with(requiredSlots=3)), "TooManySlots", "requires 3 slots, and a node of pool 'p' has 2"),
    (situation(nodes=(node("starting"), node("creating"))), "NodesStarting", "1 creating, 1 starting"),
    (
        situation(
            nodes=(
                node(
                    "starttaskfailed",
                    startTaskInfo={
                        "exitCode": 1,
                        "failureInfo": {"code": "FailureExitCode", "message": "The task exited with an error."},
                    },
                ),
            )
        ),
        "StartTaskFailed",
        "exit code 1, FailureExitCode: The task exited with an error.",
    ),
    (
        situation(nodes=(node("preempted", stateTransitionTime=EARLIER),)),
        "NodesPreempted",
        "were preempted 5 min ago",
    ),
    (
        situation(
            nodes=(
                node("unusable", errors=[{"code": "DiskFull", "message": "There is not enough disk space."}]),
                node("offline"),
            )
        ),
        "NodesUnusable",
        "1 offline, 1 unusable (DiskFull: There is not enough disk space)",
    ),
    (situation(nodes=(node(schedulingState="disabled"),)), "NodesUnusable", "1 scheduling disabled"),
    (situation(preparations=(failed_preparation(),)), "PreparationFailed", "exit code 4"),
    (situation(nodes=(busy(),)), "NoFreeSlot", "The only node of pool 'p' that can run it is busy"),
    (situation(nodes=(busy(), busy())), "NoFreeSlot", "an empty node (run_exclusive)"),
    (
        situation(job=manager_with(runExclusive=False, requiredSlots=2), nodes=(busy(),)),
        "NoFreeSlot",
        "2 free slots on one node",
    ),
    (situation(job=manager_with(runExclusive=False), nodes=(busy(),)), "Ready", "should start soon"),
    (situation(), "Ready", "should start soon"),
]


@pytest.mark.parametrize(("seen", "cause", "said"), TABLE, ids=[f"{n}-{row[1]}" for n, row in enumerate(TABLE)])
def test_each_row_of_the_table_is_told(seen, cause, said):
    diagnosis = diagnose(seen)
    assert diagnosis.cause == cause
    assert said in diagnosis.text
    assert len(str(diagnosis)) < 600


def test_the_published_table_names_every_cause():
    import airflow_provider_jobmanager.batch.diagnosis as module

    for cause in {row[1] for row in TABLE}:
        assert f"``{cause}``" in module.__doc__


def test_stale_resize_errors_of_a_working_pool_are_only_mentioned():
    pool = STEADY | {"resizeErrors": QUOTA, "allocationStateTransitionTime": LONG_AGO}
    diagnosis = diagnose(situation(pool=pool, nodes=(busy(),)))
    assert diagnosis.cause == "NoFreeSlot"
    (note,) = diagnosis.notes
    assert note.startswith("An earlier resize of the pool failed 3 d ago: AccountCoreQuotaReached: The specified")


def test_resize_errors_of_a_pool_that_wants_nothing_are_not_the_cause():
    diagnosis = diagnose(situation(nodes=(), pool=EMPTY | {"resizeErrors": QUOTA}))
    assert diagnosis.cause == "PoolEmpty"
    assert "earlier resize" in diagnosis.notes[0]


def test_ages_alone_are_no_change():
    pool = STEADY | {"resizeErrors": QUOTA}
    first = diagnose(situation(nodes=(), pool=pool))
    later = diagnose(situation(nodes=(), pool=pool, now=NOW + timedelta(hours=1)))
    assert str(first) != str(later)
    assert first.key == later.key
    assert first.key != diagnose(situation(nodes=(), pool=STEADY)).key


def test_one_failed_node_among_working_ones_is_a_note():
    diagnosis = diagnose(situation(nodes=(busy(), node("starttaskfailed", startTaskInfo={"exitCode": 7}))))
    assert diagnosis.cause == "NoFreeSlot"
    assert diagnosis.notes == ("The start task failed on 1 node: exit code 7.",)


def test_errors_carry_no_secret_and_are_bounded():
    leaky = {"code": "X", "message": "https://a.blob/c?se=2026&sig=abcdefgh%3D " + "y" * 2000}
    said = str(diagnose(situation(nodes=(node("unusable", errors=[leaky] * 9),))))
    assert "abcdefgh" not in said
    assert len(said) < 900


def test_what_is_not_the_cause_is_a_note():
    assert diagnose(situation(problem="HTTP 403")).notes == ("Not all could be read: HTTP 403.",)
    ignored = situation(
        job=JOB | {"jobPreparationTask": {"waitForSuccess": False}}, preparations=(failed_preparation(),)
    )
    assert "The job preparation task failed on 1 node" in diagnose(ignored).notes[0]


@pytest.mark.parametrize(
    ("manager", "said"),
    [
        (WAITING, ""),
        ({"state": "active", "executionInfo": {"retryCount": 2, "requeueCount": 0}}, "retry 2 after a non-zero exit"),
        ({"state": "active", "executionInfo": {"retryCount": 0, "requeueCount": 1}}, "requeue 1 by a user's request"),
        (WAITING | {"previousState": "running"}, "lost or preempted"),
        (WAITING | {"previousState": "preparing"}, ""),
    ],
)
def test_a_manager_that_waits_again_says_why(manager, said):
    assert said in started_again(manager)
    assert bool(said) == bool(started_again(manager))
    if said:
        assert said in str(diagnose(situation(manager=manager)))


@pytest.mark.parametrize(
    ("length", "said"),
    [(0, "0 s"), (-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200000, "2 d")],
)
def test_spans(length, said):
    assert span(timedelta(seconds=length)) == said
