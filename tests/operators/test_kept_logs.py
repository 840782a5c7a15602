"""Where kept logs lie."""

from __future__ import annotations

import pytest

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.operators.kept_logs import address

OWNER = Owner("sales", "load", "run 1", -1, 2, "ti-1", 2, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("url", "path", "link"),
    [
        ("https://a.blob/c?sig=x", None, "https://a.blob/c/sales/run%201/load/2/stdout.txt"),
        ("https://a.blob/c/?sig=x", "/logs/", "https://a.blob/c/logs/stdout.txt"),
        ("https://a.blob/c?sig=x", "", "https://a.blob/c/stdout.txt"),
        ("https://user:s3cret@a.blob:8443/c?sig=x", "", "https://a.blob:8443/c/stdout.txt"),
    ],
)
def test_the_link_leads_to_the_blob(url: str, path: str | None, link: str) -> None:
    assert address({"container_url": url, "path": path}, OWNER) == link
