"""What the reader of a task log is told while a job runs: why its manager has not started, and what it prints.

:class:`Telling` is what has been told so far, and :meth:`Telling.step` is one look: a conversation that returns the
new lines. It has no clock and no client of its own; worker and triggerer pace it, and its state can travel between them
as JSON, so that the one goes on where the other stopped.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.diagnosis import diagnose, started_again
from airflow_provider_jobmanager.batch.files import STDERR, STDOUT, Listed, listed, piece, unreadable
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.batch.printable import Lines, Mask, mask_of, masked
from airflow_provider_jobmanager.batch.report import PAYLOAD_MEMBERS
from airflow_provider_jobmanager.batch.situation import manager_of, situation
from airflow_provider_jobmanager.batch.verdict import manager_id_of
from airflow_provider_jobmanager.errors import ServiceError, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_jobmanager.batch.calls import Flow, Json

LOOK_LIMIT: Final = 128 * 1024
"""Bytes of one file that one look reads; when more has come, only the last of it is told."""

ATTEMPT_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one attempt of the manager that are told, both files together."""

LINES_LIMIT: Final = 1000
"""Lines of one file that one look tells; when more have come, only the last of them are told."""

_WAITING: Final = frozenset({"active", "preparing"})


@frozen
class Line:
    """A line for the task log.

    Attributes:
        text: printable, without secrets.
        level: as in :mod:`logging`.
    """

    text: str
    level: int = logging.INFO


