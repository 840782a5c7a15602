"""A DAG whose tasks die as they are told to. Not a test: it is copied into the DAGs folder of the chaos test.

What a run is told stands in its configuration: ``{"deaths": {MAP INDEX: {TRY NUMBER: [POINT, SECONDS]}}}``.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_jobmanager.account import Client
from airflow_provider_jobmanager.errors import ServiceUnavailable
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_supervisor() -> None:
    """As when a machine is lost: nobody is left to report the task's end."""
    os.kill(os.getppid(), signal.SIGKILL)
    die()


class Dying(AzureBatchJobManagerOperator):
    """Ends its process, as ``kill -9`` does, at the point that the run's configuration names for this try."""

    def execute(self, context: Any) -> Any:
        point, seconds = self._told(context)
        self._trap_create(point)
        if point == "any time":
            threading.Timer(seconds, die).start()
        try:
            return super().execute(context)
        except TaskDeferred:
            if point == "deferring":
                die()
            if point == "deferred":
                threading.Timer(seconds, die).start()
            raise

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        point, _ = self._told(context)
        if point == "resuming":
            die()
        result = super().execute_complete(context, event)
        if point == "collected":
            die()
        return result

    def _told(self, context: Any) -> tuple[str, float]:
        ti = context["ti"]
        deaths = (context["dag_run"].conf or {}).get("deaths", {})
        point, seconds = deaths.get(str(ti.map_index), {}).get(str(ti.try_number), ("", 0.0))
        return point, seconds

    @staticmethod
    def _trap_create(point: str) -> None:
        """This process runs one task, so its client may be bent for good."""
        original = Client.call
        created = []

        def call(self: Client, request: Any) -> Any:
            create = (request.method, request.path) == ("POST", "/jobs")
            if create and point == "before the create":
                die()
            if created and point == "after the answer":
                die()
            answer = original(self, request)
            if create:
                created.append(request)
                if point == "answer lost and killed":
                    die()
                if point == "machine lost":
                    die_with_supervisor()
                if point == "answer lost" and len(created) == 1:
                    raise ServiceUnavailable("The answer was lost")
            return answer

        Client.call = call  # type: ignore[method-assign]


works = json.loads((Path(__file__).parent / "works.json").read_text())

with DAG("dying", schedule=None, max_active_runs=100):
    Dying.partial(
        task_id="work",
        azure_batch_conn_id="azure_batch_chaos",
        pool_id="local",
        run_exclusive=False,
        poll_interval=2,
        retries=8,
        retry_delay=timedelta(seconds=1),
    ).expand_kwargs(works)
