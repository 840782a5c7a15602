"""The trigger: waits for a job in the triggerer and brings back the verdict."""

from __future__ import annotations

import asyncio
import functools
import time
from datetime import timezone
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_jobmanager.batch import flows, stopping
from airflow_provider_jobmanager.batch.ids import followed_id
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.patience import Patience
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor, manager_id_of, moment
from airflow_provider_jobmanager.errors import ConfigurationError, JobManagerError, ServiceError
from airflow_provider_jobmanager.following import (
    Broken,
    Changed,
    Ended,
    GaveUp,
    Judged,
    OutOfSight,
    OutOfTime,
    Recovered,
    Sight,
    Trouble,
    Wait,
    follow,
    insist,
)
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.meanwhile import tell_change
from airflow_provider_jobmanager.provider_info import DEFAULT_CONN_ID
from airflow_provider_jobmanager.sight import tell
from airflow_provider_jobmanager.telling import StartLimit, limit_start
from airflow_provider_jobmanager.triggers import kill
from airflow_provider_jobmanager.triggers.accounts import account_for, renewed
from airflow_provider_jobmanager.triggers.beside import Beside
from airflow_provider_jobmanager.triggers.ending import end_of_task, push_xcoms
from airflow_provider_jobmanager.triggers.reporting import report
from airflow_provider_jobmanager.triggers.schedules import newest_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from airflow_provider_jobmanager.account import Account
    from airflow_provider_jobmanager.batch.calls import Flow, Json
    from airflow_provider_jobmanager.sight import News

FIRST_EVENT_SECONDS = 5.0
"""No event sooner than this after the deferral, unless the poll interval is shorter: with Airflow's default
``[workers] min_heartbeat_interval`` an earlier one can make the scheduler fail the task (apache/airflow#71580)."""

FOLLOWER = "for"
"""Where an event says which task instance it is for."""

OUT_OF_SIGHT = "out_of_sight"
"""Status of an event that is no verdict: the job could not be followed any longer, and was left alone."""

MISCONFIGURED = "misconfigured"
"""Status of an event that is no verdict: an argument or the connection can't work. Only where no worker follows."""

_LAST_LOOK_SECONDS = 10.0
_SO_FAR_SECONDS = 3.0
_TERMINATE_SECONDS = 60.0
_LAST_WORD_SECONDS = 15.0
_QUIET_SECONDS = 60.0


class _NotInTime(Exception):  # noqa: N818 - reads as what happened
    """What it takes to follow a job was not known before the deadline."""