@define
class Telling:
    """What was told of one job, and what is to be told next.

    Attributes:
        job_id: the job.
        manager_id: its job manager task; learned from the job when empty.
        output: whether the manager's stdout and stderr are told.
        started: whether the manager was seen to have started.
        recoveries: how often the manager was seen to start anew without a retry or a requeue: its node was lost or
            preempted.
        diagnosis: why the manager has not started, as told last; empty once it has.
        offsets: bytes of each file that were read.
        told: bytes of this attempt that were read.
        torn: files of which a piece was left out that ends in the middle of a line: the rest of that line is left out
            too, because half a secret would not be recognised.
        attempt: tells one start of the manager from the next.
        counts: retries and requeues when this attempt started.
        told_all: whether the last look brought the output up to its end.
    """

    job_id: str
    manager_id: str
    output: bool = False
    started: bool = False
    recoveries: int = 0
    diagnosis: str = ""
    offsets: dict[str, int] = field(factory=dict)
    told: int = 0
    attempt: str = ""
    counts: int = 0
    torn: tuple[str, ...] = ()
    told_all: bool = field(default=False, init=False)
    _listed: dict[str, Listed] = field(factory=dict, init=False)
    _running: bool = field(default=False, init=False)
    _key: str = ""
    _problem: str = ""
    _mask: Mask | None = field(default=None, init=False)
    _lines: dict[str, Lines] = field(factory=dict, init=False)
    _before: dict[str, Any] | None = field(default=None, init=False)

    _KEPT = ("started", "recoveries", "diagnosis", "offsets", "told", "attempt", "counts", "torn")

    def as_dict(self) -> dict[str, Any]:
        """What another process needs to go on: plain JSON data.

        A line that has not ended is read again by who goes on. A look that was cut off counts for nothing: what it
        found was not told.
        """
        if self._before is not None:
            return self._before
        begun = {name: lines.begun for name, lines in self._lines.items()}
        return {name: getattr(self, name) for name in self._KEPT} | {
            "offsets": {name: offset - begun.get(name, 0) for name, offset in self.offsets.items()},
            "told": self.told - sum(begun.values()),
            "torn": [name for name, lines in self._lines.items() if lines.torn],
        }

    def resume(self, state: Mapping[str, Any] | None) -> Telling:
        """Go on where another process stopped (:meth:`as_dict`); returns itself."""
        for name in self._KEPT:
            if name in (state or {}):
                setattr(self, name, (state or {})[name])
        self.torn = tuple(self.torn)
        return self

    def step(self, *, last: bool = False) -> Flow[list[Line]]:
        """Look once, and return what is new. Raises no ServiceError: what can't be read is said once.

        Args:
            last: the manager has ended and nothing more will come.
        """
        # Somebody else waits out a service in trouble; the next look comes soon enough.
        patience = Patience(seconds=10 if last else 0)
        self._before = self.as_dict()
        said: list[Line] = []
        trouble: list[Line] = []
        try:
            yield from self._look(said, patience, last=last)
        except ServiceError as error:
            # What was read before it is told none the less: it will not be read again.
            trouble = self._trouble(error, last=last)
        if last:
            said += self._rest()
        self._before = None
        return said + trouble

    def _look(self, said: list[Line], patience: Patience, *, last: bool) -> Flow[None]:
        """Look, and add to ``said`` what is new as soon as it is known."""
        if not self.manager_id:
            self.manager_id = yield from self._learn_manager(patience)
        if not self.manager_id:
            return
        if self._running and self.output and not last and (yield from self._nothing_new(patience)):
            return
        manager = yield from manager_of(self.job_id, self.manager_id, patience=patience)
        if manager is None:
            return
        said += self._note_attempt(manager)
        self._running = str(manager.get("state")).lower() not in _WAITING
        if not self._running:
            if not last:
                said += yield from self._why_not(manager, patience)
            return
        if not self.started and not last:
            self.started = True
            node = (manager.get("nodeInfo") or {}).get("nodeId")
            said.append(Line(f"The job manager {self.manager_id!r} runs" + (f" on node {node}." if node else ".")))
        self.diagnosis = self._key = ""
        if self.output and self.attempt:
            yield from self._new_output(said, patience, last=last)

    def _nothing_new(self, patience: Patience) -> Flow[bool]:
        """Whether the files are as they were: one request, which most looks need not exceed."""
        try:
            found = yield from listed(self.job_id, self.manager_id, patience=patience)
        except ServiceRefused:
            # Put back, on another node, gone: the manager's record tells.
            return False
        return found == self._listed

    def _learn_manager(self, patience: Patience) -> Flow[str]:
        try:
            answer = yield from patiently(calls.get("jobs", self.job_id, select=("id", "jobManagerTask")), patience)
        except ServiceRefused as refusal:
            if refusal.code == "JobNotFound":
                return ""
            raise
        return manager_id_of(answer.data)

    def _why_not(self, manager: Json, patience: Patience) -> Flow[list[Line]]:
        seen = yield from situation(self.job_id, manager, patience=patience)
        if seen is None:
            return []
        diagnosis = diagnose(seen)
        self.diagnosis = str(diagnosis)
        said_before, self._key = self._key, diagnosis.key
        if diagnosis.key == said_before or (diagnosis.cause == "Ready" and not said_before):
            # A free node needs no word, unless something else was said to be missing.
            return []
        return [Line(f"The job manager has not started: {diagnosis}")]

    def _note_attempt(self, manager: Json) -> list[Line]:
        execution = manager.get("executionInfo") or {}
        counts = int(execution.get("retryCount") or 0) + int(execution.get("requeueCount") or 0)
        start = execution.get("startTime")
        attempt = f"{start} {(manager.get('nodeInfo') or {}).get('nodeId', '')}" if start else ""
        if not attempt or attempt == self.attempt:
            return []
        before, self.counts = self.counts, counts
        earlier, self.attempt = self.attempt, attempt
        if not earlier:
            return []
        lines = self._rest()
        why = started_again(manager) if counts != before else ""
        if not why:
            self.recoveries += 1
            why = "its node was lost or preempted, which Batch counts as no retry"
        self.offsets, self.told, self.torn, self._problem = {}, 0, (), ""
        return [*lines, Line(f"The job manager was started again: {why}.", logging.WARNING)]

    def _new_output(self, said: list[Line], patience: Patience, *, last: bool) -> Flow[None]:
        if self.told >= ATTEMPT_LIMIT:
            return
        if self._mask is None:
            self._mask = yield from mask_for(self.job_id, patience=patience)
        found = yield from listed(self.job_id, self.manager_id, patience=patience)
        for name in (STDOUT, STDERR):
            yield from self._of_file(said, name, found.get(name, Listed()).size, patience)
        self._listed = found
        self._problem = ""
        if self.told >= ATTEMPT_LIMIT:
            said.append(Line(f"The job manager prints a lot: after {ATTEMPT_LIMIT:,} bytes no more of it is told."))
        else:
            self.told_all = last

    def _of_file(self, said: list[Line], name: str, size: int, patience: Patience) -> Flow[None]:
        first = self.offsets.get(name, 0)
        lines = self._lines.get(name)
        if lines is None:
            lines = self._lines[name] = Lines(self._mask or masked, torn=name in self.torn)
        if size < first:
            # Written anew without a new start that we saw.
            said += self._labelled(name, lines.end())
            first = self.offsets[name] = 0
        if size == first:
            return
        if size - first > LOOK_LIMIT:
            skipped, first = size - LOOK_LIMIT - first, size - LOOK_LIMIT
            skipped += lines.tear()
            self.offsets[name] = first
            said += self._labelled(name, [f"… {skipped:,} bytes left out …"])
        data = yield from piece(self.job_id, self.manager_id, name, first=first, count=size - first, patience=patience)
        self.offsets[name] = first + len(data)
        self.told += len(data)
        said += self._labelled(name, lines.feed(data, most=LINES_LIMIT))

    def _rest(self) -> list[Line]:
        found = [each for name, lines in self._lines.items() for each in self._labelled(name, lines.end())]
        self._lines.clear()
        return found

    def _trouble(self, error: ServiceError, *, last: bool) -> list[Line]:
        """Say once that the output can't be read; it changes nothing."""
        # No answer at all is what the poll of the job meets as well, and tells.
        passing = isinstance(error, ServiceUnavailable) and not last
        problem = unreadable(error)
        if passing or not self.output or not (self.started or last) or problem == self._problem:
            return []
        self._problem = problem
        return [Line(f"The job manager's output can't be read: {problem}.", logging.WARNING)]

    @staticmethod
    def _labelled(name: str, texts: list[str]) -> list[Line]:
        return [Line(f"[{_label(name)}] {text}") for text in texts]


def mask_for(job_id: str, *, patience: Patience | None = None) -> Flow[Mask]:
    """Takes the secrets of a job's payload out of texts, besides those that can be told by their form.

    Raises:
        ServiceError: the job can't be read, so its secrets are not known.
    """
    answer = yield from patiently(calls.get("jobs", job_id, select=PAYLOAD_MEMBERS), patience or Patience())
    return mask_of(answer.data)


def _label(name: str) -> str:
    return name.partition(".")[0]
