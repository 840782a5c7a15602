from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.local.rules import Account
from tests.local.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def service() -> Iterator[LocalBatch]:
    """One service for all tests of a module."""
    with LocalBatch(Settings(port=0)) as batch:
        yield batch


@pytest.fixture
def batch(service: LocalBatch) -> LocalBatch:
    """The service with a clean slate."""
    service.reset()
    return service


@pytest.fixture
def wire(batch: LocalBatch) -> Iterator[Wire]:
    """The bare wire to it."""
    bare = Wire(batch)
    yield bare
    bare.close()


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """The rules alone: one node with two slots, so that who goes first can be seen."""
    return Account(tmp_path, nodes=1, slots_per_node=2)
