"""The local service asked byte by byte, without any client's opinion in between."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_jobmanager.local.auth import Asking, SharedKey
from airflow_provider_jobmanager.local.formats import http_date

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.local import LocalBatch

VERSION = "2025-06-01"
JSON = "application/json; odata=minimalmetadata"
PATIENCE = 60.0


class Wire:
    """Signs and sends; nothing is retried, followed or parsed."""

    def __init__(self, batch: LocalBatch) -> None:
        self.batch = batch
        self.key = SharedKey(batch.account, batch.key)
        self.http = httpx.Client(base_url=batch.url, timeout=30, trust_env=False)

    def close(self) -> None:
        self.http.close()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; ``path`` may have a query, to which the version is added."""
        separator = "&" if "?" in path else "?"
        target = path if "api-version=" in path else f"{path}{separator}api-version={VERSION}"
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        given.setdefault("ocp-date", http_date(datetime.now(timezone.utc)))
        if content:
            given.setdefault("content-type", JSON)
        request = self.http.build_request(method, target, content=content, headers=given)
        raw = request.url.raw_path.decode()
        path, _, query = raw.partition("?")
        sent = {name.lower(): value for name, value in request.headers.items()}
        request.headers["Authorization"] = self.key.sign(Asking(method, path, query, sent))
        return self.http.send(request)

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
        while True:
            found = self.get(path)
            if condition(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.02)

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
