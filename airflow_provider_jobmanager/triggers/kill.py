"""Ending a deferred task's job when, and only when, somebody ended the task.

Airflow calls a trigger's ``on_kill`` when a user marks the task failed or successful, clears it, or ends its DAG run.
What was measured on Airflow 3.3 shapes this module:

* The call is cancelled again a second after it began, so the work is done in a task of its own, kept alive here.
* It also comes when the trigger moved to another triggerer while this one was stalled. Then the task is still deferred,
  and its job must live on. So Airflow is asked first how the task stands.
* After a Clear it may come later than the next try's submission. So only the job that this trigger follows is ended,
  known by its id and creation time, and not when the next try has taken it over.

* It does not come at all when the cancellation hit the trigger within ``sync_to_async``, which loses the message that
  tells a kill from a shutdown. (And Airflow 3.2 has no ``on_kill``.) So every cancellation of a trigger is taken for a
  possible kill, and the answer to the question decides.

One kill reaches nobody: of a task that no triggerer had taken up yet. Airflow runs nothing for it. The job's own
clock, a Clear of the task while its run goes on, or ``jobmanager orphans`` ends such a job.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseTrigger
from asgiref.sync import sync_to_async
from attrs import define

from airflow_provider_jobmanager.batch import flows, stopping
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.errors import ConfigurationError, JobManagerError
from airflow_provider_jobmanager.following import shared_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_jobmanager.account import Account
    from airflow_provider_jobmanager.batch.ownership import Owner
    from airflow_provider_jobmanager.batch.verdict import WaitFor

T = TypeVar("T")

XCOM_JOB_ID = "job_id"
"""Where the operator records the job that a try follows."""

MISSING = "missing"
"""State of a task instance that Airflow does not know (any more)."""

KILL = "kill"
LEAVE = "leave"
LOOK_AGAIN = "look again"

_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", MISSING})
_TO_BE_RUN = frozenset({None, "none", "scheduled", "queued"})
_LOOK_AGAIN_SECONDS = 600.0
_ASK_SECONDS = 300.0
_SETTLE_SECONDS = 0.3

_under_way: set[asyncio.Task[None]] = set()


@define
class Kill:
    """What has to be known to end a job.

    Attributes:
        job_id: the job that the trigger follows.
        owner: the try whose trigger it is.
        created_at: when the job was created.
        wait_for: what the task waits for, the ``"job"`` or the ``"job_manager"`` alone.
        account: finds the account.
        log: the trigger's log.
    """

    job_id: str
    owner: Owner
    created_at: str | None
    wait_for: WaitFor
    account: Callable[[], Awaitable[Account]]
    log: Any


class Killable(BaseTrigger):
    """A trigger whose job is ended when somebody ends the task."""

    _killing: asyncio.Task[None] | None = None

    @property
    def log(self) -> Any:
        """The class's logger, unless this trigger was given one.

        Airflow makes one for each trigger, which is nine objects each; what tells the triggers' logs from each other is
        the context that they run in.
        """
        return self._log or self.logger()

    def order(self) -> Kill | None:
        """What would have to be ended; None for nothing."""
        raise NotImplementedError

    def begin_kill(self) -> asyncio.Task[None] | None:
        """Begin, once, to find out whether the job is to be ended. Called on every cancellation."""
        if self._killing is None and (order := self.order()) is not None:
            self._killing = begin(order)
        return self._killing

    async def on_kill(self) -> None:
        """End the job because somebody ended the task."""
        if task := self.begin_kill():
            await asyncio.shield(task)


def begin(kill: Kill) -> asyncio.Task[None]:
    """Begin to find out whether the job is to be ended, and to end it. Nobody needs to wait for it."""
    task = asyncio.ensure_future(_carry_out(kill))
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return task


def decide(state: str | None, recorded: str | None, job_id: str) -> str:
    """What to do with the job of a trigger that was cancelled.

    Args:
        state: the task instance's state, ``missing`` when there is none.
        recorded: the job that the task's newest try follows, None while it has none.
        job_id: the job of the trigger.

    Returns:
        ``kill``, ``leave``, or ``look again`` when it can't be known yet.
    """
    another = recorded is not None and recorded.lower() != job_id.lower()
    if state in _OVER:
        return KILL
    if state == "deferred":
        # Our own deferral, on another triggerer now; or a cleared task's next try, with a job of its own.
        return KILL if another else LEAVE
    if state in ("up_for_retry", "up_for_reschedule"):
        # An automatic retry goes on with the job. A cleared task's next try that failed before it had one does not:
        # what the try before it recorded was deleted when it began.
        return LEAVE if recorded is not None and not another else KILL
    if state in _TO_BE_RUN or another:
        # Cleared. (Or resumed after our job's end, on another triggerer: then there is nothing left to kill.)
        return KILL
    # A worker has it: a cleared task's next try that has not submitted yet, or the end of ours.
    return LOOK_AGAIN


async def _carry_out(kill: Kill) -> None:
    # A triggerer that is shutting down cancels all its triggers; it is gone before they all begin to ask.
    await asyncio.sleep(_SETTLE_SECONDS)
    try:
        state, verb = await _find_out(kill)
        if verb == LEAVE:
            kill.log.info("The task is %s: job %s is left alone.", state, kill.job_id)
            return
        account = await _insistently(kill.account, "for the connection", kill.log)
        async with shared_client(account) as client:
            if state not in ("failed", MISSING):
                # Perhaps the task went its way because the job, or its manager, has come to an end.
                look = flows.read_verdict(kill.job_id, wait_for=kill.wait_for, settle=())
                if await client.perform(look) is not None:
                    kill.log.info("The task is %s and job %s has done its part: nothing to end.", state, kill.job_id)
                    return
            reason = f"Airflow: {kill.owner} was killed (it is {state or 'cleared'})"
            end = stopping.terminate(kill.job_id, reason, owner=kill.owner, created_at=kill.created_at)
            kill.log.info("Job %s was told to end (%s) and is %s.", kill.job_id, reason, await client.perform(end))
    except JobManagerError as error:
        kill.log.error("Job %s could not be ended and may still run: %s", kill.job_id, error)  # noqa: TRY400 - it says all
    except Exception:
        # Nobody waits for this task: what is not said here is said nowhere.
        kill.log.exception("Job %s could not be ended and may still run", kill.job_id)


async def _find_out(kill: Kill) -> tuple[str | None, str]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    patience = Patience(_LOOK_AGAIN_SECONDS, longest=15.0)
    ask = sync_to_async(partial(_ask, kill.owner))
    while True:
        state, recorded = await _insistently(ask, "about the task", kill.log)
        verb = decide(state, recorded, kill.job_id)
        if verb != LOOK_AGAIN:
            return state, verb
        if loop.time() - begun > _LOOK_AGAIN_SECONDS:
            return state, LEAVE
        await asyncio.sleep(patience.next_pause())


async def _insistently(ask: Callable[[], Awaitable[T]], what: str, log: Any) -> T:
    """Ask Airflow, again and again while it can't be asked. What a connection holds and can't work stays an error."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    patience = Patience(_ASK_SECONDS)
    while True:
        try:
            return await ask()
        except ConfigurationError:
            raise
        except Exception as error:
            if loop.time() - begun > _ASK_SECONDS:
                raise
            log.debug("Airflow can't be asked %s: %s", what, error)
            await asyncio.sleep(patience.next_pause())


def _ask(owner: Owner) -> tuple[str | None, str | None]:
    """State of the task instance and the job that its newest try follows."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - loaded in the triggerer
    from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415 - as above

    mapped = owner.map_index >= 0
    states: dict[str, Any] = RuntimeTaskInstance.get_task_states(
        dag_id=owner.dag_id,
        task_ids=[owner.task_id],
        run_ids=[owner.run_id],
        map_index=owner.map_index if mapped else None,
    )
    name = f"{owner.task_id}_{owner.map_index}" if mapped else owner.task_id
    state = states.get(owner.run_id, {}).get(name, MISSING)
    # By the backend that wrote it: what stands in the database may be no more than where it keeps the value.
    recorded = XCom.get_one(
        key=XCOM_JOB_ID,
        dag_id=owner.dag_id,
        task_id=owner.task_id,
        run_id=owner.run_id,
        map_index=owner.map_index if mapped else None,
    )
    return state, None if recorded is None else str(recorded)
