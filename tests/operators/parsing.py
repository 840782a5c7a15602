"""An operator in a DAG of its own, and the request body that it comes to."""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator
from airflow_provider_jobmanager.operators.payload import request_body

OWNER = Owner("d", "t", "r")
START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
PARAMS = {"name": "X1", "pool": "local", "slots": 4, "flag": False, "hours": "PT2H"}


def a_dag(**options: Any) -> DAG:
    return DAG("d", schedule=None, start_date=START, params={k: Param(v) for k, v in PARAMS.items()}, **options)


def an_operator(**arguments: Any) -> Operator:
    with a_dag():
        return Operator(**{"task_id": "t", "command_line": "run", "pool_id": "local", **arguments})


def body_of(operator: Operator) -> dict[str, Any]:
    return request_body(operator, OWNER, "j")
