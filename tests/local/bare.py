"""A client that shows every header and byte: signed requests over httpx, nothing hidden."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_jobmanager.local.auth import Asking, SharedKey
from airflow_provider_jobmanager.local.formats import http_date

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local import LocalBatch

VERSION = "2025-06-01"


class Wire:
    """Asks one local service."""

    def __init__(self, batch: LocalBatch) -> None:
        self.batch = batch
        self.client = httpx.Client(base_url=batch.url, timeout=30, trust_env=False)
        self.key = SharedKey(batch.account, batch.key)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        version: str | None = VERSION,
        content: bytes | None = None,
    ) -> httpx.Response:
        if version is not None:
            path = f"{path}{'&' if '?' in path else '?'}api-version={version}"
        if content is None and body is not None:
            content = json.dumps(body).encode()
        request = self.client.build_request(method, path, content=content, headers=headers)
        if content is not None:
            request.headers.setdefault("content-type", "application/json; odata=minimalmetadata")
        request.headers.setdefault("ocp-date", http_date(datetime.now(timezone.utc)))
        parts = urlsplit(str(request.url))
        asking = Asking(method, request.url.raw_path.split(b"?")[0].decode(), parts.query, request.headers)
        request.headers["authorization"] = self.key.sign(asking)
        return self.client.send(request)

    def close(self) -> None:
        self.client.close()
