"""The local service asked byte by byte, without any client's opinion in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.local import bare

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


PATIENCE = 60.0


class Wire(bare.Wire):
    """Signs and sends; nothing is retried, followed or parsed unless asked for."""

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; ``path`` may have a query, to which the version is added."""
        version = None if "api-version=" in path else bare.VERSION
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
