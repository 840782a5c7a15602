"""A client that shows every header and byte of the local service: signed requests over httpx, nothing hidden."""

from __future__ import annotations

import json
import ssl
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_jobmanager.local.auth import Asking, SharedKey
from airflow_provider_jobmanager.local.formats import http_date
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.local import LocalBatch

VERSION = "2025-06-01"
PATIENCE = 60.0
POOL = {"poolInfo": {"poolId": "local"}}


class Wire:
    """Asks one local service; nothing is retried, followed or parsed unless asked for."""

    def __init__(self, batch: LocalBatch) -> None:
        self.batch = batch
        certificate = getattr(batch, "certificate", None)
        trusted = ssl.create_default_context(cafile=certificate) if certificate else True
        self.client = httpx.Client(base_url=batch.url, timeout=30, trust_env=False, verify=trusted)
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

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; ``path`` may have a query, to which the version is added."""
        version = None if "api-version=" in path else VERSION
        given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        if isinstance(body, bytes):
            return self.ask(method, path, content=body, headers=given, version=version)
        return self.ask(method, path, body, headers=given, version=version)

    def get(self, path: str, **headers: str) -> dict[str, Any]:
        """The JSON of a GET that must succeed."""
        answer = self.send("GET", path, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def must(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A request that must succeed."""
        answer = self.send(method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer

    def until(self, path: str, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """What a GET gives once a condition holds of it."""
        end = time.monotonic() + PATIENCE
        while not condition(found := self.get(path)):
            assert time.monotonic() < end, found
            time.sleep(0.02)
        return found

    def until_state(self, path: str, state: str) -> dict[str, Any]:
        """A resource once it is in a state."""
        return self.until(path, lambda found: found["state"] == state)

    def until_gone(self, path: str) -> httpx.Response:
        """The answer once a resource is not there any more."""
        end = time.monotonic() + PATIENCE
        while (answer := self.send("GET", path)).status_code != 404:
            assert time.monotonic() < end, answer.text
            time.sleep(0.02)
        return answer


def job(wire: Wire, **settings: Any) -> httpx.Response:
    return wire.ask("POST", "/jobs", {"id": "Job", **POOL, **settings})


def completed(wire: Wire, path: str) -> dict[str, Any]:
    until(lambda: wire.ask("GET", path).json()["state"] == "completed")
    return wire.ask("GET", path).json()
