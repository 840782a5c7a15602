"""The HTTP side: a pipeline of stages from bytes to rules and back.

:data:`Service.stages` is the pipeline, in order; faults that were asked for lie around all of it but the control
endpoint. Status, headers and the layout of bodies are those of recorded traffic of the service, down to which answers
are chunked.
"""

from __future__ import annotations

import json
import logging
import math
import re
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from attrs import define, frozen
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from airflow_provider_jobmanager.local import errors, formats, routes, versions
from airflow_provider_jobmanager.local.auth import Asking, Authenticator, Identity
from airflow_provider_jobmanager.local.control import PREFIX, Control
from airflow_provider_jobmanager.local.exchange import Answer, Exchange
from airflow_provider_jobmanager.local.faults import Faults, FaultStage
from airflow_provider_jobmanager.local.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.scripts import Scripts
    from airflow_provider_jobmanager.local.store import Store

log = logging.getLogger(__name__)

MAX_BODY = 1_048_576
MAX_DEPTH = 100
JOURNAL_LENGTH = 10_000

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]*)?")
_CHUNKED = frozenset({200, 201, 202})


@frozen
class Entry:
    """A request that was answered.

    Attributes:
        time: when, as on the wire.
        method: HTTP verb.
        path: with the query, as it stood on the wire.
        operation: its name, None for a path without one.
        status: HTTP status of the answer.
        code: error code of the answer; empty for none.
        request_id: as in the header.
    """

    time: str
    method: str
    path: str
    operation: str | None
    status: int
    code: str
    request_id: str


@define
class State:
    """What the stages know of one request."""

    request: Request
    request_id: str
    now: datetime
    raw_path: str
    query_string: str
    query: dict[str, str]
    base_url: str
    operation: routes.Operation | None = None
    names: Mapping[str, str] = {}
    version: str = ""
    identity: Identity | None = None
    body: Any = None
    code: str = ""


