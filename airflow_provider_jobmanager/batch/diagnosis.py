"""Why a job manager is not running yet: a pure function of job, manager, pool and nodes.

Waiting is not an error: a job may be made before its pool, a pool may be scaled to zero, all nodes may be busy. So a
diagnosis is said, and nothing is done about it. The first row that fits is the cause; the rest may become notes.

=====================================================  ======================
what is seen                                           cause
=====================================================  ======================
job ``disabled`` or ``disabling``                      ``JobDisabled``
job ``terminating``, ``completed``, ``deleting``       ``JobEnding``
pool that may not be read                              ``PoolUnreadable``
pool 404                                               ``PoolNotFound``
pool ``deleting``                                      ``PoolDeleting``
manager ``preparing``                                  ``Preparing``
no node, pool ``resizing`` or ``stopping``             ``PoolResizing``
no node, the autoscale formula failed                  ``AutoScaleFailed``
no node, wanted some, the resize failed                ``ResizeFailed``
no node, none wanted, autoscale on                     ``AutoScaledToZero``
no node, none wanted, autoscale off                    ``PoolEmpty``
no node, wanted some, nothing else said                ``NodesMissing``
manager must not run on Spot nodes, all nodes are      ``NoDedicatedNode``
more slots required than a node has                    ``TooManySlots``
no node works, some are on their way                   ``NodesStarting``
no node works, start tasks failed                      ``StartTaskFailed``
no node works, all were preempted                      ``NodesPreempted``
no node works                                          ``NodesUnusable``
preparation task failed on all nodes that work         ``PreparationFailed``
nodes work, none has room                              ``NoFreeSlot``
a node has room                                        ``Ready``
=====================================================  ======================

Sources: the REST reference's descriptions of Pool, ComputeNode and Job, and
https://learn.microsoft.com/azure/batch/batch-pool-node-error-checking.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from airflow_provider_jobmanager.batch.printable import line, named_values, one_line
from airflow_provider_jobmanager.batch.verdict import moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

_WORKING: Final = frozenset({"idle", "running"})
_COMING: Final = frozenset({"creating", "starting", "waitingforstarttask", "rebooting", "reimaging", "upgradingos"})
_SHOWN: Final = 3

PASSING: Final = frozenset(
    {"Ready", "Preparing", "NoFreeSlot", "AutoScaledToZero", "PoolResizing", "NodesStarting", "NodesPreempted"}
)
"""Causes that pass by themselves when all goes as it should."""


@frozen
class Situation:
    """What the service says about a job that has not started, by wire names.

    Attributes:
        job: the job.
        manager: its job manager task, None when it has no record.
        pool_id: the pool it is to run on.
        pool: the pool, None when there is none of that id.
        nodes: nodes of the pool.
        preparations: rows of the job's preparation status, one for each node where it was tried.
        now: the service's time, for ages; None leaves them out.
        problem: what of this the service refused to tell, in words; empty when it told all.
    """

    job: Mapping[str, Any]
    manager: Mapping[str, Any] | None
    pool_id: str
    pool: Mapping[str, Any] | None
    nodes: Sequence[Mapping[str, Any]] = ()
    preparations: Sequence[Mapping[str, Any]] = ()
    now: datetime | None = None
    problem: str = ""


@frozen
class Diagnosis:
    """Why a job manager is not running.

    Attributes:
        cause: one word for programs, from the table above.
        text: a sentence for people.
        notes: further sentences that may help.
        key: equal for two diagnoses that differ in nothing but ages.
    """

    cause: str
    text: str
    notes: tuple[str, ...] = ()
    key: str = ""

    def __str__(self) -> str:
        return " ".join((self.text, *self.notes))


def diagnose(situation: Situation) -> Diagnosis:
    """Say why a job manager is not running yet."""
    cause, text = _cause(situation)
    _, ageless = _cause(evolve(situation, now=None))
    notes = _notes(situation, cause)
    key = " ".join((cause, ageless, *_notes(evolve(situation, now=None), cause)))
    return Diagnosis(cause, text, notes, key)


def started_again(manager: Mapping[str, Any]) -> str:
    """Why a manager that had started is waiting again, in words; empty when it never started.

    Recovery from a lost or preempted node is counted neither as a retry nor as a requeue
    (https://learn.microsoft.com/rest/api/batchservice/task/get, ``retryCount`` and ``requeueCount``).
    """
    execution = manager.get("executionInfo") or {}
    retries, requeues = int(execution.get("retryCount") or 0), int(execution.get("requeueCount") or 0)
    said = []
    if retries:
        said.append(f"retry {retries} after a non-zero exit")
    if requeues:
        said.append(f"requeue {requeues} by a user's request (node taken away or job disabled)")
    if not said and _text(manager, "previousState") == "running":
        said.append("its node was lost or preempted, which Batch counts as no retry")
    return " and ".join(said)


def _cause(s: Situation) -> tuple[str, str]:
    state = _text(s.job, "state")
    if state in ("disabled", "disabling"):
        return "JobDisabled", "The job is disabled: enable it, and its tasks are scheduled again."
    if state in ("terminating", "completed", "deleting"):
        return "JobEnding", f"The job is {state}: its job manager will not be started any more."
    where = f"pool {s.pool_id!r}"
    preparing = _text(s.manager, "state") == "preparing"
    if s.pool is None and s.problem and not preparing:
        return "PoolUnreadable", f"{_start(where)} can't be read, so why is not known: {s.problem}."
    if s.pool is None and not s.problem:
        return "PoolNotFound", f"There is no {where}: the job waits until a pool of this id is created."
    if _text(s.pool, "state") == "deleting":
        return "PoolDeleting", f"{_start(where)} is being deleted: nothing will start on it."
    if preparing:
        return "Preparing", "The job preparation task is running on the job manager's node." + _failed_before(s)
    pool = s.pool or {}
    return _with_nodes(s, pool, where) if s.nodes else _without_nodes(s, pool, where)


def _without_nodes(s: Situation, pool: Mapping[str, Any], where: str) -> tuple[str, str]:
    wanted = _wanted(pool)
    allocation = _text(pool, "allocationState")
    autoscale = bool(pool.get("enableAutoScale"))
    run = pool.get("autoScaleRun") or {}
    if allocation in ("resizing", "stopping"):
        age = _for(pool.get("allocationStateTransitionTime"), s.now)
        verb = f"being resized to {_many(wanted, 'node')}" if allocation == "resizing" else "stopping a resize"
        return "PoolResizing", f"{_start(where)} has no node yet: it is {verb}{age}."
    if autoscale and run.get("error"):
        return "AutoScaleFailed", (
            f"{_start(where)} has no node: its autoscale formula failed{_ago(run.get('timestamp'), s.now)}: "
            f"{_error(run['error'])}."
        )
    if wanted and pool.get("resizeErrors"):
        return "ResizeFailed", (
            f"{_start(where)} has no node although {wanted} "
            f"{'is' if wanted == 1 else 'are'} wanted: its resize failed"
            f"{_ago(pool.get('allocationStateTransitionTime'), s.now)}: {_errors(pool['resizeErrors'])}."
        )
    if wanted:
        return "NodesMissing", f"{_start(where)} has no node although {wanted} are wanted."
    if autoscale:
        interval = pool.get("autoScaleEvaluationInterval")
        every = f" (every {interval})" if interval else ""
        return "AutoScaledToZero", (
            f"{_start(where)} is scaled to zero by its formula, which is evaluated now and then{every}: "
            "nodes come once the formula counts the waiting task."
        )
    return "PoolEmpty", f"{_start(where)} has no node, wants none and has no autoscale: it has to be resized."


def _with_nodes(s: Situation, pool: Mapping[str, Any], where: str) -> tuple[str, str]:
    manager = s.job.get("jobManagerTask") or {}
    nodes = list(s.nodes)
    if manager.get("allowLowPriorityNode") is False:
        nodes = [node for node in nodes if node.get("isDedicated", True)]
        if not nodes:
            return "NoDedicatedNode", (
                f"The job manager must not run on Spot nodes (allow_low_priority_node is false), and {where} has no "
                "other."
            )
    slots, required = int(pool.get("taskSlotsPerNode") or 1), int(manager.get("requiredSlots") or 1)
    if required > slots:
        return "TooManySlots", (
            f"The job manager requires {_many(required, 'slot')}, and a node of {where} has {slots}: it will never fit."
        )
    working = [node for node in nodes if _works(node)]
    if not working:
        return _none_works(s, nodes, where)
    preparation = s.job.get("jobPreparationTask") or {}
    needed = preparation.get("waitForSuccess") is not False
    failed = {str(row.get("nodeId")) for row in _failed_preparations(s)} if needed else set()
    prepared = [node for node in working if str(node.get("id")) not in failed]
    if not prepared:
        return "PreparationFailed", (
            f"The job preparation task failed on every node of {where} that works{_preparation_error(s)}: the job "
            "waits for other nodes."
        )
    exclusive = manager.get("runExclusive", True) is not False
    if any(_has_room(node, slots, required, exclusive=exclusive) for node in prepared):
        return "Ready", f"{_start(where)} has a free node: the job manager should start soon."
    free = "an empty node (run_exclusive)" if exclusive else f"{_many(required, 'free slot')} on one node"
    busy = "The only node" if len(prepared) == 1 else f"All {len(prepared)} nodes"
    return "NoFreeSlot", (
        f"{busy} of {where} that can run it {'is' if len(prepared) == 1 else 'are'} busy, and the job manager needs "
        f"{free}."
    )


def _none_works(s: Situation, nodes: list[Mapping[str, Any]], where: str) -> tuple[str, str]:
    states = [_text(node, "state") for node in nodes]
    if any(state in _COMING for state in states):
        return "NodesStarting", f"The nodes of {where} are not ready yet: {_states(nodes)}."
    if "starttaskfailed" in states:
        return "StartTaskFailed", f"The start task failed on the nodes of {where}: {_start_task_error(nodes)}."
    if set(states) == {"preempted"}:
        age = _ago(max((str(node.get("stateTransitionTime") or "") for node in nodes), default=""), s.now)
        return "NodesPreempted", f"All Spot nodes of {where} were preempted{age}: the job waits for new ones."
    errors = [error for node in nodes for error in node.get("errors") or ()]
    why = f" ({_errors(errors)})" if errors else ""
    return "NodesUnusable", f"No node of {where} can run a task: {_states(nodes)}{why}."


def _notes(s: Situation, cause: str) -> tuple[str, ...]:
    notes = []
    if s.problem and cause != "PoolUnreadable":
        notes.append(f"Not all could be read: {s.problem}.")
    if s.manager is not None and (again := started_again(s.manager)):
        notes.append(f"The job manager has run before and waits to be started again: {again}.")
    pool = s.pool or {}
    if pool.get("resizeErrors") and cause not in ("ResizeFailed", "PoolDeleting"):
        # Errors of the last resize stay on a pool that works: worth a mention, and no more.
        age = _ago(pool.get("allocationStateTransitionTime"), s.now)
        notes.append(f"An earlier resize of the pool failed{age}: {_errors(pool['resizeErrors'])}.")
    error = (pool.get("autoScaleRun") or {}).get("error")
    if error and pool.get("enableAutoScale") and cause != "AutoScaleFailed":
        notes.append(f"The pool's autoscale formula fails: {_error(error)}.")
    if s.nodes and _text(pool, "allocationState") == "resizing":
        notes.append(f"The pool is being resized to {_many(_wanted(pool), 'node')}.")
    failed = [node for node in s.nodes if _text(node, "state") == "starttaskfailed"]
    if failed and cause != "StartTaskFailed":
        notes.append(f"The start task failed on {_many(len(failed), 'node')}: {_start_task_error(failed)}.")
    unusable = [node for node in s.nodes if _text(node, "state") in ("unusable", "unknown", "offline")]
    if unusable and cause != "NodesUnusable":
        notes.append(f"Nodes out of use: {_states(unusable)}.")
    broken = _failed_preparations(s)
    if broken and cause not in ("PreparationFailed", "Preparing"):
        notes.append(f"The job preparation task failed on {_many(len(broken), 'node')}{_preparation_error(s)}.")
    return tuple(notes)


def _works(node: Mapping[str, Any]) -> bool:
    return _text(node, "state") in _WORKING and _text(node, "schedulingState") != "disabled"


def _has_room(node: Mapping[str, Any], slots: int, required: int, *, exclusive: bool) -> bool:
    running = int(node.get("runningTasksCount") or 0)
    if exclusive:
        return running == 0
    return slots - int(node.get("runningTaskSlotsCount") or running) >= required


def _failed_preparations(s: Situation) -> list[Mapping[str, Any]]:
    return [row for row in s.preparations if _text(_preparation(row), "result") == "failure"]


def _failed_before(s: Situation) -> str:
    failed = _failed_preparations(s)
    return f" It failed on {_many(len(failed), 'node')} before{_preparation_error(s)}." if failed else ""


def _preparation_error(s: Situation) -> str:
    said = [_exit(_preparation(row)) for row in _failed_preparations(s)]
    return f" ({said[0]})" if said and said[0] else ""


def _preparation(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("jobPreparationTaskExecutionInfo") or {}


def _start_task_error(nodes: Sequence[Mapping[str, Any]]) -> str:
    infos = [node.get("startTaskInfo") or {} for node in nodes if _text(node, "state") == "starttaskfailed"]
    return next(filter(None, map(_exit, infos)), "the service does not say why")


def _exit(info: Mapping[str, Any]) -> str:
    parts = []
    if info.get("exitCode") is not None:
        parts.append(f"exit code {info['exitCode']}")
    if info.get("failureInfo"):
        parts.append(_error(info["failureInfo"]))
    return ", ".join(parts)


def _states(nodes: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(
        "scheduling disabled" if _text(node, "state") in _WORKING else _text(node, "state") for node in nodes
    )
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    distinct = list(dict.fromkeys(map(_error, errors)))
    more = f"; and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    return "; ".join(distinct[:_SHOWN]) + more


def _error(error: Mapping[str, Any]) -> str:
    code, message = str(error.get("code") or ""), str(error.get("message") or "").split("\nRequestId:")[0].strip()
    said = f"{code}: {message}" if code and message else code or message or "no reason given"
    values = error.get("values") or error.get("details") or error.get("errorDetails")
    details = "; ".join(f"{name}: {value}" for name, value in named_values(values))
    return line(one_line(f"{said.rstrip('.')} ({details})" if details else said.rstrip(".")), longest=500)


def _wanted(pool: Mapping[str, Any]) -> int:
    return int(pool.get("targetDedicatedNodes") or 0) + int(pool.get("targetLowPriorityNodes") or 0)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _ago(stamp: Any, now: datetime | None) -> str:
    age = _age(stamp, now)
    return f" {age} ago" if age else ""


def _for(stamp: Any, now: datetime | None) -> str:
    age = _age(stamp, now)
    return f" for {age}" if age else ""


def _age(stamp: Any, now: datetime | None) -> str:
    then = moment(str(stamp)) if stamp else None
    return "" if then is None or now is None else span(now - then)


def span(length: timedelta) -> str:
    """A length of time for a person: ``42 s``, ``3 min``, ``5 h``, ``2 d``."""
    seconds = max(0, round(length.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _text(resource: Mapping[str, Any] | None, name: str) -> str:
    return str((resource or {}).get(name) or "").lower()


def _start(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
