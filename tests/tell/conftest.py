from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import azurite as blobs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def azurite() -> Iterator[blobs.Azurite]:
    """A real blob service on loopback."""
    with blobs.running() as service:
        yield service


@pytest.fixture
def container(azurite: blobs.Azurite) -> blobs.Container:
    """A new container in it."""
    return azurite.container()
