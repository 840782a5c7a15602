"""For the tests of your own DAGs: a local Batch service as the fixture ``local_batch``.

Found by pytest on its own once the provider is installed. ``local_batch.scripts`` says how tasks end without running
their commands, ``local_batch.faults`` what goes wrong on the way to the service, ``local_batch.clock`` what time it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.local import LocalBatch, Settings


@pytest.fixture(scope="session")
def local_batch_settings() -> Settings:
    """What the service of the session is started with; override it for other nodes, slots or an account's name."""
    from airflow_provider_jobmanager.local import Settings  # noqa: PLC0415 - only for tests that use it

    return Settings(port=0)


@pytest.fixture(scope="session")
def local_batch_server(local_batch_settings: Settings) -> Iterator[LocalBatch]:
    """The service of the session, on a free port of this machine."""
    from airflow_provider_jobmanager.local import LocalBatch  # noqa: PLC0415 - as above

    with LocalBatch(local_batch_settings) as service:
        yield service


@pytest.fixture
def local_batch(local_batch_server: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> LocalBatch:
    """The service with a clean slate, and the connection ``azure_batch_default`` that leads to it."""
    local_batch_server.reset()
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", local_batch_server.connection_json())
    return local_batch_server
