"""What all tests stand on: an environment without anybody's accounts, an Airflow home that is not the user's."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.evidence import evidence

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch
    from tests.azurite import Azurite, Container

# Before anything imports Airflow, which reads its settings and makes its home when it is imported.
for _name in list(os.environ):
    if _name.upper().startswith(("AIRFLOW", "_AIRFLOW", "AZURE_", "AZ_BATCH_", "OTEL_")):
        del os.environ[_name]
_IN_PROCESS_HOME = Path(tempfile.mkdtemp(prefix="jobmanager-tests-"))
os.environ.update(
    AIRFLOW_HOME=str(_IN_PROCESS_HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS="False",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    OTEL_SDK_DISABLED="true",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails with a real Airflow shows what that wrote meanwhile."""
    report = yield
    if report.failed and call.when == "call":
        from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

        for home in getattr(item, "funcargs", {}).values():
            if isinstance(home, AirflowHome):
                report.sections.extend(evidence(home, call.start))
    return report


def pytest_unconfigure() -> None:
    shutil.rmtree(_IN_PROCESS_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_databases(request: pytest.FixtureRequest) -> Path:
    """The folder in which a migrated SQLite file per Airflow version is kept from one test run to the next."""
    return request.config.cache.mkdir("airflow")


@pytest.fixture(scope="session")
def airflow_db(migrated_databases: Path) -> Path:
    """The Airflow home of this process with a migrated database, for ``dag.test()``; its ``dags`` folder is in use."""
    from airflow import settings

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

    # Some test may have had Airflow look into its database, which makes an empty one.
    settings.dispose_orm(do_log=False)
    for left in _IN_PROCESS_HOME.glob("airflow.db*"):
        left.unlink()
    AirflowHome(_IN_PROCESS_HOME).migrate(migrated_databases)
    settings.configure_orm()
    return _IN_PROCESS_HOME


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBatch]:
    """The local Batch service that `airflow` is connected to; its tasks find the interpreter of the tests."""
    from airflow_provider_jobmanager.local import LocalBatch, Settings

    path = os.pathsep.join([str(Path(sys.executable).parent), Settings().task_path])
    with LocalBatch(Settings(port=0, state_dir=tmp_path_factory.mktemp("batch"), task_path=path)) as service:
        yield service


@pytest.fixture(scope="session")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, migrated_databases: Path, batch: LocalBatch
) -> Iterator[AirflowHome]:
    """A running Airflow: API server, scheduler, DAG processor, triggerer. Each test adds DAGs with names of its own.

    Its connection `azure_batch_default` leads to `batch`. Whoever kills or pauses a component starts it again before
    the test ends.
    """
    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

    environment = {"AIRFLOW_CONN_AZURE_BATCH_DEFAULT": batch.connection_json()}
    with AirflowHome(tmp_path_factory.mktemp("airflow"), environment=environment) as home:
        home.migrate(migrated_databases)
        home.start()
        home.wait_healthy()
        yield home


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A real blob service on loopback."""
    from tests.azurite import running

    with running() as service:
        yield service


@pytest.fixture
def container(azurite: Azurite) -> Container:
    """A new container in it."""
    return azurite.container()
