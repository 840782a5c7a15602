"""A real Airflow and a local Batch service that it can reach."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.chaos.account import Jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome


@pytest.fixture(scope="session")
def jobs(airflow: AirflowHome) -> Iterator[Jobs]:
    """The jobs of a local service to which the connection ``azure_batch_chaos`` of the session's Airflow leads."""
    from airflow_provider_jobmanager.local import LocalBatch, Settings

    with LocalBatch(Settings(port=0, nodes=2, slots_per_node=8)) as service:
        connection = json.loads(service.connection_json())
        airflow.api.request(
            "POST",
            "/connections",
            json={**connection, "connection_id": "azure_batch_chaos", "extra": json.dumps(connection["extra"])},
        )
        with Jobs(service.url, service.account, service.key) as seen:
            seen.service = service
            yield seen
