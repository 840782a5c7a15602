"""For the tests of your own DAGs: a local Batch service as the fixture ``local_batch``.

Found by pytest on its own once the provider is installed. ``local_batch.scripts`` says how tasks end without running
their commands, ``local_batch.faults`` what goes wrong on the way to the service, ``local_batch.clock`` what time it is.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_jobmanager.local import LocalBatch, Settings


@pytest.fixture(scope="session")
def local_batch_settings() -> Settings:
    """What the service is started with; override it, where you like, for other nodes, slots or an account's name."""
    from airflow_provider_jobmanager.local import Settings  # noqa: PLC0415 - only for tests that use it

    return Settings(port=0)


@pytest.fixture(scope="session")
def _local_batch_of() -> Iterator[Callable[[Settings], LocalBatch]]:
    """The services of the session, each on a free port of this machine: one for all tests with the same settings."""
    from airflow_provider_jobmanager.local import LocalBatch  # noqa: PLC0415 - as above

    with ExitStack() as services:
        yield cache(lambda settings: services.enter_context(LocalBatch(settings)))


@pytest.fixture
def local_batch(
    local_batch_settings: Settings,
    _local_batch_of: Callable[[Settings], LocalBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> LocalBatch:
    """The service with a clean slate, and the connection ``azure_batch_default`` that leads to it."""
    service = _local_batch_of(local_batch_settings)
    service.reset()
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", service.connection_json())
    return service
