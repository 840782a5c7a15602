"""``jobmanager orphans``: active jobs that this provider made and that no Airflow task follows any more.

They arise when nobody was there to end them: a worker killed -9 on its last try, a task marked failed before any
triggerer had taken it up, a service that was out of reach when its job had to be ended. They run on, cost money, and
count towards the account's quota of active jobs.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import httpx
from attrs import frozen

from airflow_provider_jobmanager.airflow_server import PASSWORD, USERNAME, api_of
from airflow_provider_jobmanager.batch import calls, stopping
from airflow_provider_jobmanager.batch.flows import job_or_none
from airflow_provider_jobmanager.batch.job_manager_task import ID
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.printable import line, one_line
from airflow_provider_jobmanager.demo.airflow_api import FINISHED_TASK, AirflowApiError, TaskInstance
from airflow_provider_jobmanager.errors import ConfigurationError, JobManagerError
from airflow_provider_jobmanager.provider_info import DEFAULT_CONN_ID
from airflow_provider_jobmanager.terminal import hook_of, trouble_with

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from airflow_provider_jobmanager.batch.calls import Json
    from airflow_provider_jobmanager.demo.airflow_api import AirflowApi
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

GONE = "this Airflow has no such task instance (any more)"

_XCOM_JOB_ID = "job_id"
_SELECT = ("id", "state", "creationTime", "metadata", "jobManagerTask")
_NOT_FOUND = 404
_WAITING_FOR_ITS_TURN = frozenset({"up_for_retry", "up_for_reschedule"})


@frozen
class Found:
    """An active job of ours and what became of its task.

    Attributes:
        job_id: the job.
        state: its state.
        owner: the try that made it.
        created_at: when (ISO 8601).
        orphan: whether nobody follows it.
        why: how that is known.
    """

    job_id: str
    state: str
    owner: Owner
    created_at: str | None
    orphan: bool
    why: str

    @property
    def gone(self) -> bool:
        """Whether this Airflow does not know the task: it may be another Airflow's."""
        return self.why == GONE


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "List active jobs that this provider made and whose Airflow task is over, gone, or follows another job. "
        f"Airflow is asked through its REST API, as the user of {USERNAME} and {PASSWORD}."
    )
    parser.add_argument(
        "--conn-id",
        default=DEFAULT_CONN_ID,
        metavar="ID",
        help=f"Airflow connection to the account (default: {DEFAULT_CONN_ID}); AIRFLOW_CONN_… variables count too",
    )
    parser.add_argument(
        "--airflow-url", metavar="URL", help="address of Airflow's API server (default: [api] base_url of airflow.cfg)"
    )
    parser.add_argument("--terminate", action="store_true", help="end them, each with a reason")
    parser.add_argument(
        "--gone-too",
        action="store_true",
        help="also end jobs whose task this Airflow does not know, because its run was deleted or cleared since; only "
        "when no other Airflow uses the account",
    )


def run(arguments: Namespace) -> int:
    """List the orphans, end them when asked to; return 1 when one is left, else 0.

    Raises:
        ConfigurationError: the connection can't be used, or Airflow can't be asked.
        JobManagerError: the Batch service can't be asked.
    """
    from rich.console import Console  # noqa: PLC0415 - only for who sees it

    console = Console(highlight=False, soft_wrap=True, markup=False)
    left = left_alone = 0
    with api_of(arguments.airflow_url) as api:
        hook = hook_of(arguments.conn_id)
        if trouble := trouble_with(hook):
            raise ConfigurationError(trouble)
        jobs = list(examine(hook, api))
    for found in jobs:
        what = "orphan" if found.orphan else "kept  "
        console.print(f"{what}  {found.job_id}  {found.state} since {found.created_at}: {found.owner}; {found.why}")
        if found.orphan and arguments.terminate and (arguments.gone_too or not found.gone):
            left += _terminate(hook, found, console)
        elif found.orphan:
            left_alone += 1
    orphans = sum(found.orphan for found in jobs)
    console.print(f"{len(jobs)} active jobs of this provider, {orphans} of them orphans.")
    if left_alone and not arguments.terminate:
        console.print("End them with --terminate.")
    elif left_alone:
        console.print("Those that this Airflow does not know were left alone; see --gone-too.")
    return 1 if left or left_alone else 0


def examine(hook: AzureBatchJobManagerHook, api: AirflowApi) -> Iterator[Found]:
    """Look at every active job of the account that carries our mark, and ask Airflow about its task.

    Raises:
        ConfigurationError: Airflow can't be asked. A job is never taken for an orphan because of that.
        JobManagerError: the Batch service can't be asked.
    """
    request = calls.rows("jobs", filter="state ne 'completed'", select=_SELECT)
    jobs = hook.perform(patiently(request, Patience(60.0))).data
    ours = [(job, owner) for job in jobs if (owner := Owner.of(job)) is not None and not _is_ending(job)]
    if ours:
        with _asked(api):
            api.login()
    for job, owner in ours:
        with _asked(api, f" about {owner}"):
            if owner.run_start and _moment(owner.run_start) is None:
                # Whose job it is can't be known, and one broken mark is no reason to say nothing of the others.
                orphan, why = (
                    False,
                    f"its mark is broken (the start of its run is {owner.run_start!r}): see for yourself",
                )
            else:
                task, followed = _task(api, owner)
                if followed is not None and _differ(followed, job) and not _is_job_of(hook, followed, owner):
                    followed = None
                orphan, why = judge(job, owner, task, followed)
        yield Found(str(job["id"]), str(job.get("state")), owner, job.get("creationTime"), orphan, why)


