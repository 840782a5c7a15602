"""What a person needs to read when a job did not end well: verdict, times, last lines, failed children, a hint.

:func:`gather` is the conversation that collects it; it raises nothing of the service's, because a report must never
stand in the way of the verdict that it reports. :class:`Report` renders it, everything bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen

from airflow_provider_jobmanager.batch import calls, flows
from airflow_provider_jobmanager.batch.diagnosis import span
from airflow_provider_jobmanager.batch.files import NO_FILE, Tail, tails, unreadable
from airflow_provider_jobmanager.batch.hints import hint_for
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.printable import Mask, line, mask_of, masked, named_values, one_line
from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_jobmanager.batch.calls import Flow, Json
    from airflow_provider_jobmanager.batch.verdict import Verdict

PAYLOAD_MEMBERS: Final = ("id", "jobManagerTask", "commonEnvironmentSettings", "metadata")
"""Job members that tell the command line, and that may hold secrets which a task may print, or say which they are."""

MESSAGE_LIMIT: Final = 4000
"""Characters of :meth:`Report.message`."""

_MESSAGE_LINES: Final = 10
_MESSAGE_LINE: Final = 200
_CHILDREN_SHOWN: Final = 5
_CHILDREN_READ: Final = 1000


@frozen
class FailedChild:
    """A task other than the manager that failed.

    Attributes:
        task_id: the task.
        exit_code: of its process, None when it never ended by itself.
        code: of its failure.
        message: of its failure.
    """

    task_id: str
    exit_code: int | None
    code: str
    message: str

    def __str__(self) -> str:
        exited = f"exit code {self.exit_code}" if self.exit_code is not None else ""
        code = "" if exited and self.code == "FailureExitCode" else self.code
        said = ", ".join(filter(None, (exited, code)))
        return f"{self.task_id} ({said})" if said else self.task_id


@frozen
class Report:
    """A failed job, told to a person.

    Attributes:
        verdict: how it ended.
        tails: the last lines of the task that failed.
        failed_children: the first of the children that failed.
        failed_children_count: how many there are, None when nobody could count; at the limit of 1,000 there may be
            more.
        hint: what may help.
        notes: what could not be read, and why.
    """

    verdict: Verdict
    tails: tuple[Tail, ...] = ()
    failed_children: tuple[FailedChild, ...] = ()
    failed_children_count: int | None = None
    hint: str = ""
    notes: tuple[str, ...] = ()

    def facts(self) -> list[str]:
        """The lines before the output's: what, when, why, and what may help."""
        verdict = self.verdict
        lines = [line(one_line(verdict.summary()), longest=600)]
        lines += [line(one_line(f"{name}: {value}"), longest=400) for name, value in _details(verdict)]
        if times := _times(verdict):
            lines.append(f"Times: {times}.")
        if self.failed_children:
            lines.append(self._children())
        lines += self.notes
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return lines

    def output(self) -> list[str]:
        """The last lines of the failed task, or why there are none."""
        task = self.verdict.failed_task or self.verdict.manager_id
        problems = {tail.problem for tail in self.tails}
        if len(self.tails) > 1 and len(problems) == 1 and (problem := problems.pop()):
            return [f"The output of task {task!r} can't be shown: {problem}."]
        lines = []
        for tail in self.tails:
            if tail.problem:
                lines.append(f"{tail.name} of task {task!r} can't be shown: {tail.problem}.")
            elif tail.lines:
                size = "" if tail.size is None else f" ({tail.size:,} bytes)"
                lines.append(f"Last lines of {tail.name} of task {task!r}{size}:")
                lines += [f"  | {each}" for each in tail.lines]
            else:
                lines.append(f"{tail.name} of task {task!r} is empty.")
        return lines

    def message(self) -> str:
        """The facts and the very last lines, for an exception: at most :data:`MESSAGE_LIMIT` characters."""
        lines = self.facts()
        shown = next((tail for tail in self.tails if tail.lines), None)
        if shown is not None:
            lines.append(f"Last lines of {shown.name}:")
            lines += [f"  | {line(each, longest=_MESSAGE_LINE)}" for each in shown.lines[-_MESSAGE_LINES:]]
        elif self.tails and any(tail.problem for tail in self.tails):
            lines += self.output()
        text = "\n".join(lines)
        return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        return asdict(self) | {"verdict": self.verdict.as_dict()}

    def _children(self) -> str:
        count = self.failed_children_count or len(self.failed_children)
        open_end = count >= _CHILDREN_READ
        if (counted := self.verdict.failed_children or 0) >= count:
            count, open_end = counted, self.verdict.more_failed_children
        shown = ", ".join(map(str, self.failed_children[:_CHILDREN_SHOWN]))
        more = f" and {count - _CHILDREN_SHOWN:,} more" if count > _CHILDREN_SHOWN else ""
        least = "at least " if open_end else ""
        return line(f"Failed children: {least}{count:,}: {shown}{more}.", longest=800)


