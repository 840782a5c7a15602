"""An XCom backend of the user's own: what stands in Airflow's database is then only where it keeps a value."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import task_runner, xcom
from airflow.sdk.execution_time.comms import GetTaskStates, GetXCom, SetXCom, TaskStatesResult, XComResult

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.links import job_manager as links
from airflow_provider_jobmanager.triggers import ending, kill

NAMES = {"dag_id": "sales", "task_id": "load", "run_id": "r1"}
OWNER = Owner(**NAMES)
TI = SimpleNamespace(**NAMES, map_index=-1)
ADDRESS = "ms-batch-explorer://route/jobs/j"


class Warehouse(BaseXCom):
    """Keeps values elsewhere, as object storage backends do."""

    kept: dict[str, Any]

    @classmethod
    def serialize_value(cls, value: Any, *, key: str | None = None, **_: Any) -> Any:
        cls.kept[f"shelf-{key}"] = value
        return f"shelf-{key}"

    @classmethod
    def deserialize_value(cls, result: Any) -> Any:
        return cls.kept[result.value]


class Supervisor:
    """Airflow's database, for one deferred task."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def send(self, message: Any) -> Any:
        if isinstance(message, SetXCom):
            self.rows[message.key] = message.value
            return None
        if isinstance(message, GetXCom):
            return XComResult(key=message.key, value=self.rows.get(message.key))
        assert isinstance(message, GetTaskStates)
        return TaskStatesResult(task_states={"r1": {"load": "deferred"}})

    async def asend(self, message: Any) -> Any:
        return self.send(message)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    supervisor = Supervisor()
    monkeypatch.setattr(Warehouse, "kept", {}, raising=False)
    monkeypatch.setattr(xcom, "XCom", Warehouse)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor.rows


def test_a_kill_knows_the_job_that_a_task_follows(database: dict[str, Any]) -> None:
    xcom.XCom.set(key="job_id", value="j", **NAMES)
    assert database == {"job_id": "shelf-job_id"}
    state, recorded = kill._ask(OWNER)
    assert (state, recorded) == ("deferred", "j")
    assert kill.decide(state, recorded, "j") == kill.LEAVE


def link_of(database: dict[str, Any]) -> str:
    """As the API server reads it, and as a worker hands it on at the end of a leg."""
    (address,) = database.values()
    key: Any = TI
    assert links.BatchExplorerLink().get_link(key, ti_key=key) == address
    return str(address)


def test_a_link_stands_in_the_database_as_it_is(database: dict[str, Any]) -> None:
    links.store(TI, links.BatchExplorerLink().xcom_key, ADDRESS)
    assert link_of(database) == ADDRESS


async def test_so_does_one_from_the_triggerer_while_results_go_to_the_backend(database: dict[str, Any]) -> None:
    log = logging.getLogger(__name__)
    await ending.push_xcoms(TI, {links.BatchExplorerLink().xcom_key: ADDRESS}, log, as_links=True)
    assert link_of(database) == ADDRESS
    await ending.push_xcoms(TI, {"return_value": 7}, log)
    assert database["return_value"] == "shelf-return_value"
    assert Warehouse.kept == {"shelf-return_value": 7}
