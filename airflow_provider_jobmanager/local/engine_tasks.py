"""Tasks: added, changed, completed, run again, and what a completed one means for those that depend on it.

Rules of the REST reference (Task operations); defaults, ``executionInfo`` and ``failureInfo`` as in recorded traffic.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import bodies, documents, errors, formats
from airflow_provider_jobmanager.local.dependencies import Dependencies
from airflow_provider_jobmanager.local.launches import failure
from airflow_provider_jobmanager.local.machines import TASK, touch
from airflow_provider_jobmanager.local.records import Task

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.launches import Outcome
    from airflow_provider_jobmanager.local.records import Doc, Job

MAX_COLLECTION = 100
LIFETIME_SECONDS = 180 * 24 * 3600.0
"""A task must be over this long after it was added (REST reference, Add Task)."""

ENDED = failure("UserError", "TaskEnded", "Task Was Ended by User Request")
TIMED_OUT = failure("ServerError", "TaskEnded", "Task was ended because its wall clock time ran out")
EXIT_CODE = failure(
    "UserError",
    "FailureExitCode",
    "The task exited with an exit code representing a failure",
    Message="The task process exited with an unexpected exit code",
    AdditionalErrorCode="FailureExitCode",
)


class Tasks:
    """Everything that happens to a task, apart from where and when it runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self.dependencies = Dependencies(engine.store)

    # -- asked for by users -------------------------------------------------------------------------------------------

    def get(self, job: Job, task_id: str) -> Task:
        """A task of a job by its id, in any case.

        Raises:
            BatchError: 404 ``TaskNotFound``.
        """
        task = self.store.tasks(job.key).get(task_id)
        if task is None:
            raise errors.refuse("TaskNotFound")
        return task

    def add(self, job: Job, body: Any) -> Task:
        """A new task of a job that takes tasks."""
        settings = documents.task(bodies.TASK(body), job.doc)
        self.engine.check_storage(settings.get("resourceFiles"))
        for part, code in (
            ("jobPreparationTask", "TaskIdSameAsJobPreparationTask"),
            ("jobReleaseTask", "TaskIdSameAsJobReleaseTask"),
        ):
            if part in job.doc and job.doc[part]["id"].lower() == settings["id"].lower():
                raise errors.refuse(code)
        if self.store.tasks(job.key).get(settings["id"]) is not None:
            raise errors.refuse("TaskExists")
        return self._make(job, settings)

    def add_collection(self, job: Job, body: Any) -> list[tuple[str, Task | errors.BatchError]]:
        """Add up to 100 tasks; each succeeds or fails for itself.

        Returns:
            task id and the task, or the error that this one met.
        """
        rows = bodies.COLLECTION(body)["value"]
        if not 1 <= len(rows) <= MAX_COLLECTION:
            raise errors.invalid_property("value", str(len(rows)), f"1 to {MAX_COLLECTION} tasks can be added at once")
        results: list[tuple[str, Task | errors.BatchError]] = []
        for row in rows:
            name = str(row.get("id", "")) if isinstance(row, dict) else ""
            try:
                results.append((name, self.add(job, row)))
            except errors.BatchError as error:
                results.append((name, error))
        return results

    def make_manager(self, job: Job) -> Task:
        """The job manager's task, made together with its job."""
        return self._make(job, documents.manager_as_task(job.doc["jobManagerTask"]), is_manager=True)

    def update(self, task: Task, body: Any) -> None:
        """Replace the constraints; what is not given goes back to its default."""
        if task.state == "completed":
            raise errors.refuse("TaskCompleted")
        job = self.store.jobs.get(task.job)
        retries = job.doc["constraints"]["maxTaskRetryCount"] if job else 0
        given = bodies.TASK_UPDATE(body).get("constraints")
        task.doc["constraints"] = documents.task_constraints(given, retries)
        touch(task.doc, self.engine.now())
        self.engine.scheduling.watch(task)
        self.store.save(task)

    def terminate(self, task: Task) -> None:
        """End a task, running or not; no retry follows."""
        if task.state == "completed":
            raise errors.refuse("TaskCompleted")
        now = self.engine.now()
        if task.state == "active":
            self.engine.scheduling.dequeue(task)
            TASK.move(task.doc, "completed", "terminate", now)
            self._conclude_unstarted(task)
            return
        touch(task.doc, now)
        self.engine.scheduling.end(task, "user")
        self.store.save(task)

    def reactivate(self, job: Job, task: Task) -> None:
        """Run a failed task again, with all its retries."""
        if job.state in ("completed", "terminating", "deleting"):
            names = {"completed": "JobCompleted", "terminating": "JobBeingTerminated", "deleting": "JobBeingDeleted"}
            raise errors.refuse(names[job.state])
        if task.state != "completed":
            raise errors.refuse("TaskNotCompleted")
        if task.execution.get("exitCode") == 0 and "failureInfo" not in task.execution:
            raise errors.refuse("TaskSucceeded")
        TASK.move(task.doc, "active", "reactivate", self.engine.now())
        task.doc["executionInfo"] = {"retryCount": 0, "requeueCount": 0}
        task.doc.pop("nodeInfo", None)
        task.dependency = None
        task.cleaned = False
        self.dependencies.reset(task)
        self.store.save(task)
        self._watch_lifetime(task)
        self.engine.scheduling.enqueue(job, task)

    def delete(self, task: Task) -> None:
        """Delete a task with its directory; a running one is ended."""
        self.engine.scheduling.drop(task)
        self.dependencies.forget(task)
        self.dependencies.reset(task)
        self.remove_files(task)
        self.store.remove(task)
        job = self.store.jobs.get(task.job)
        if job is not None:
            self.engine.jobs.watch_all_complete(job)
            self.engine.jobs.progress(job)

    def counts(self, job: Job) -> Doc:
        """Tasks and slots by state; preparing counts as running."""
        tally = {"active": 0, "running": 0, "completed": 0, "succeeded": 0, "failed": 0}
        slots = dict(tally)
        for task in self.store.tasks(job.key):
            state = "running" if task.state == "preparing" else task.state
            names = [state]
            if state == "completed":
                names.append("succeeded" if task.execution["result"].lower() == "success" else "failed")
            for name in names:
                tally[name] += 1
                slots[name] += task.slots
        return {"taskCounts": tally, "taskSlotCounts": slots}

    # -- brought about by the service ---------------------------------------------------------------------------------

    def complete(self, task: Task, outcome: Outcome, ended: Doc | None) -> None:
        """A task whose run is over for good.

        Args:
            task: the task, still preparing or running.
            outcome: how its last run ended.
            ended: ``failureInfo`` when the service or a user ended it.
        """
        now = self.engine.now()
        failed = ended or outcome.failure
        if failed is None and outcome.exit_code != 0:
            failed = EXIT_CODE
        before = task.execution
        if ended is not None and "startTime" not in before:
            # Ended while it waited for the preparation of its job: it reads as one that never had a node.
            TASK.move(task.doc, "completed", "ended", now)
            self._conclude_unstarted(task)
            return
        info: Doc = {"startTime": before["startTime"]} if "startTime" in before else {}
        info["endTime"] = formats.timestamp(now, 6)
        outcome.write(info, failed)
        TASK.move(task.doc, "completed", "exit" if ended is None else "ended", now)
        if failed is None and task.pool is not None and task.node is not None:
            self.engine.nodes.task_succeeded(task.pool, task.node)
        self._conclude(task, info, outcome)

    def send_back(self, task: Task, cause: str) -> None:
        """Put a task whose run is over back into the queue.

        Args:
            task: the task, preparing or running.
            cause: ``retry`` after a non-zero exit; ``user requeue`` for what a user asked; ``requeue`` for a lost
                node and ``preparation failed``, counted nowhere.
        """
        now = self.engine.now()
        TASK.move(task.doc, "active", "requeue" if cause == "user requeue" else cause, now)
        before = task.execution
        info: Doc = {"retryCount": before["retryCount"]}
        for name, grows in (("retry", cause == "retry"), ("requeue", cause == "user requeue")):
            count, last = f"{name}Count", f"last{name.capitalize()}Time"
            info[count] = before[count] + (1 if grows else 0)
            if grows:
                info[last] = formats.timestamp(now, 6)
            elif last in before:
                info[last] = before[last]
        task.doc["executionInfo"] = info
        task.doc.pop("nodeInfo", None)
        task.restarted = True
        self.store.save(task)
        job = self.store.jobs.get(task.job)
        if job is not None:
            self.engine.scheduling.enqueue(job, task)

    def remove_files(self, task: Task) -> None:
        """Remove its directories from all nodes that it ran on."""
        job = self.store.jobs.get(task.job)
        for directory in self.engine.launches.directories(job, task.id) if job is not None else ():
            shutil.rmtree(directory, ignore_errors=True)

    def recover(self) -> None:
        """Take tasks up again after a restart: those that ran run again, as after a reboot of their nodes."""
        for job in self.store.jobs:
            for task in self.store.tasks(job.key):
                self.dependencies.learn(task)
        for job in self.store.jobs:
            for task in sorted(self.store.tasks(job.key), key=lambda each: each.seq):
                self._take_up(job, task)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _take_up(self, job: Job, task: Task) -> None:
        if task.state == "completed":
            self._watch_retention(task)
            return
        self._watch_lifetime(task)
        if task.state == "active":
            self.engine.scheduling.enqueue(job, task)
            return
        if task.process is not None:
            directory = self.engine.launches.task_directory(task)
            if directory is not None:
                self.engine.runner.end_left_over(task.process, directory)
        self.engine.scheduling.lost(task)

    def _make(self, job: Job, settings: Doc, *, is_manager: bool = False) -> Task:
        now = self.engine.now()
        doc: Doc = dict(settings)
        doc["creationTime"] = formats.timestamp(now)
        touch(doc, now)
        TASK.begin(doc, "active", now)
        doc["executionInfo"] = {"retryCount": 0, "requeueCount": 0}
        task = Task(doc["id"].lower(), doc, self.store.next_seq(), job.key, is_manager=is_manager)
        self.store.save(task)
        self.engine.scheduling.enqueue(job, task)
        self._watch_lifetime(task)
        return task

    def _watch_lifetime(self, task: Task) -> None:
        added = formats.parse_timestamp(task.doc["creationTime"])
        self.engine.after(LIFETIME_SECONDS, added, self._too_old, task)

    def _too_old(self, task: Task) -> None:
        if self._exists(task) and task.state != "completed":
            self.terminate(task)

    def _conclude_unstarted(self, task: Task) -> None:
        """Recorded traffic has this of a task that was terminated before it ran, ``Failure`` with a capital too."""
        info: Doc = {"endTime": task.doc["stateTransitionTime"], "failureInfo": ENDED, "result": "Failure"}
        task.doc["nodeInfo"] = {}
        self._conclude(task, info, None)

    def _conclude(self, task: Task, info: Doc, outcome: Outcome | None) -> None:
        before = task.execution
        for name in ("retryCount", "lastRetryTime", "requeueCount", "lastRequeueTime"):
            if name in before:
                info[name] = before[name]
        task.doc["executionInfo"] = info
        task.ending = None
        task.process = None
        job = self.store.jobs.get(task.job)
        options = _exit_options(task, outcome)
        failed = "failureInfo" in info
        action = "none"
        if failed and job is not None and job.doc["onTaskFailure"] == "performexitoptionsjobaction":
            action = options.get("jobAction", "terminate")
        task.dependency = options.get("dependencyAction", "block" if failed else "satisfy") == "satisfy"
        self.store.save(task)
        self._watch_retention(task)
        if job is None:
            return
        for freed in self.dependencies.settle(task):
            self.engine.scheduling.enqueue(job, freed)
        self.engine.jobs.task_completed(job, task, action)

    def _watch_retention(self, task: Task) -> None:
        ended = formats.parse_timestamp(task.execution["endTime"])
        kept = formats.seconds_of(task.doc["constraints"]["retentionTime"])
        if not task.cleaned:
            self.engine.after(kept, ended, self._retention_over, task, task.execution["endTime"])

    def _retention_over(self, task: Task, ended: str) -> None:
        if self._exists(task) and task.execution.get("endTime") == ended:
            self.remove_files(task)
            task.cleaned = True
            self.store.save(task)

    def _exists(self, task: Task) -> bool:
        return self.store.tasks(task.job).get(task.key) is task


def _exit_options(task: Task, outcome: Outcome | None) -> Doc:
    """The exit options that a completion matches; empty when none does.

    A match of the exit code goes before an upload error, and ``default`` never covers exit code 0.
    """
    conditions: Doc = task.doc.get("exitConditions", {})
    code = outcome.exit_code if outcome else None
    if code is not None:
        for entry in conditions.get("exitCodes", ()):
            if entry["code"] == code:
                return dict(entry["exitOptions"])
        for entry in conditions.get("exitCodeRanges", ()):
            if entry["start"] <= code <= entry["end"]:
                return dict(entry["exitOptions"])
    if outcome is not None and outcome.failure is not None:
        name = "preProcessingError" if outcome.phase == "before" else "fileUploadError"
        if name in conditions:
            return dict(conditions[name])
    if code == 0 and (outcome is None or outcome.failure is None):
        return {}
    return dict(conditions.get("default", {}))
