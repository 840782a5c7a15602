"""Runs the operator as a worker does, without an Airflow around it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator
from airflow_provider_jobmanager.operators.queueing import Queueing
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook


class Worked:
    """What came of it.

    Attributes:
        result: what the task returned.
        error: what it raised.
        log: every line of its log.
        xcoms: what it pushed.
    """

    def __init__(self) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.log: list[str] = []
        self.xcoms: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The log as a person sees it at its end: the error stands last."""
        return "\n".join([*self.log, f"{type(self.error).__name__}: {self.error}" if self.error else ""])

    @property
    def job_id(self) -> str:
        return self.xcoms["job_id"]


class Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def operator(**arguments: Any) -> AzureBatchJobManagerOperator:
    settings = {"task_id": "work", "pool_id": "local", "deferrable": False, "poll_interval": 0.1, "retries": 3}
    settings |= arguments
    if "auto_pool" in arguments:
        del settings["pool_id"]
    return AzureBatchJobManagerOperator(**settings)


def context_for(pushed: dict[str, Any]) -> dict[str, Any]:
    def push(key: str, value: Any) -> None:
        pushed[key] = value

    ti = SimpleNamespace(
        dag_id="tell",
        task_id="work",
        run_id=f"run-{time.monotonic_ns()}",
        map_index=-1,
        try_number=1,
        id=str(time.monotonic_ns()),
        max_tries=0,
        xcom_push=push,
    )
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime.now(timezone.utc))}


def work(**arguments: Any) -> Worked:
    """Run the operator to its end."""
    worked = Worked()
    task = operator(**arguments)
    logger = logging.getLogger(f"tell.{time.monotonic_ns()}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(Lines(worked.log))
    task._cached_logger = logger
    task._log = logger
    try:
        worked.result = task._begin(context_for(worked.xcoms), Queueing(began=time.time()))
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        worked.error = error
    finally:
        task.hook.client.close()
    return worked


def sh(script: str) -> str:
    return f"/bin/sh -c '{script}'"


@contextlib.contextmanager
def meanwhile(hook: AzureBatchJobManagerHook, act: Callable[[str], Any], state: str = "running") -> Iterator[None]:
    """Do something to the job once its manager is in a state, beside the body."""
    trouble: list[BaseException] = []

    def watch() -> None:
        try:
            job_id = until(lambda: [job["id"] for job in hook.client.call(calls.rows("jobs")).data])[0]
            until(lambda: hook.get_task(job_id, "jobmanager")["state"] == state)
            act(job_id)
        except BaseException as error:  # noqa: BLE001 - raised below
            trouble.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    if trouble:
        raise trouble[0]


def says(worked: Worked, error: type[BaseException], *phrases: str) -> None:
    assert isinstance(worked.error, error), worked.text
    for phrase in phrases:
        assert phrase in worked.text
    assert len(str(worked.error)) <= 4100


def a_pool(pool_id: str, **settings: Any) -> dict[str, Any]:
    return {
        "id": pool_id,
        "vmSize": "standard_d2s_v3",
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "p", "offer": "o", "sku": "s"},
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
        },
        **settings,
    }
