"""The rules of the service, put together: one lock, one clock, one list of what is due.

Every request, every exit of a process and every moment that something becomes due is one *turn*: the rules change
records, what is ready is placed on nodes, the changes go to disk, and only then is anybody told or any process
started. Nothing here knows HTTP.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import shutil
import threading
import weakref
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import errors
from airflow_provider_jobmanager.local.clock import Clock
from airflow_provider_jobmanager.local.engine_jobs import Jobs
from airflow_provider_jobmanager.local.engine_launches import Launches
from airflow_provider_jobmanager.local.engine_nodes import Nodes
from airflow_provider_jobmanager.local.engine_pools import Pools
from airflow_provider_jobmanager.local.engine_scaling import Scaling
from airflow_provider_jobmanager.local.engine_schedules import Schedules
from airflow_provider_jobmanager.local.engine_scheduling import Scheduling
from airflow_provider_jobmanager.local.engine_tasks import Tasks
from airflow_provider_jobmanager.local.launches import Outcome, failure
from airflow_provider_jobmanager.local.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from airflow_provider_jobmanager.local.launches import Launch, Run, Runner
    from airflow_provider_jobmanager.local.records import Job
    from airflow_provider_jobmanager.local.settings import Settings
    from airflow_provider_jobmanager.local.store import Store

log = logging.getLogger(__name__)

FAR = timedelta(days=365 * 100)


class Engine:
    """The service without its HTTP side.

    Args:
        settings: the choices of the user.
        store: the memory.
        runner: what runs commands.
        root: directory that the directories of nodes lie in.
        clock: the time; the machine's own by default.

    Attributes:
        account_url: where the service listens, for the environment of tasks.
        certificate: in HTTPS mode, the file that tasks are given to trust; None without TLS.
        token: gives the bearer token of a job, for the environment of its tasks.
    """

    def __init__(
        self, settings: Settings, store: Store, runner: Runner, root: Path, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self.runner = runner
        self.root = root
        self.clock = clock or Clock()
        self.account_url = ""
        self.certificate: Path | None = None
        self.token: Callable[[Job], str] = lambda _job: ""
        self.changed = threading.Condition(threading.RLock())
        self._due: list[tuple[datetime, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._launches: list[Launch] = []
        self._stillborn: list[Run] = []
        self._depth = 0
        self._make_rules()
        self.clock.follow(self._catch_up, self.wake)

    def _make_rules(self) -> None:
        self.pools = Pools(self)
        self.nodes = Nodes(self)
        self.launches = Launches(self)
        self.scaling = Scaling(self)
        self.scheduling = Scheduling(self)
        self.tasks = Tasks(self)
        self.jobs = Jobs(self)
        self.schedules = Schedules(self)

    def open(self) -> None:
        """Take up the state that the store holds, and make what a new account has."""
        self.runner.end_strays(self.root)
        self._take_up()

    def _take_up(self) -> None:
        with self.turn():
            self.pools.recover()
            self.scheduling.preparation.recover()
            self.tasks.recover()
            self.jobs.recover()
            self.schedules.recover()
            self.pools.make_default()

    def reset(self) -> None:
        """Back to an account with nothing but the default pool."""
        with self.changed:
            self.runner.end_all()
            self.runner.end_strays(self.root)
            self.store.clear()
            self._due.clear()
            self._make_rules()
            self.clock.reset()
            shutil.rmtree(self.root, ignore_errors=True)
            self._take_up()

    def check_storage(self, body: Any) -> None:
        """No file of the account's own storage, unless there is one.

        Raises:
            BatchError: 400 ``InvalidPropertyValue``.
        """
        if self.settings.auto_storage is not None:
            return
        if isinstance(body, dict):
            if "autoStorageContainerName" in body:
                raise errors.invalid_property(
                    "autoStorageContainerName",
                    str(body["autoStorageContainerName"]),
                    "No auto-storage account is configured for the local Batch service; start it with one "
                    "(auto_storage), or use storageContainerUrl",
                )
            body = list(body.values())
        for part in body if isinstance(body, list) else ():
            self.check_storage(part)

    def now(self) -> datetime:
        """The time."""
        return self.clock.now()

    # -- turns

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the rules act undisturbed; on disk, and under way, when it ends."""
        with self.changed:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._run_due(self.now())
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._settle()

    def at(self, moment: datetime, action: Callable[..., None], *args: Any) -> None:
        """Let ``action`` happen when a moment has come. It must see for itself whether it still has a point."""
        # Some moments are months away: they must not keep records alive that are deleted long before.
        held = tuple(weakref.ref(arg) if isinstance(arg, Record) else arg for arg in args)
        heapq.heappush(self._due, (moment, next(self._order), action, held))

    def after(self, seconds: float | None, start: datetime, action: Callable[..., None], *args: Any) -> None:
        """Let ``action`` happen some time after ``start``; never for None or a time beyond all clocks."""
        if seconds is not None and seconds < FAR.total_seconds():
            self.at(start + timedelta(seconds=seconds), action, *args)

    def launch(self, launch: Launch) -> None:
        """Start a command at the end of the turn, when it is on disk that it runs."""
        self._launches.append(launch)

    def kill(self, run: Run) -> None:
        """End a run. Of one that was to start at the end of this turn nothing starts; it is over then, too."""
        kept = [launch for launch in self._launches if launch.run != run]
        if len(kept) < len(self._launches):
            self._launches = kept
            self._stillborn.append(run)
        else:
            self.runner.kill(run)

    def next_due(self) -> datetime | None:
        """When something happens next."""
        return self._due[0][0] if self._due else None

    def wake(self) -> None:
        """Let whoever waits for the next moment look again when it is."""
        with self.changed:
            self.changed.notify_all()

    # -- words of the runner

    def started(self, run: Run, process: list[Any]) -> None:
        """Remember which process a run is."""
        with self.turn():
            self.scheduling.started(run, process)

    def exited(self, run: Run, outcome: Outcome) -> None:
        """Decide what the end of a run means."""
        with self.turn():
            self.scheduling.exited(run, outcome)

    # -- inside

    def _settle(self) -> None:
        try:
            self.scheduling.place()
            while self._stillborn:
                self.scheduling.exited(self._stillborn.pop(0), Outcome())
                self.scheduling.place()
        finally:
            self.store.commit()
            launches, self._launches = self._launches, []
            for launch in launches:
                self._begin(launch)
            self.changed.notify_all()

    def _begin(self, launch: Launch) -> None:
        try:
            self.runner.begin(launch, self)
        except Exception as error:
            # What else begins has nothing to do with it. It ends in a turn to come: the changes of this one are stored.
            log.exception("A run of %s in job %s could not begin", launch.run.name, launch.run.owner)
            reason = failure("ServerError", "Unknown", "The node could not run the task", Message=repr(error))
            self.at(self.now(), self.exited, launch.run, Outcome(None, reason, "before"))

    def _run_due(self, until: datetime) -> None:
        while self._due and self._due[0][0] <= until:
            _, _, action, held = heapq.heappop(self._due)
            args = [arg() if isinstance(arg, weakref.ref) else arg for arg in held]
            if None in args:
                continue
            try:
                action(*args)
            except Exception:
                # Whoever asks for something meanwhile has nothing to do with it, nor has what else is due.
                log.exception("%s, which was due, broke in the local Batch service", action.__qualname__)

    def _catch_up(self, target: datetime) -> None:
        """Live through the time up to ``target``, stopping at every moment that something is due."""
        with self.changed:
            while self._due and self._due[0][0] <= target:
                self.clock.move_to(self._due[0][0])
                with self.turn():
                    self._run_due(self.now())