class Service:
    """The ASGI application.

    Args:
        engine: the rules.
        authenticator: decides who asks.
        faults: trouble on purpose.
        scripts: ends of tasks on purpose.
        secure: whether it is served over HTTPS.
    """

    def __init__(
        self, engine: Engine, authenticator: Authenticator, faults: Faults, scripts: Scripts, *, secure: bool = False
    ) -> None:
        self.engine = engine
        self.authenticator = authenticator
        self.faults = faults
        self.scripts = scripts
        self.secure = secure
        faults.look_back = self._look_back
        faults.operations = frozenset(operation.name for operation in routes.OPERATIONS)
        self.control = Control(self) if engine.settings.control else None
        self.journal: deque[Entry] = deque(maxlen=JOURNAL_LENGTH)
        self.stages = (self._host, self._version, self._authenticate, self._find, self._body)
        self.control_stages = (self._host, self._authenticate, self._account_only, self._body)
        self.app: ASGIApp = FaultStage(self._serve, faults, self._refuse, _operation_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        # Faults don't reach the control endpoint: it is where they are taken back.
        spared = scope["type"] == "http" and self._is_control(_raw_path(scope))
        await (self._serve if spared else self.app)(scope, receive, send)

    def reset(self) -> None:
        """Back to an account with nothing but the default pool: no jobs, faults, scripts; the clock at its own time."""
        self.faults.clear()
        self.scripts.clear()
        self.journal.clear()
        self.engine.reset()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = self._state(Request(scope, receive))
        try:
            try:
                for stage in self.control_stages if self._is_control(state.raw_path) else self.stages:
                    await stage(state)
                response = self._answer(state)
            except errors.BatchError as error:
                response = self._error(state, error)
        except ClientDisconnect:
            return
        except Exception:
            # A bug of this service; the client gets what the real one says then, the log gets the rest.
            log.exception("%s %s broke the local Batch service", state.request.method, state.raw_path)
            response = self._error(state, errors.refuse("InternalError"))
        if not self._is_control(state.raw_path):
            self._note(state, response)
        await response(scope, receive, send)

    def _is_control(self, path: str) -> bool:
        return self.control is not None and (path == PREFIX or path.startswith(f"{PREFIX}/"))

    def _look_back(self) -> Store:
        with self.engine.turn():
            return self.engine.store.copy()

    # -- stages -------------------------------------------------------------------------------------------------------

    async def _host(self, state: State) -> None:
        """Keep pages of the web out whose name was made to lead to this machine (DNS rebinding).

        The default key is known to them, too. What they can't do is to send another name than theirs.
        """
        if self.engine.settings.allow_remote:
            return
        for host in state.request.headers.getlist("host"):
            if not _is_own_name(host):
                reason = "Other names than localhost and addresses of loopback need a service that allows remote access"
                values = {"HeaderName": "Host", "HeaderValue": host, "Reason": reason}
                raise errors.refuse("InvalidHeaderValue", values=values)

    async def _version(self, state: State) -> None:
        version = state.query.get("api-version")
        if version is None:
            raise errors.refuse("MissingRequiredQueryParameter", values={"QueryParameterName": "api-version"})
        if version not in versions.VERSIONS:
            reason = f"The local Batch service speaks {', '.join(versions.VERSIONS)}"
            raise errors.refuse("UnsupportedRequestVersion", values={"Version": version, "Reason": reason})
        state.version = version

    async def _authenticate(self, state: State) -> None:
        request = state.request
        asking = Asking(request.method, state.raw_path, state.query_string, request.headers, self.secure)
        state.identity = self.authenticator.authenticate(asking, self.engine.clock.for_signatures())

    async def _account_only(self, state: State) -> None:
        if state.identity is None or state.identity.scheme != "SharedKey":
            raise errors.refuse("InsufficientAccountPermissions", values={"Reason": "Control wants the account's key"})

    async def _find(self, state: State) -> None:
        if state.operation is None:
            known = routes.find(state.request.method, state.raw_path)[2]
            raise errors.refuse("UnsupportedHttpVerb" if known else "InvalidUri")
        if state.operation.handler is None:
            raise errors.not_emulated(f"The operation {state.operation.name}")

    async def _body(self, state: State) -> None:
        content = bytearray()
        async for chunk in state.request.stream():
            content += chunk
            if len(content) > MAX_BODY:
                raise errors.refuse("RequestBodyTooLarge", values={"MaxLimit": str(MAX_BODY)})
        if not content.strip():
            return
        try:
            state.body = json.loads(bytes(content), parse_constant=_no_constant, parse_float=_finite)
            _check_depth(state.body)
        except (ValueError, RecursionError) as error:
            raise errors.refuse("InvalidRequestBody", values={"Reason": f"The body is no JSON: {error}"}) from None

    # -- answers ------------------------------------------------------------------------------------------------------

    def _answer(self, state: State) -> Response:
        if self.control is not None and self._is_control(state.raw_path):
            done = self.control.answer(state.request.method, state.raw_path, state.body)
            return self._response(state, Answer(200, done))
        exchange = Exchange(
            engine=self.engine,
            method=state.request.method,
            path=state.raw_path,
            query=state.query,
            query_string=state.query_string,
            headers=state.request.headers,
            names=state.names,
            base_url=state.base_url,
            now=state.now,
            request_id=state.request_id,
            version=state.version,
            json=state.body,
            past=state.request.scope.get("past"),
        )
        operation = state.operation
        if operation is None or operation.handler is None:
            raise AssertionError("The stages let an operation without a handler through.")
        with self.engine.turn():
            answer = operation.handler(exchange)
        return self._response(state, answer)

    def _response(self, state: State, answer: Answer) -> Response:
        headers = self._headers(state)
        headers.update(answer.headers)
        if answer.body is not None:
            return StreamingResponse(answer.body, answer.status, headers)
        if answer.doc is not None:
            headers["Content-Type"] = formats.JSON_TYPE
            return _Plain(formats.dumps(answer.doc), answer.status, headers, chunked=True)
        # HEAD says how long the body would be, which is for the route to say; nothing else goes without chunks.
        return _Plain(b"", answer.status, headers, chunked=answer.status in _CHUNKED)

    def _error(self, state: State, error: errors.BatchError) -> Response:
        state.code = error.code
        headers = self._headers(state)
        if state.request.method == "HEAD" or error.status == 304:  # noqa: PLR2004 - not modified
            return _Plain(b"", error.status, headers, chunked=True)
        headers["Content-Type"] = formats.JSON_TYPE
        body = formats.error_body(state.base_url, error, state.request_id, state.now)
        return _Plain(body, error.status, headers, chunked=False)

    def _refuse(self, scope: Scope, error: errors.BatchError, extra: Mapping[str, str]) -> ASGIApp:
        """The answer of a fault."""
        state = self._state(Request(scope))
        response = self._error(state, error)
        for name, value in extra.items():
            response.headers[name] = value
        self._note(state, response)
        return response

    def _headers(self, state: State) -> dict[str, str]:
        headers = {
            "Server": "Microsoft-HTTPAPI/2.0",
            "request-id": state.request_id,
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "DataServiceVersion": "3.0",
            "Date": formats.http_date(self.engine.clock.seen_by_clients()),
        }
        request = state.request.headers
        if request.get("return-client-request-id", "").lower() == "true" and "client-request-id" in request:
            headers["client-request-id"] = request["client-request-id"]
        return headers

    def _state(self, request: Request) -> State:
        scope = request.scope
        raw_path = _raw_path(scope)
        query_string = scope["query_string"].decode("latin-1")
        query: dict[str, str] = {}
        for name, value in parse_qsl(query_string, keep_blank_values=True):
            query.setdefault("api-version" if name.lower() == "api-version" else name, value)
        host = request.headers.get("host", "")
        operation, names, _ = routes.find(request.method, raw_path)
        return State(
            request,
            str(uuid.uuid4()),
            self.engine.now(),
            raw_path,
            query_string,
            query,
            f"{scope['scheme']}://{host}",
            operation,
            names,
        )

    def _note(self, state: State, response: Response) -> None:
        path = f"{state.raw_path}?{state.query_string}" if state.query_string else state.raw_path
        name = state.operation.name if state.operation else None
        self.journal.append(
            Entry(
                formats.timestamp(state.now),
                state.request.method,
                path,
                name,
                response.status_code,
                state.code,
                state.request_id,
            )
        )


class _Plain(Response):
    """An answer that is at hand as a whole, with a length or in chunks as the service sends it."""

    def __init__(self, content: bytes, status: int, headers: Mapping[str, str], *, chunked: bool) -> None:
        super().__init__(content, status, headers)
        if status == 204:  # noqa: PLR2004 - no content; recorded traffic says its length nevertheless
            self.raw_headers.append((b"content-length", b"0"))
        if chunked and "content-length" not in {name.lower() for name in headers}:
            self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]


def _is_own_name(host: str) -> bool:
    """Whether a ``Host`` header, with or without a port, can only mean the machine that it comes from."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["address"] or found["name"]).lower().removesuffix(".")
    return name.endswith(".localhost") or is_loopback(name)


def _raw_path(scope: Scope) -> str:
    """The path of a request, percent-encoded as it stood on the wire."""
    return str(scope.get("raw_path", scope["path"].encode()).decode("latin-1"))


def _operation_name(method: str, path: str) -> str | None:
    operation = routes.find(method, path)[0]
    return operation.name if operation else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # it could not be given back: JSON has no word for it
        raise ValueError(f"{text[:20]} is beyond all numbers")
    return number


def _check_depth(value: Any) -> None:
    """Nothing, when all that goes down the value, member by member, gets to its end."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [each for members in inner for each in members]
        if not level:
            return
    raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
