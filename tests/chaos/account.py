"""What a Batch account holds, seen with a client of its own: not through the provider's eyes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from attrs import frozen
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from airflow_provider_jobmanager.local import LocalBatch


@frozen
class Seen:
    """A job as the service tells it."""

    id: str
    state: str
    reason: str
    exit_code: int | None
    mark: dict[str, str]
    max_wall_clock: str
    priority: int

    @property
    def active(self) -> bool:
        return self.state == "active"

    def of(self, dag_id: str, run_id: str, map_index: int = -1) -> bool:
        return (
            self.mark.get("airflow_dag_id"),
            self.mark.get("airflow_run_id"),
            self.mark.get("airflow_map_index"),
        ) == (
            dag_id,
            run_id,
            str(map_index),
        )


class Jobs:
    """The jobs of an account."""

    service: LocalBatch

    def __init__(self, url: str, account: str, key: str) -> None:
        self._client = BatchClient(url, AzureNamedKeyCredential(account, key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def all(self, *, exit_codes: bool = False) -> list[Seen]:
        """All jobs of the account."""
        return [self._seen(job, exit_codes=exit_codes) for job in self._client.list_jobs()]

    def of(self, dag_id: str, run_id: str, map_index: int = -1) -> list[Seen]:
        """The jobs of a task instance, the first one first."""
        return [job for job in self.all() if job.of(dag_id, run_id, map_index)]

    def wait(self, good: Callable[[list[Seen]], bool], dag_id: str, run_id: str, timeout: float = 60) -> list[Seen]:
        """The jobs of a task instance, once they are as they should be."""
        deadline = time.monotonic() + timeout
        while not good(found := self.of(dag_id, run_id)):
            assert time.monotonic() < deadline, f"Still {found}"
            time.sleep(0.2)
        return found

    def _seen(self, job: Any, *, exit_codes: bool) -> Seen:
        code = None
        if exit_codes:
            info = self._client.get_task(job.id, job.job_manager_task.id).execution_info
            code = None if info is None else info.exit_code
        return Seen(
            id=job.id,
            state=str(getattr(job.state, "value", job.state)).lower(),
            reason=job.execution_info.termination_reason or "" if job.execution_info else "",
            exit_code=code,
            mark={item.name: item.value for item in job.metadata or ()},
            max_wall_clock=str(job.constraints.max_wall_clock_time) if job.constraints else "",
            priority=job.priority or 0,
        )
