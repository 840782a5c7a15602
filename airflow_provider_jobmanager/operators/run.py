"""One try's run of one job, as a worker sees it: submitted, waited for, stopped, deleted.

Knows the hook and the Batch service, and of Airflow only what a log is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.batch import calls, flows, stopping, submitting
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.verdict import Verdict, WaitFor, manager_id_of, moment
from airflow_provider_jobmanager.errors import JobCancelled, JobManagerError, ServiceError, ServiceUnavailable
from airflow_provider_jobmanager.operators.backstop import backstop, bound
from airflow_provider_jobmanager.sight import OutOfSight, Sight, Trouble, insistently, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_jobmanager.batch.calls import Flow, Json
    from airflow_provider_jobmanager.batch.ownership import Owner
    from airflow_provider_jobmanager.batch.submitting import Submission
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
    from airflow_provider_jobmanager.sight import Recovered

_KILL_SECONDS = 60.0
_MAY_APPEAR_SECONDS = 3.0
"""How long a kill in the middle of a submission waits for the job. Airflow ends a killed worker after five seconds."""
_SUBMIT_SECONDS = 300.0
"""How long a submission holds the worker while the service gives no usable answer."""
_GLANCE_SECONDS = 10.0


@define
class JobRun:
    """The job that a try submits and follows.

    Attributes:
        hook: where.
        owner: the try.
        log: the task's log.
        wait_for: the end of the ``"job"`` or of the ``"job_manager"`` alone.
        children_count: whether failed children make an otherwise succeeded job fail; None for when it outlives its
            manager.
        manager_id: id of the job manager task; empty while that is not known.
        may_stop: whether a killed task, or one out of time, ends its job.
        out_of_sight: seconds without any usable answer after which to stop waiting.
        final_exit_codes: exit codes of the manager after which there is nothing to retry.
        deadline: when to stop waiting, seconds since the epoch, None for never.
        job_id: the job; empty while none was asked for.
        created_at: when it was created; None while that is not known.
        submitting: a create may be on its way.
        killed: the task was killed: nothing must be begun any more.
    """

    hook: AzureBatchJobManagerHook
    owner: Owner
    log: Any
    wait_for: WaitFor = "job"
    children_count: bool | None = None
    manager_id: str = ""
    may_stop: bool = True
    out_of_sight: float = 3600.0
    final_exit_codes: frozenset[int] = frozenset()
    deadline: float | None = None
    job_id: str = ""
    created_at: str | None = None
    _sight: Sight = field(factory=lambda: Sight(3600.0), init=False)
    submitting: bool = field(default=False, init=False)
    killed: bool = field(default=False, init=False)

    def submit(self, body: dict[str, Any], *, since: datetime | None, in_doubt: bool) -> Submission:
        """Have the job run exactly once (:func:`~airflow_provider_jobmanager.batch.submitting.submit`).

        Raises:
            JobCancelled: the task was killed meanwhile; so was the job, if there was one.
            ServiceUnavailable: no usable answer for some minutes. The job may exist.
        """
        self._go_on()
        self.manager_id = body["jobManagerTask"]["id"]
        bounded = self._bound(body)
        self.submitting = True
        submission = self.hook.perform(
            submitting.submit(
                body,
                self.owner,
                since=since,
                in_doubt=in_doubt,
                wait_for=self.wait_for,
                children_count=self.children_count,
                final_exit_codes=self.final_exit_codes,
                about_to=self._about_to,
                patience=Patience(self._seconds(_SUBMIT_SECONDS)),
            )
        )
        self.job_id, self.created_at = submission.job_id, submission.created_at
        self.manager_id = manager_id_of(submission.job) or self.manager_id  # an earlier try may have named it otherwise
        self.submitting = False
        if self.killed and self.may_stop:
            # The kill came while the create was under way, and may have found nothing yet.
            self.stop("was killed")
        self._go_on()
        if submission.adopted and submission.verdict is None:
            self._take_over(submission.job, body["constraints"] if bounded else None)
        if self.may_stop and self.owner.try_number > 1:
            self._end_left_behind(derived=not body.get("id"))
        return submission

    def glance(self) -> Verdict | None:
        """How the job ended; None while it goes on, and when the service can't be asked just now."""
        try:
            return self.hook.perform(self._verdict(Patience(self._seconds(_GLANCE_SECONDS))))
        except ServiceError as error:
            self._say(Trouble(error))
            return None

    def look(self) -> Verdict | None:
        """How the job ended; None while it goes on.

        Raises:
            ServiceUnavailable: the service could not be asked for too long; the job was left alone.
        """
        try:
            return self.hook.perform(insistently(self._verdict, self._sight_until_deadline(), self._say))
        except OutOfSight as lost:
            if self.overdue:
                return None
            raise ServiceUnavailable(
                f"Job {self.job_id!r} is out of sight: {lost.gave_up.error}. The job was left alone and may still run."
            ) from lost

    def _verdict(self, patience: Patience) -> Flow[Verdict | None]:
        return flows.read_verdict(
            self.job_id,
            wait_for=self.wait_for,
            children_count=self.children_count,
            created_at=moment(self.created_at),
            patience=patience,
        )

    def _sight_until_deadline(self) -> Sight:
        self._sight.out_of_sight = self._seconds(float("inf"))
        return self._sight

    def _seconds(self, most: float) -> float:
        """How long to put up with a service that gives no usable answer."""
        left = float("inf") if self.deadline is None else max(0.0, self.deadline - time.time())
        return min(most, self.out_of_sight, left)

    def _say(self, news: Trouble | Recovered) -> None:
        tell(self.log, news)

    def wait(
        self,
        interval: float,
        sleep: Callable[[float], None] = time.sleep,
        meanwhile: Callable[[], Verdict | None] | None = None,
    ) -> Verdict:
        """Wait for the job's end, or for the deadline, and end the job then.

        Args:
            interval: seconds between two looks.
            sleep: for tests to replace.
            meanwhile: called after each look; a verdict of its ends the wait, and the job.
        """
        while True:
            verdict = self.look()
            if verdict is not None:
                return verdict
            if meanwhile is not None and (verdict := meanwhile()) is not None:
                if self.may_stop:
                    self.stop(verdict.reason.removeprefix(stopping.BY_AIRFLOW))
                return verdict
            if self.overdue:
                return self.stop_at_deadline()
            sleep(interval if self.deadline is None else max(0.0, min(interval, self.deadline - time.time())))

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.time() >= self.deadline

    def stop_at_deadline(self) -> Verdict:
        """End the job because the deadline passed; its own end counts when it came first."""
        if not self.may_stop:
            reason = f"Airflow: deadline of {self.owner} passed; the job was left running"
            return self._so_far(stopping.out_of_time(self.job_id, reason, self.manager_id))
        ending = stopping.stop_at_deadline(
            self.job_id,
            self.owner,
            created_at=self.created_at,
            wait_for=self.wait_for,
            children_count=self.children_count,
            manager_id=self.manager_id,
            patience=Patience(_KILL_SECONDS),
        )
        try:
            return self._so_far(self.hook.perform(ending))
        except JobManagerError as error:
            self.log.warning("Out of time, and job %s could not be told to end: %s", self.job_id, error)
            reason = f"Airflow: deadline of {self.owner} passed; the job could not be told to end and may still run"
            return stopping.out_of_time(self.job_id, reason, self.manager_id)

    def _so_far(self, verdict: Verdict) -> Verdict:
        return self.hook.perform(stopping.read_so_far(verdict, created_at=moment(self.created_at)))

    def kill(self) -> None:
        """End the job because the task was killed. Called from a signal handler, in the middle of anything."""
        self.killed = True
        if self.may_stop and self.job_id:
            self.stop("was killed")

    def stop(self, why: str) -> None:
        """End the job, with a reason that names the task and its try. Trouble is logged: a task is ending already."""
        reason = f"Airflow: {self.owner} {why}"
        # Not the client that waits: this may run in a signal handler that interrupted it.
        client = self.hook.account.client()
        try:
            state = client.perform(
                stopping.terminate(
                    self.job_id,
                    reason,
                    owner=self.owner,
                    created_at=self.created_at,
                    may_appear=_MAY_APPEAR_SECONDS if self.submitting else 0.0,
                    patience=Patience(_KILL_SECONDS),
                )
            )
        except JobManagerError as error:
            self.log.warning("Job %s could not be ended and may still run: %s", self.job_id, error)
        else:
            self.log.info("Job %s was told to end (%s) and is %s.", self.job_id, reason, state)
        finally:
            client.close()

    def delete(self) -> None:
        """Delete the job. Trouble is logged: the verdict stands, whatever becomes of the cleaning up."""
        try:
            state = self.hook.perform(stopping.remove(self.job_id, owner=self.owner, created_at=self.created_at))
        except JobManagerError as error:
            self.log.warning("Job %s could not be deleted: %s", self.job_id, error)
            return
        if state == stopping.GONE:
            self.log.info("Job %s was deleted.", self.job_id)
        else:
            self.log.warning("Job %s is still %s and was not deleted.", self.job_id, state)

    def _end_left_behind(self, *, derived: bool) -> None:
        reason = f"Airflow: {self.owner} follows {self.job_id}"
        try:
            ended = self.hook.perform(stopping.end_left_behind(self.owner, self.job_id, reason, derived=derived))
        except JobManagerError as error:
            self.log.warning("Jobs that earlier tries left behind could not be looked for: %s", error)
            return
        for job_id in ended:
            self.log.info("Job %s of an earlier try still ran and was told to end.", job_id)

    def _go_on(self) -> None:
        if self.killed:
            raise JobCancelled(Verdict(self.job_id, "cancelled", reason=f"Airflow: {self.owner} was killed"))

    def _about_to(self, job_id: str) -> None:
        self.job_id, self.created_at = job_id, None

    def _bound(self, body: dict[str, Any]) -> bool:
        """Let the service end the job some minutes after the deadline; whether that is ours to say."""
        return bound(body, self._left, may_stop=self.may_stop, wait_for=self.wait_for)

    def _take_over(self, job: Json, constraints: dict[str, Any] | None) -> None:
        """Put this try's mark on an adopted job, so that a try which was given up can't end it any more.

        Its time limit, when that is ours to say, is the one of the try that made it, counted from its beginning.
        """
        change: dict[str, Any] = {"metadata": self.owner.take_over(job)}
        if constraints is not None:
            created = moment(self.created_at)
            age = 0.0 if created is None else max(0.0, time.time() - created.timestamp())
            change["constraints"] = constraints | {"maxWallClockTime": backstop(age + (self._left or 0.0))}
        try:
            self.hook.perform(patiently(calls.patch("jobs", self.job_id, json=change), Patience(_KILL_SECONDS)))
        except JobManagerError as error:
            self.log.warning("Job %s keeps the mark and the time limit of an earlier try: %s", self.job_id, error)

    @property
    def _left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.time())