def gather(
    verdict: Verdict,
    *,
    lines: int = 50,
    patience: Patience | None = None,
) -> Flow[Report]:
    """Collect what there is to say about a job that did not end well. Raises no ServiceError.

    Args:
        verdict: how it ended.
        lines: lines of each output file at most.
        patience: how long to put up with a service that gives no usable answer, in all.
    """
    patience = patience or Patience(seconds=30, longest=5)
    if verdict.status == "lost" or not verdict.job_id:
        return Report(verdict, hint=hint_for(verdict))
    notes: list[str] = []
    found: list[Tail] = []
    task = verdict.failed_task or verdict.manager_id
    mask: Mask = masked
    payload: Json = {}
    try:
        payload = yield from _payload(verdict, patience)
        mask = mask_of(payload)
    except ServiceError as error:
        # Without the payload its secrets are not known, so nothing that it printed may be shown.
        notes.append(f"The job could not be read, so its output is not shown: {unreadable(error)}.")
    else:
        # A task that never got to a node has no files.
        if task and (verdict.started_at or verdict.failed_task):
            found = yield from tails(verdict.job_id, task, lines=lines, mask=mask, patience=patience)
    if verdict.exit_code is None and all(tail.problem == NO_FILE for tail in found):
        found = []  # it never ran, so there is nothing to miss
    children: list[Json] | None = None
    try:
        children = yield from flows.failed_children(
            verdict.job_id, verdict.manager_id, limit=_CHILDREN_READ, patience=patience
        )
    except ServiceError as error:
        notes.append(f"Failed children could not be listed: {unreadable(error)}.")
    shown = tuple(_child(each, mask) for each in (children or ())[:_CHILDREN_SHOWN])
    failed = payload.get("failedTask") or payload.get("jobManagerTask") or {}
    output = [each for tail in found for each in tail.lines]
    command_line = str(failed.get("commandLine") or "")
    hint = hint_for(verdict, output, command_line, sources=_sources(failed), destinations=_destinations(failed))
    return Report(verdict, tuple(found), shown, None if children is None else len(children), hint, tuple(notes))


def _payload(verdict: Verdict, patience: Patience) -> Flow[Json]:
    """What may hold secrets that the failed task may have printed, and the command line."""
    job = yield from patiently(calls.get("jobs", verdict.job_id, select=PAYLOAD_MEMBERS), patience)
    if not verdict.failed_task:
        return dict(job.data)
    select = ("id", "commandLine", "environmentSettings", "resourceFiles", "outputFiles")
    task = yield from patiently(
        calls.get("jobs", verdict.job_id, "tasks", verdict.failed_task, select=select), patience
    )
    return dict(job.data) | {"failedTask": task.data}


def _sources(task: Mapping[str, Any]) -> list[str]:
    """Where a task's files come from."""
    urls = [file.get("httpUrl") or file.get("storageContainerUrl") for file in task.get("resourceFiles") or ()]
    return [str(url) for url in urls if url]


def _destinations(task: Mapping[str, Any]) -> list[str]:
    """Where they go to."""
    containers = [(file.get("destination") or {}).get("container") or {} for file in task.get("outputFiles") or ()]
    return [str(url) for each in containers if (url := each.get("containerUrl"))]


def _child(task: Mapping[str, Any], mask: Mask) -> FailedChild:
    execution = task.get("executionInfo") or {}
    failure = execution.get("failureInfo") or {}
    return FailedChild(
        str(task.get("id")),
        execution.get("exitCode"),
        str(failure.get("code") or ""),
        line(one_line(str(failure.get("message") or "")), mask=mask, longest=200),
    )


def _details(verdict: Verdict) -> list[tuple[str, str]]:
    """What the failure says beyond code and message, without repeating itself."""
    failure = verdict.failure or {}
    said = f"{failure.get('code')} {failure.get('message')}"
    found = [(name, value) for name, value in named_values(failure.get("details")) if value not in said][:5]
    if category := failure.get("category"):
        found.append(("Category", str(category)))
    return found


def _times(verdict: Verdict) -> str:
    created, started, ended = map(moment, (verdict.created_at, verdict.started_at, verdict.ended_at))
    # After a retry, a requeue or a recovery the service keeps the last start only.
    again = bool(verdict.retries or verdict.requeues or verdict.recoveries)
    parts = []
    if created and started:
        waited = span(started - created)
        parts.append(f"last started {waited} after its creation" if again else f"waited {waited} for a node")
    if started and ended:
        parts.append(f"ran {span(ended - started)}" + (" (the last time)" if again else ""))
    if created and ended and not started:
        lasted = span(ended - created)
        # Of a job without a manager nobody asked when its tasks started.
        never = verdict.manager_id and not verdict.failed_task
        parts.append(f"waited {lasted} and never started" if never else f"ended {lasted} after its creation")
    return ", ".join(parts)
