"""What all telling stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hook() -> Iterator[AzureBatchJobManagerHook]:
    hook = AzureBatchJobManagerHook()
    yield hook
    hook.client.close()
