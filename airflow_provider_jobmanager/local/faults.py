"""Trouble on purpose: throttling, failures, slow and lost answers, dropped connections, stale lists, a wrong clock.

Rules are plain data, so a test hands them in as mappings, and a control endpoint as JSON::

    {"operation": "create_job", "times": 1, "then": "lose-answer"}
    {"method": "GET", "path": "/jobs/*", "probability": 0.3, "then": "answer", "status": 503, "retry_after": 2}

:meth:`Faults.decide` says what happens to a request and does nothing else; :class:`FaultStage` carries it out around
the rest of the server. The first rule that matches and has turns left decides. A rule without ``times`` stays until it
is cleared. The control endpoint is spared, so that every rule can be taken back the way it was made.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from difflib import get_close_matches
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from attrs import asdict, define, field, fields, frozen, validators

from airflow_provider_jobmanager.local.errors import ERRORS, BatchError, Row
from airflow_provider_jobmanager.local.formats import http_date, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANSWER = "answer"
DELAY = "delay"
DROP = "drop"
LOSE_ANSWER = "lose-answer"
STALE = "stale"
SKEW = "skew"
GARBAGE = "garbage"
ACTIONS = {
    ANSWER: "answer with `status`, `code` and `retry_after`; the work is not done",
    DELAY: "wait `seconds`, then do the work and answer",
    DROP: "close the connection; the work is not done",
    LOSE_ANSWER: "do the work, then close the connection instead of answering",
    STALE: "answer a list as it was when the rule was made",
    SKEW: "do the work; the Date header of the answer is `seconds` ahead (or behind)",
    GARBAGE: "do the work; the body of the answer is no JSON, its status `status`",
}
"""What a rule can do."""

LONGEST = 100 * 365 * 24 * 3600.0
"""Seconds that a rule can speak of at most."""
_NO_BODY = frozenset({204, 304})
_USUAL_CODES = {429: "TooManyRequests", 500: "InternalError", 503: "ServerBusy"}
_GARBAGE = b"<html><body>This is no Batch answer.</body></html>"


def _number(low: float, high: float) -> Any:
    return validators.and_(validators.instance_of((int, float)), validators.ge(low), validators.le(high))


@frozen(kw_only=True)
class Fault:
    """A rule: which requests it is for, how often, and what happens to them.

    Attributes:
        then: one of :data:`ACTIONS`.
        operation: name of the operation (``create_job``), or a pattern with ``*``; None for any.
        method: HTTP verb, None for any.
        path: percent-decoded path, or a pattern with ``*``; None for any.
        times: for how many requests; None for all.
        after: how many matching requests are let through first.
        probability: of each matching request to be hit, 0 to 1.
        seed: makes the draws repeatable; None draws at random.
        status: of the answer.
        code: the error's code; by default the usual one of the status.
        retry_after: seconds for the header ``Retry-After``, None for no header.
        seconds: how long, or how far ahead.
    """

    then: str = field(validator=validators.in_(ACTIONS))
    operation: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    method: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    path: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    times: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(1)])
    )
    after: int = field(default=0, validator=[validators.instance_of(int), validators.ge(0)])
    probability: float = field(default=1.0, validator=_number(0, 1))
    seed: int | None = field(default=None, validator=validators.optional(validators.instance_of(int)))
    status: int = field(default=503, validator=[validators.instance_of(int), validators.ge(200), validators.lt(600)])
    code: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    retry_after: float | None = field(default=None, validator=validators.optional(_number(0, LONGEST)))
    seconds: float = field(default=0.0, validator=_number(-LONGEST, LONGEST))

    def __attrs_post_init__(self) -> None:
        if self.then == ANSWER and self.code is None and self.status not in _USUAL_CODES:
            raise ValueError(
                f"A fault that answers with {self.status} needs a code, such as JobBeingTerminated for 409"
            )
        if (self.then == ANSWER and self.status == HTTPStatus.NO_CONTENT) or (
            self.then == GARBAGE and self.status in _NO_BODY
        ):
            raise ValueError(f"A fault of {self.then!r} has a body, and an answer with status {self.status} has none")
        if self.then == DELAY and self.seconds <= 0:
            raise ValueError(f"A fault of {self.then!r} needs seconds above 0")

    @classmethod
    def of(cls, rule: Fault | Mapping[str, Any]) -> Fault:
        """A rule from plain data.

        Raises:
            ValueError: the data are no rule; the text says why.
        """
        if isinstance(rule, Fault):
            return rule
        if not isinstance(rule, Mapping):
            raise ValueError(f"A fault is a mapping, not {type(rule).__name__}")  # noqa: TRY004 - bad data, said one way
        known = [part.name for part in fields(cls)]
        unknown = sorted(set(rule) - set(known))
        if unknown:
            raise ValueError(f"A fault has no {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
        if "then" not in rule:
            raise ValueError(f"A fault says what happens: its 'then' is one of {', '.join(ACTIONS)}")
        try:
            return cls(**rule)
        except TypeError as error:
            raise ValueError(str(error.args[0])) from None
        except ValueError as error:
            raise ValueError(f"{error.args[0]}") from None

    def matches(self, operation: str | None, method: str, path: str) -> bool:
        """Whether the rule is for such a request."""
        return (
            (self.method is None or self.method.upper() == method.upper())
            and (self.operation is None or (operation is not None and fnmatchcase(operation, self.operation)))
            and (self.path is None or fnmatchcase(path.lower(), self.path.lower()))
        )

    def error(self) -> BatchError:
        """The error that an ``answer`` gives."""
        code = self.code or _USUAL_CODES[self.status]
        row = ERRORS.get(code, Row(self.status, "A fault that was asked for."))
        return BatchError(self.status, code, row.text)


@define
class Rule:
    """A fault and what is left of it.

    Attributes:
        fault: what was asked for.
        past: how things stood when it was made, for ``stale``.
        passed: matching requests that were let through.
        hits: requests it decided.
        draws: its dice.
    """

    fault: Fault
    past: Any = None
    passed: int = 0
    hits: int = 0
    draws: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.draws = random.Random(self.fault.seed)  # noqa: S311 - a test's dice

    def take(self) -> bool:
        """Whether it decides the next matching request; one turn less is left then."""
        if self.passed < self.fault.after:
            self.passed += 1
            return False
        if self.fault.times is not None and self.hits >= self.fault.times:
            return False
        if self.fault.probability < 1 and self.draws.random() >= self.fault.probability:
            return False
        self.hits += 1
        return True


class Faults:
    """The rules in force. Safe to use from several threads."""

    def __init__(
        self, rules: Iterable[Fault | Mapping[str, Any]] = (), look_back: Callable[[], Any] | None = None
    ) -> None:
        """Takes rules.

        Args:
            rules: the first ones.
            look_back: gives what is needed to answer later as it is now, for ``stale``.
        """
        self.look_back = look_back
        self.operations: Collection[str] = ()
        """Names that rules may have; any while there are none."""
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        for rule in rules:
            self.add(rule)

    def add(self, rule: Fault | Mapping[str, Any] | None = None, **parts: Any) -> Fault:
        """Puts a rule behind those in force: ``faults.add(operation="create_job", then="drop", times=1)``.

        Raises:
            ValueError: it is no rule.
        """
        fault = Fault.of(parts if rule is None else rule)
        name = fault.operation
        if name is not None and self.operations and not any(fnmatchcase(known, name) for known in self.operations):
            near = ", ".join(map(repr, get_close_matches(name, self.operations, n=1))) or "a pattern such as 'list_*'"
            raise ValueError(f"There is no operation {name!r}; did you mean {near}?")
        past = self.look_back() if fault.then == STALE and self.look_back else None
        with self._lock:
            self._rules.append(Rule(fault, past))
        return fault

    def clear(self) -> None:
        """Takes all rules back."""
        with self._lock:
            self._rules.clear()

    def decide(self, operation: str | None, method: str, path: str) -> Fault | None:
        """What happens to a request; the rule that decides has one turn less then.

        Args:
            operation: name of the operation, None when the path has none.
            method: HTTP verb.
            path: percent-decoded.
        """
        rule = self.take(operation, method, path)
        return rule.fault if rule else None

    def take(self, operation: str | None, method: str, path: str) -> Rule | None:
        """The same, with what the rule remembers."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if rule.fault.matches(operation, method, path) and rule.take():
                    return rule
        return None

    def data(self) -> list[dict[str, Any]]:
        """The rules as plain data, each with its ``hits`` so far."""
        with self._lock:
            return [
                {**asdict(rule.fault, filter=lambda _, value: value is not None), "hits": rule.hits}
                for rule in self._rules
            ]


