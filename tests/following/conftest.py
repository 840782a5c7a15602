from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.following.fake import FakeService

if TYPE_CHECKING:
    from airflow_provider_jobmanager.poll import Poll


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def poll(service: FakeService) -> Poll:
    return service.poll()
