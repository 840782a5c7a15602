"""Runs a conversation against answers written down in a test."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_jobmanager.batch.calls import Answer, Call, Pause
from airflow_provider_jobmanager.errors import ServiceError


class Script:
    """Answers each call from a mapping of ``"VERB path"`` to data, a ServiceError, or a function of the call."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.calls: list[Call] = []
        self.paused = 0.0

    def perform(self, flow: Any) -> Any:
        step = flow.__next__
        while True:
            try:
                wanted = step()
            except StopIteration as end:
                return end.value
            if isinstance(wanted, Pause):
                self.paused += wanted.seconds
                step = partial(flow.send, None)
                continue
            self.calls.append(wanted)
            data = self.answers[str(wanted)]
            data = data(wanted) if callable(data) else data
            if wanted.keep is not None and isinstance(data, list):
                try:
                    data = list(filter(wanted.keep, data))[: wanted.limit]
                except ServiceError as odd:
                    data = odd
            if isinstance(data, ServiceError):
                step = partial(flow.throw, data)
            else:
                step = partial(flow.send, Answer(200, {}, data))


def listing(name: str, size: int, modified: str = "") -> dict[str, Any]:
    return {"name": name, "isDirectory": False, "properties": {"contentLength": str(size), "lastModified": modified}}


def rows_of(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return list(rows)
