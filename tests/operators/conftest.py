"""A task instance that keeps what the operator tells Airflow, over its deferrals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from tests.tell.working import context_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def xcoms() -> dict[str, Any]:
    return {}


@pytest.fixture
def context(xcoms: dict[str, Any]) -> Any:
    made: Any = context_for(xcoms)
    made["ti"].xcom_pull = lambda *, key, **_: xcoms.get(key)
    return made


@pytest.fixture
def hook(local_batch: Any) -> Iterator[AzureBatchJobManagerHook]:
    made = AzureBatchJobManagerHook()
    yield made
    made.client.close()
