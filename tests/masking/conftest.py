"""What Airflow's masker hears of."""

from __future__ import annotations

import pytest

from airflow_provider_jobmanager import masking


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Airflow's masker is told."""
    told: list[str] = []
    monkeypatch.setattr(masking, "mask_secret", told.append)
    return told