@contextmanager
def _asked(api: AirflowApi, about: str = "") -> Iterator[None]:
    try:
        yield
    except (AirflowApiError, httpx.HTTPError, httpx.InvalidURL) as error:
        # An answer may be a whole page.
        why = one_line(str(error)) or type(error).__name__
        raise ConfigurationError(line(f"Airflow at {api.url} can't be asked{about}: {why}")) from error


def _is_ending(job: Json) -> bool:
    return str(job.get("state")).lower() in ("terminating", "deleting")


def judge(job: Json, owner: Owner, task: TaskInstance | None, followed: str | None) -> tuple[bool, str]:
    """Whether nobody follows a job, and how that is known.

    Args:
        job: an active job.
        owner: the try that made it.
        task: its task instance now, None when there is none.
        followed: the job that the task's newest try follows, None when it has recorded none yet, or where it can't be
            read.
    """
    if task is None:
        return True, GONE
    elsewhere = followed is not None and _differ(followed, job)
    if task.state in FINISHED_TASK:
        may_go_on = (job.get("jobManagerTask") or {}).get("killJobOnCompletion") is False and not elsewhere
        if task.state == "success" and may_go_on:
            return False, "the task succeeded and the job may go on after its manager"
        return True, f"the task is {task.state}"
    if elsewhere:
        return True, f"try {task.try_number} follows {followed}"
    if task.state in _WAITING_FOR_ITS_TURN:
        return False, f"the task is {task.state}, and its next try will look for this job"
    if followed is None and task.try_number > owner.try_number:
        return False, f"try {task.try_number} is {task.state} and may yet take it over"
    return False, f"the task is {task.state}"


def _differ(job_id: str, job: Json) -> bool:
    return job_id.lower() != str(job["id"]).lower()


def _is_job_of(hook: AzureBatchJobManagerHook, recorded: str, owner: Owner) -> bool:
    """Whether what a task has recorded is a job of it.

    With an XCom backend of one's own it may be no more than where the id is kept, which nobody can read from here.
    """
    if not re.fullmatch(ID, recorded):
        return False
    job = hook.perform(job_or_none(recorded, Patience(60.0), select=("id", "metadata")))
    theirs = None if job is None else Owner.of(job)
    return theirs is not None and theirs.same_task(owner)


def _task(api: AirflowApi, owner: Owner) -> tuple[TaskInstance | None, str | None]:
    where = (owner.dag_id, owner.run_id, owner.task_id, owner.map_index)
    try:
        # A run of the same name may be another Airflow's, or one that was deleted and made again.
        if not _same_moment(api.dag_run(owner.dag_id, owner.run_id).raw.get("start_date"), owner.run_start):
            return None, None
        task = api.task_instance(*where)
    except AirflowApiError as error:
        if _says_gone(error, owner.run_id):
            return None, None
        raise
    return task, _followed(api, owner)


def _says_gone(error: AirflowApiError, name: str) -> bool:
    """Whether Airflow says that it does not have what was asked for.

    It names that in backticks. Another web server answers 404 too, and so do a path that lacks a prefix and a route
    that Airflow does not have: with a page, with ``{"detail": "Not Found"}`` or ``{"error": "API route not found"}``.
    """
    return error.status == _NOT_FOUND and f"`{name}`" in (error.detail or "")


def _same_moment(one: str | None, other: str) -> bool:
    return one is not None and _moment(str(one)) == _moment(other)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _followed(api: AirflowApi, owner: Owner) -> str | None:
    path = f"/dags/{owner.dag_id}/dagRuns/{owner.run_id}/taskInstances/{owner.task_id}/xcomEntries/{_XCOM_JOB_ID}"
    try:
        entry = api.request("GET", path, params={"map_index": owner.map_index, "deserialize": False})
    except AirflowApiError as error:
        if _says_gone(error, _XCOM_JOB_ID):
            return None
        raise
    if not isinstance(entry, dict) or "value" not in entry:
        raise AirflowApiError("The answer is not an XCom of Airflow")
    return str(entry["value"]).strip('"')


def _terminate(hook: AzureBatchJobManagerHook, found: Found, console: Any) -> int:
    reason = f"jobmanager orphans: {found.why}"
    try:
        state = hook.perform(stopping.terminate(found.job_id, reason, owner=found.owner, created_at=found.created_at))
    except JobManagerError as error:
        console.print(f"        could not be ended: {error}")
        return 1
    console.print(f"        was told to end and is {state}.")
    return 0