class FaultStage:
    """ASGI stage that carries faults out, around the whole rest of the server.

    ``stale`` can't be done from outside: what the rule remembers stands in ``scope["past"]``, for the reader of lists.
    """

    def __init__(
        self,
        app: App,
        faults: Faults,
        refuse: Callable[[Scope, BatchError, Mapping[str, str]], App],
        operation_of: Callable[[str, str], str | None] = lambda _method, _path: None,
    ) -> None:
        """Wraps ``app``.

        Args:
            app: the rest of the server.
            faults: the rules.
            refuse: makes the answer of an error, with extra headers.
            operation_of: names the operation of a method and a percent-decoded path.
        """
        self.app = app
        self.faults = faults
        self.refuse = refuse
        self.operation_of = operation_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets it fail as a rule wants."""
        rule = self._rule(scope)
        if rule is None:
            await self.app(scope, receive, send)
            return
        fault = rule.fault
        if fault.then == DROP:
            await _drop(receive, send)
        elif fault.then == ANSWER:
            headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:.12g}"}
            await self.refuse(scope, fault.error(), headers)(scope, receive, send)
        elif fault.then == DELAY:
            await asyncio.sleep(fault.seconds)
            await self.app(scope, receive, send)
        elif fault.then == LOSE_ANSWER:
            await self.app(scope, receive, _swallow)
            await _drop(receive, send)
        elif fault.then == STALE:
            scope["past"] = rule.past
            await self.app(scope, receive, send)
        elif fault.then == SKEW:
            await self.app(scope, receive, _skewed(send, timedelta(seconds=fault.seconds)))
        else:
            await self.app(scope, receive, _garbled(send, fault.status))

    def _rule(self, scope: Scope) -> Rule | None:
        if scope["type"] != "http":
            return None
        method, path = scope["method"], scope["path"]
        return self.faults.take(self.operation_of(method, path), method, path)


async def _drop(receive: Receive, send: Send) -> None:
    """Closes a request's connection without a word.

    ASGI has no message for that, so the transport is taken from uvicorn's own ``send``, a method of the object that
    holds it. The server tells a disconnected application from one that forgot to answer only once it has noticed, so
    the disconnection is waited for.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("A connection can be dropped under uvicorn only, with this stage as the outermost one")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _swallow(_: Message) -> None:
    """Takes an answer that nobody gets."""


def _skewed(send: Send, by: timedelta) -> Send:
    async def skewed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name, _shift(value, by) if name.lower() == b"date" else value) for name, value in message["headers"]
            ]
        await send(message)

    return skewed


def _shift(value: bytes, by: timedelta) -> bytes:
    moment = parse_timestamp(value.decode("latin-1"))
    try:
        return http_date(moment + by).encode()
    except OverflowError:  # the clock can be advanced to where the calendar ends
        return http_date(datetime.max.replace(tzinfo=timezone.utc)).encode()


def _garbled(send: Send, status: int) -> Send:
    async def garbled(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message["headers"]
                if name.lower() not in {b"content-length", b"content-type", b"transfer-encoding"}
            ]
            length = str(len(_GARBAGE)).encode()
            headers = [*kept, (b"Content-Type", b"text/html"), (b"Content-Length", length)]
            await send({**message, "status": status, "headers": headers})
        elif not message.get("more_body"):
            await send({"type": "http.response.body", "body": _GARBAGE})

    return garbled
