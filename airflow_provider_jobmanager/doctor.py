"""``jobmanager doctor``: what is wrong with a connection, a pool or a job, from a terminal.

Looks and changes nothing. Each finding is a line of its own; the exit code is 1 when one of them is a problem.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from airflow_provider_jobmanager.batch import calls, flows
from airflow_provider_jobmanager.batch.diagnosis import PASSING, Diagnosis, Situation, diagnose, span
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.printable import line, one_line
from airflow_provider_jobmanager.batch.report import gather
from airflow_provider_jobmanager.batch.situation import manager_of, pool_and_nodes, situation
from airflow_provider_jobmanager.batch.verdict import manager_id_of, moment
from airflow_provider_jobmanager.errors import JobManagerError, ServiceRefused
from airflow_provider_jobmanager.provider_info import DEFAULT_CONN_ID
from airflow_provider_jobmanager.terminal import hook_of, trouble_with

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from airflow_provider_jobmanager.batch.calls import Answer, Call, Json
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

_PATIENCE_SECONDS = 20.0
_SKEW_ALLOWED: Final = timedelta(minutes=15)
"""A request whose date is further from the service's clock is refused
(https://learn.microsoft.com/rest/api/batchservice/authenticate-requests-to-the-azure-batch-service)."""
_SKEW_NOTED: Final = timedelta(minutes=2)
_POOLS_SHOWN: Final = 20

Kind = Literal["fine", "problem", "note"]


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        kind: whether it is fine, a problem, or only worth knowing.
        text: what was found.
    """

    kind: Kind
    text: str


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Look at a Batch account, a pool or a job, and say what is wrong. Changes nothing."
    parser.add_argument(
        "--conn-id",
        default=DEFAULT_CONN_ID,
        metavar="ID",
        help=f"Airflow connection to the account (default: {DEFAULT_CONN_ID}); AIRFLOW_CONN_… variables count too",
    )
    parser.add_argument("--job-id", metavar="ID", help="a job: how it ended, or why it does not start")
    parser.add_argument("--pool-id", metavar="ID", help="a pool: whether a job manager could start on it now")


def run(arguments: Namespace) -> int:
    """Look, print the findings, and return 1 when there is a problem, else 0."""
    from rich.console import Console  # noqa: PLC0415 - only for who sees it
    from rich.text import Text  # noqa: PLC0415 - likewise

    console = Console(highlight=False, soft_wrap=True)
    marks = {"fine": ("ok  ", "green"), "problem": ("!!  ", "bold red"), "note": ("    ", "")}
    code = 0
    for finding in examine(hook_of(arguments.conn_id), arguments.job_id, arguments.pool_id):
        mark, style = marks[finding.kind]
        console.print(Text(mark, style) + Text(finding.text))
        if finding.kind == "problem":
            code = 1
    return code


def examine(hook: AzureBatchJobManagerHook, job_id: str | None = None, pool_id: str | None = None) -> Iterator[Finding]:
    """Look at the account, and at a job and a pool when they are named. Ends when the account can't be asked.

    Args:
        hook: of the connection to look at.
        job_id: a job.
        pool_id: a pool; that of the job when it is not named.
    """
    if trouble := trouble_with(hook):
        yield Finding("problem", trouble)
        return
    account = hook.account
    yield Finding("fine", f"Connection {hook.azure_batch_conn_id!r}: {account.endpoint}, {account.credential.method}.")
    try:
        yield from _account(hook)
        for look in (_schedules, _pools):
            yield from _unless_refused(look(hook), "note")
        if pool_id:
            yield from _unless_refused(_pool(hook, pool_id), "problem")
        if job_id:
            yield from _unless_refused(_job(hook, job_id), "problem")
    except JobManagerError as error:
        yield Finding("problem", line(one_line(str(error))))


def _unless_refused(findings: Iterator[Finding], kind: Kind) -> Iterator[Finding]:
    """What was found up to a refusal, and the refusal: a role may allow some of it only."""
    try:
        yield from findings
    except ServiceRefused as refusal:
        yield Finding(kind, line(one_line(str(refusal))))


def _account(hook: AzureBatchJobManagerHook) -> Iterator[Finding]:
    begun = time.monotonic()
    answer = _ask(hook, calls.rows("jobs", select=("id",), limit=1))
    took = time.monotonic() - begun
    yield Finding("fine", f"Reachable and authorised: it answered in {took * 1000:.0f} ms.")
    yield from _clock(answer)
    active = _ask(hook, calls.rows("jobs", filter="state ne 'completed'", select=("id",))).data
    yield Finding(
        "note",
        f"Jobs not completed: {len(active)}. With the job schedules they count towards the account's quota, 100 to 300 "
        "unless it was raised (which only the Azure portal tells, under Quotas).",
    )


def _schedules(hook: AzureBatchJobManagerHook) -> Iterator[Finding]:
    schedules = _ask(hook, calls.rows("jobschedules", filter="state ne 'completed'", select=("id",))).data
    yield Finding("note", f"Job schedules not completed: {len(schedules)}.")


def _pools(hook: AzureBatchJobManagerHook) -> Iterator[Finding]:
    pools = _ask(hook, calls.rows("pools", select=("id", "state", *_COUNTS))).data
    yield Finding(
        "note", f"{len(pools)} pools" + (": " if pools else ".") + ", ".join(map(_size, pools[:_POOLS_SHOWN]))
    )


_COUNTS = ("currentDedicatedNodes", "currentLowPriorityNodes", "targetDedicatedNodes", "targetLowPriorityNodes")


def _size(pool: Json) -> str:
    dedicated, spot, wanted_dedicated, wanted_spot = (int(pool.get(name) or 0) for name in _COUNTS)
    now, wanted = dedicated + spot, wanted_dedicated + wanted_spot
    nodes = f"{now} of {wanted} nodes" if now != wanted else f"{now} nodes"
    return f"{pool.get('id')} ({nodes})"


def _clock(answer: Answer) -> Iterator[Finding]:
    theirs = answer.date
    if theirs is None:
        return
    skew = abs(datetime.now(timezone.utc) - theirs)
    if skew >= _SKEW_ALLOWED:
        yield Finding(
            "problem", f"This machine's clock is {span(skew)} off the service's; signed requests are refused."
        )
    elif skew >= _SKEW_NOTED:
        yield Finding("note", f"This machine's clock is {span(skew)} off the service's.")


def _pool(hook: AzureBatchJobManagerHook, pool_id: str) -> Iterator[Finding]:
    pool, nodes = hook.perform(pool_and_nodes(pool_id, patience=_patience()))
    # As a job would see it that was created now.
    job = {"id": "", "state": "active", "jobManagerTask": {}}
    diagnosis = diagnose(Situation(job, None, pool_id, pool, nodes, (), datetime.now(timezone.utc)))
    yield _finding(diagnosis)


def _job(hook: AzureBatchJobManagerHook, job_id: str) -> Iterator[Finding]:
    job = hook.perform(flows.find_job(job_id, patience=_patience()))
    if job is None:
        yield Finding("problem", f"There is no job {job_id!r}.")
        return
    yield Finding("fine", f"Job {job['id']!r} is {job.get('state')}{_since(job)}, created {job.get('creationTime')}.")
    manager_id = manager_id_of(job)
    if not manager_id:
        yield Finding("note", "It has no job manager task.")
    verdict = hook.perform(flows.read_verdict(job_id, job=job, manager_id=manager_id, patience=_patience(), settle=()))
    if verdict is not None:
        if verdict.succeeded:
            yield Finding("fine", verdict.summary())
            return
        report = hook.perform(gather(verdict))
        first, *rest = report.facts()
        yield Finding("problem", first)
        for text in (*rest, *report.output()):
            yield Finding("note", text)
        return
    if not manager_id:
        return
    manager = hook.perform(manager_of(job_id, manager_id, patience=_patience()))
    if manager is None:
        yield Finding("problem", f"Its job manager task {manager_id!r} has no record.")
        return
    node = (manager.get("nodeInfo") or {}).get("nodeId")
    where = f" on node {node}" if node else ""
    yield Finding("fine", f"Its job manager {manager_id!r} is {manager.get('state')}{where}{_since(manager)}.")
    if str(manager.get("state")).lower() in ("active", "preparing"):
        seen = hook.perform(situation(job_id, manager, patience=_patience()))
        if seen is not None:
            yield _finding(diagnose(seen))


def _finding(diagnosis: Diagnosis) -> Finding:
    """A pool that is busy or on its way is used as it is: what passes by itself is no problem."""
    if diagnosis.cause == "Ready":
        return Finding("fine", str(diagnosis))
    return Finding("note" if diagnosis.cause in PASSING else "problem", str(diagnosis))


def _since(resource: Json) -> str:
    since = moment(resource.get("stateTransitionTime"))
    return f" for {span(datetime.now(timezone.utc) - since)}" if since else ""


def _ask(hook: AzureBatchJobManagerHook, call: Call) -> Answer:
    return hook.perform(patiently(call, _patience()))


def _patience() -> Patience:
    return Patience(_PATIENCE_SECONDS)
