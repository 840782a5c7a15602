"""A sensor, and the little of Airflow that it asks for."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor


class Instance:
    """What a sensor asks of its task instance."""

    def __init__(self, ti_id: str | None = None) -> None:
        if ti_id is not None:
            self.id = ti_id

    def xcom_push(self, key: str, value: Any) -> None:
        assert json.dumps({key: value})

    def get_first_reschedule_date(self, _context: Any) -> None:
        return None


CONTEXT: Any = {"ti": Instance()}


class Store(dict[str, Any]):
    """Airflow's task state store."""

    def set(self, key: str, value: Any) -> None:
        assert json.dumps(value)
        self[key] = value


def a_sensor(**arguments: Any) -> AzureBatchJobManagerSensor:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        return AzureBatchJobManagerSensor(**{"task_id": "s", "job_id": "j", "poke_interval": 0.1, **arguments})


def deferred(sensor: AzureBatchJobManagerSensor) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(CONTEXT)
    return caught.value
