"""A real HTTP server on loopback that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from attrs import define, field
from typing_extensions import Self

if TYPE_CHECKING:
    from collections.abc import Callable


@define
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@define
class Reply:
    """What to answer; ``drop`` closes the connection without an answer."""

    status: int = 200
    data: Any = None
    headers: dict[str, str] = field(factory=dict)
    drop: bool = False


def error(status: int, code: str, message: str = "It is so.", **values: str) -> Reply:
    """A Batch error."""
    text = f"{message}\nRequestId:11111111-2222-3333-4444-555555555555\nTime:2026-01-01T00:00:00.1234567Z"
    body: dict[str, Any] = {"code": code, "message": {"lang": "en-US", "value": text}}
    if values:
        body["values"] = [{"key": key, "value": value} for key, value in values.items()]
    return Reply(status, body, {"request-id": "11111111-2222-3333-4444-555555555555"})


class ScriptedServer:
    """Answers each request with what ``answer`` returns for it."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def connection(self) -> str:
        """An Airflow connection to it, as JSON."""
        extra = {"account_url": self.url}
        return json.dumps({"conn_type": "azure_batch", "login": "acct", "password": "a2V5", "extra": extra})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
                headers = {key.lower(): value for key, value in self.headers.items()}
                request = Request(self.command, parts.path, query, headers, self.rfile.read(length))
                server.requests.append(request)
                reply = server.answer(request)
                if reply.drop:
                    self.close_connection = True
                    self.connection.close()
                    return
                body = reply.data if isinstance(reply.data, bytes) else json.dumps(reply.data).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