class AzureBatchJobManagerTrigger(kill.Killable):
    """Wait for an Azure Batch job; the event is the verdict as JSON.

    Args:
        job_id: the job; any job of the account.
        job_schedule_id: instead of ``job_id``, follow the newest job of this schedule.
        azure_batch_conn_id: connection to the account.
        poll_interval: seconds between two looks. All waits of an account share one poll, at the shortest interval.
        wait_for: the end of the ``"job"``, or of the ``"job_manager"`` alone.
        manager_id: id of the job manager task; learned from the job when empty.
        created_at: the job's creation time (ISO 8601), which tells it from a later job of the same id.
        children_count: whether failed children make an otherwise succeeded job fail; None for when the job outlives
            its manager (its ``killJobOnCompletion`` is false).
        job_must_exist: whether a job that is not there is lost; False waits for it to appear.
        deadline: time (seconds since the epoch, this machine's clock) when to stop waiting. Airflow's own timeout of
            the deferral is kept clear of, too.
        deferral_margin: seconds before Airflow's timeout of the deferral when to stop waiting; None for a quarter of
            the time, at most 15 s. A trigger that begins its task can be given no deadline.
        out_of_sight: seconds without any usable answer of the service after which to stop waiting.
        owner: the try that owns the job, for ending it at the deadline and on a kill; None never ends the job.
        on_kill_action: ``"terminate"`` or ``"leave"`` the job at the deadline and on a kill.
        end_from_trigger: end the task here, without a worker.
        soft_fail: with ``end_from_trigger``, skip the task instead of failing it.
        retries_follow: with ``end_from_trigger``, the task has retries. Then a worker ends it when its deadline passes:
            that is final, and here Airflow would retry it.
        stream_logs: tell what the manager prints. The worker goes on where the trigger stopped.
        start_limit: seconds that the manager may take to start, and when (seconds since the epoch) they are over;
            None for ever.
    """

    def __init__(
        self,
        *,
        job_id: str = "",
        job_schedule_id: str = "",
        azure_batch_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 5.0,
        wait_for: WaitFor = "job",
        manager_id: str = "",
        created_at: str | None = None,
        children_count: bool | None = None,
        job_must_exist: bool = True,
        deadline: float | None = None,
        deferral_margin: float | None = None,
        out_of_sight: float = 3600.0,
        owner: dict[str, Any] | None = None,
        on_kill_action: str = "terminate",
        end_from_trigger: bool = False,
        soft_fail: bool = False,
        retries_follow: bool = False,
        stream_logs: bool = False,
        start_limit: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own has no annotations
        self.job_id = job_id
        self.job_schedule_id = job_schedule_id
        self.azure_batch_conn_id = azure_batch_conn_id
        self.poll_interval = poll_interval
        self.wait_for = wait_for
        self.manager_id = manager_id
        self.created_at = created_at
        self.children_count = children_count
        self.job_must_exist = job_must_exist
        self.deadline = deadline
        self.deferral_margin = deferral_margin
        self.out_of_sight = out_of_sight
        self.owner = owner
        self.on_kill_action = on_kill_action
        self.end_from_trigger = end_from_trigger
        self.soft_fail = soft_fail
        self.retries_follow = retries_follow
        self.stream_logs = stream_logs
        self.start_limit = start_limit
        self._begun = time.time()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the database keeps: the class and its arguments, none of them a secret."""
        names = (
            "job_id",
            "job_schedule_id",
            "azure_batch_conn_id",
            "poll_interval",
            "wait_for",
            "manager_id",
            "created_at",
            "children_count",
            "job_must_exist",
            "deadline",
            "deferral_margin",
            "out_of_sight",
            "owner",
            "on_kill_action",
            "end_from_trigger",
            "soft_fail",
            "retries_follow",
            "stream_logs",
            "start_limit",
        )
        path = f"{AzureBatchJobManagerTrigger.__module__}.{AzureBatchJobManagerTrigger.__qualname__}"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event."""
        if self.end_from_trigger:
            yield await self._end_here()
            return
        begun = time.monotonic()
        try:
            event = await self._follow()
        except asyncio.CancelledError:
            self.begin_kill()
            raise
        await asyncio.sleep(min(FIRST_EVENT_SECONDS, self.poll_interval) - (time.monotonic() - begun))
        yield TriggerEvent(self._addressed(event))

    def order(self) -> kill.Kill | None:
        """What a kill (:mod:`.kill`) would have to end."""
        if self.owner is None or self.on_kill_action != "terminate":
            return None
        owner = Owner(**self.owner)
        return kill.Kill(self.job_id, owner, self.created_at, self.wait_for, self._account, self.log)

    async def _end_here(self) -> TriggerEvent:
        try:
            event = await self._follow()
        except ConfigurationError as error:
            event = self._not_followed(MISCONFIGURED, str(error))
        if event["status"] in (OUT_OF_SIGHT, MISCONFIGURED):
            self._say_not_followed(event["reason"])
        elif event["status"] == "succeeded":
            verdict = {name: value for name, value in event.items() if name != "told"}
            await push_xcoms(self.task_instance, {"return_value": verdict}, self.log)
        else:
            self.log.error("%s", Verdict.from_dict(event).summary())
        failure = event.get("failure") or {}
        if self.retries_follow and not self.soft_fail and failure.get("code") == stopping.DEADLINE:
            return TriggerEvent(self._addressed(event))
        return end_of_task(self._addressed(event), soft_fail=self.soft_fail)

    def _addressed(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event, and whom it is for: Airflow may hand it to a task whose trigger was given this one's number."""
        ti_id = getattr(getattr(self, "task_instance", None), "id", None)  # none in `dag.test()`
        return event if ti_id is None else event | {FOLLOWER: str(ti_id)}

    async def _follow(self) -> dict[str, Any]:
        self._settle_id()
        try:
            account, created, beside = await self._find(), moment(self.created_at), None
            while True:
                try:
                    async with self._wait_on(account, created) as wait:
                        # What thousands of triggers are in for hours is in this one coroutine: each more is a frame for
                        # every garbage collection to go through.
                        beside = beside.anew(wait) if beside else self._beside(wait)
                        try:
                            self._begin(beside)
                            event = None
                            while event is None:
                                if news := wait.news():
                                    event = await self._event_of(news, wait)
                                else:
                                    await wait.more()
                        finally:
                            await beside.end()
                        if self.end_from_trigger and event["status"] not in (OUT_OF_SIGHT, "succeeded"):
                            # No worker will: say here what a person needs to know.
                            await report(wait.client, Verdict.from_dict(event), self.log)
                        return event | {"told": beside.told}
                except OutOfSight as lost:
                    account = await renewed(account, lost, self._account_in_time)
                    created = wait.created_at
                    self.log.info("The connection was changed: following job %s with what it holds now.", self.job_id)
        except OutOfSight as lost:
            return self._gone_dark(lost.gave_up)
        except _NotInTime as late:
            return self._timed_out(f"{late} the deadline of the Airflow task").as_dict()

    async def _find(self) -> Account:
        """The account; and the job, should only its schedule be known."""
        account = await self._account_in_time()
        if not self.job_id:
            looking = newest_job(
                self.job_schedule_id,
                account,
                interval=self.poll_interval,
                out_of_sight=self.out_of_sight,
                say=self._say,
            )
            try:
                self.job_id = await asyncio.wait_for(looking, self._remaining())
            except asyncio.TimeoutError:
                raise _NotInTime(f"Job schedule {self.job_schedule_id!r} had made no job until") from None
        self.log.info("Following job %s on %s.", self.job_id, account.endpoint)
        if self._has_task:
            # The task begins here: no worker has stored the links of its job.
            addresses = links.addresses(account, self.job_id)
            await push_xcoms(self.task_instance, addresses, self.log, as_links=True)
        return account

    def _wait_on(self, account: Account, created: datetime | None) -> follow:
        return follow(
            self.job_id,
            account=account,
            interval=self.poll_interval,
            since=created,
            created_at=created,
            must_exist=self.job_must_exist,
            out_of_sight=self.out_of_sight,
        )

    def _beside(self, wait: Wait) -> Beside:
        return Beside(wait, self.log, manager_id=self.manager_id, output=self.stream_logs)

    def _begin(self, beside: Beside) -> None:
        wait = beside.wait
        # Most managers have started by then, and many jobs are over: a wait costs nothing of its own so far.
        beside.begin(_QUIET_SECONDS if not self.stream_logs and self.start_limit is None else 0.0)
        if self.start_limit is not None:
            limit = StartLimit(*self.start_limit)
            beside.run(limit_start(wait, beside.telling, limit, functools.partial(self._not_started, wait)))
        if self.wait_for == "job_manager":
            beside.run(self._watch_manager(wait))
        beside.set_alarm(self._remaining())

    async def _event_of(self, news: News, wait: Wait) -> dict[str, Any] | None:
        """What ends the task; None when the news only had to be told."""
        if isinstance(news, Ended):
            verdict = await self._judge(wait, news.job)
            self.log.info("%s", verdict.summary())
            return verdict.as_dict()
        if isinstance(news, Judged):
            self.log.info("%s", news.verdict.summary())
            return news.verdict.as_dict()
        if isinstance(news, OutOfTime):
            return (await self._out_of_time(wait)).as_dict()
        if isinstance(news, GaveUp):
            raise OutOfSight(news)
        if isinstance(news, Broken):
            self.log.error("The job can't be followed any more: %r", news.error, exc_info=news.error)
            return {"job_id": self.job_id, "status": OUT_OF_SIGHT, "reason": f"Internal error: {news.error!r}"}
        if isinstance(news, Changed):
            tell_change(self.log, self.job_id, news)
        else:
            self._say(news)
        return None

    async def _judge(self, wait: Wait, job: Json | None) -> Verdict:
        if job is None:
            return Verdict(self.job_id, "lost", manager_id=self.manager_id, never_seen=not wait.seen)
        reading = insist(wait.client, lambda patience: self._verdict(wait, patience, job), wait.sight, self._say)
        remaining = self._remaining()
        try:
            # The job is over: a deadline that passes now leaves the time to say how it ended.
            verdict = await asyncio.wait_for(reading, None if remaining is None else max(remaining, _LAST_LOOK_SECONDS))
        except asyncio.TimeoutError:
            return self._timed_out("The job ended; how, could not be read before the deadline of the Airflow task")
        if verdict is None:
            raise RuntimeError(f"Job {self.job_id!r} was completed and is not any more")
        return verdict

    def _verdict(self, wait: Wait, patience: Patience, job: Json | None = None) -> Flow[Verdict | None]:
        return flows.read_verdict(
            self.job_id,
            job=job,
            wait_for=self.wait_for,
            manager_id=self.manager_id,
            children_count=self.children_count,
            created_at=wait.created_at,
            patience=patience,
        )

    async def _watch_manager(self, wait: Wait) -> None:
        """Look at the manager again and again: no list tells of the tasks of many jobs."""
        sight, look = Sight(self.out_of_sight), functools.partial(self._manager_verdict, wait)
        try:
            while True:
                await wait.look_in_turn()
                # The shared poll meets the same trouble, and says so.
                verdict = await insist(wait.client, look, sight, lambda _: None)
                if verdict is not None and verdict.status != "lost":  # whether a job is lost is for the poll to say
                    wait.tell(Judged(verdict))
                    return
                await asyncio.sleep(self.poll_interval)
        except OutOfSight as lost:
            wait.tell(lost.gave_up)
        except Exception as error:  # noqa: BLE001 - not hidden: whoever waits raises it
            wait.tell(Broken(error))

    def _manager_verdict(self, wait: Wait, patience: Patience) -> Flow[Verdict | None]:
        if not self.manager_id:
            job = yield from flows.find_job(self.job_id, patience=patience)
            self.manager_id = manager_id_of(job or {})
        if not self.manager_id or not (yield from flows.task_is_over(self.job_id, self.manager_id, patience=patience)):
            return None
        return (yield from self._verdict(wait, patience))

    async def _not_started(self, wait: Wait, verdict: Verdict) -> None:
        if self.owner is None or self.on_kill_action != "terminate":
            return
        owner = Owner(**self.owner)
        ending = stopping.terminate(
            self.job_id,
            f"{stopping.BY_AIRFLOW}{owner} {verdict.reason.removeprefix(stopping.BY_AIRFLOW)}",
            owner=owner,
            created_at=self.created_at,
            patience=Patience(seconds=_TERMINATE_SECONDS),
        )
        try:
            await asyncio.wait_for(wait.client.perform(ending), _TERMINATE_SECONDS)
        except (JobManagerError, asyncio.TimeoutError) as error:
            self.log.warning("Not started, and job %s could not be told to end: %s", self.job_id, error or "no answer")

    async def _out_of_time(self, wait: Wait) -> Verdict:
        if verdict := await self._last_look(wait):
            return verdict
        if self.owner is None or self.on_kill_action != "terminate":
            left = self._timed_out("The deadline of the Airflow task passed; the job was left alone")
            return await self._so_far(wait, left)
        owner = Owner(**self.owner)
        ending = stopping.stop_at_deadline(
            self.job_id,
            owner,
            created_at=self.created_at,
            wait_for=self.wait_for,
            children_count=self.children_count,
            manager_id=self.manager_id,
            patience=Patience(seconds=_TERMINATE_SECONDS),
        )
        try:
            verdict = await asyncio.wait_for(wait.client.perform(ending), _TERMINATE_SECONDS)
        except (JobManagerError, asyncio.TimeoutError) as error:
            self.log.warning("Out of time, and job %s could not be told to end: %s", self.job_id, error or "no answer")
            return self._timed_out(f"Airflow: deadline of {owner} passed; the job could not be told to end")
        verdict = await self._so_far(wait, verdict)
        self.log.info("Out of time. %s", verdict.summary())
        return verdict

    async def _so_far(self, wait: Wait, verdict: Verdict) -> Verdict:
        reading = wait.client.perform(stopping.read_so_far(verdict, created_at=wait.created_at))
        try:
            return await asyncio.wait_for(reading, _SO_FAR_SECONDS)
        except asyncio.TimeoutError:
            return verdict

    async def _last_look(self, wait: Wait) -> Verdict | None:
        """What became of the job while nobody looked, such as before a triggerer came back too late."""
        try:
            verdict = await asyncio.wait_for(wait.client.perform(self._verdict(wait, Patience())), _LAST_LOOK_SECONDS)
        except (ServiceError, asyncio.TimeoutError):
            return None
        return None if verdict is None or verdict.status == "lost" else verdict

    def _timed_out(self, reason: str) -> Verdict:
        return stopping.out_of_time(self.job_id, reason, self.manager_id)

    def _gone_dark(self, gave_up: GaveUp) -> dict[str, Any]:
        self.log.error("Out of sight for %.0f s, giving up: %s", gave_up.seconds, gave_up.error)
        return self._not_followed(OUT_OF_SIGHT, str(gave_up.error))

    def _not_followed(self, status: str, reason: str) -> dict[str, Any]:
        event = {"job_id": self.job_id, "status": status, "reason": reason}
        return event if self.job_id else event | {"job_schedule_id": self.job_schedule_id}

    def _say_not_followed(self, reason: str) -> None:
        if self.job_id:
            self.log.error("Job %s can't be followed: %s The job was left alone.", self.job_id, reason)
        else:
            self.log.error("No job of job schedule %s can be followed: %s", self.job_schedule_id, reason)

    def _say(self, news: Trouble | Recovered) -> None:
        tell(self.log, news)

    def _settle_id(self) -> None:
        # Rendered in the triggerer, a template may come to anything.
        if self.job_id not in ("", None):
            self.job_id = followed_id("job_id", self.job_id)
        elif self.job_schedule_id not in ("", None):
            self.job_id, self.job_schedule_id = "", followed_id("job_schedule_id", self.job_schedule_id)
        else:
            raise ConfigurationError("Nothing to follow: neither job_id nor job_schedule_id came to anything.")

    def _remaining(self) -> float | None:
        """Seconds until it is time to stop, with a last word before Airflow cuts the deferral off."""
        stops = [] if self.deadline is None else [self.deadline]
        cut_off = getattr(self, "timeout_after", None)  # set by the triggerer
        if cut_off is not None:
            end = (cut_off if cut_off.tzinfo else cut_off.replace(tzinfo=timezone.utc)).timestamp()
            margin = self.deferral_margin
            stops.append(end - (min(_LAST_WORD_SECONDS, (end - self._begun) / 4) if margin is None else margin))
        return max(0.0, min(stops) - time.time()) if stops else None

    @property
    def _has_task(self) -> bool:
        """Whether the task begins here; Airflow 3.2 knows no task in a triggerer."""
        return getattr(self, "task", None) is not None

    async def _account_in_time(self) -> Account:
        remaining = self._remaining()
        try:
            # Who comes too late to wait for a job looks at it once more nevertheless.
            seconds = None if remaining is None else max(remaining, _LAST_LOOK_SECONDS)
            return await asyncio.wait_for(self._account(), seconds)
        except asyncio.TimeoutError:
            raise _NotInTime(f"Connection {self.azure_batch_conn_id!r} could not be looked up before") from None

    async def _account(self) -> Account:
        return await account_for(self.azure_batch_conn_id, self._say_lookup)

    def _say_lookup(self, error: Exception) -> None:
        self.log.warning("Connection %r can't be looked up at the moment: %s", self.azure_batch_conn_id, error)
