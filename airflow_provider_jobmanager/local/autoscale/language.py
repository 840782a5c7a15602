"""The formula language: from its text to functions that evaluate it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from attrs import define

from airflow_provider_jobmanager.local.autoscale.values import (
    FUNCTIONS,
    INTERVALS,
    MACHINE,
    METHODS,
    PARTS,
    PLAIN,
    SAMPLED,
    FormulaError,
    Place,
    Surroundings,
    Value,
    arithmetic,
    kind,
    sampled,
)

T = TypeVar("T")

DEDICATED, LOW_PRIORITY, DEALLOCATION = "$TargetDedicatedNodes", "$TargetLowPriorityNodes", "$NodeDeallocationOption"
OPTIONS = ("requeue", "terminate", "taskcompletion", "retaineddata")
ALIASES = {"$TargetDedicated": DEDICATED, "$TargetLowPriority": LOW_PRIORITY}
"""Shorter names; what the full name is assigned goes before."""
MAX_STATEMENTS = 100
MAX_DEPTH = 40
"""How deep a formula may nest: parentheses, arguments, signs, choices."""


@define
class Run:
    """One evaluation: what is known by name."""

    around: Surroundings
    names: dict[str, Value]


Code = Callable[[Run], Value]


_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
    | (?P<text>"[^"\n]*")
    | (?P<name>\$?[A-Za-z_][A-Za-z0-9_]*)
    | (?P<mark>&&|\|\||[<>=!]=|[-+*/<>=!?:;,.()])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/"))


class Parser:
    """Recursive descent, from the statement down to the number; each step gives a function of the run."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._split()
        self.at = 0
        self.depth = 0
        self.assigned: set[str] = {DEDICATED, LOW_PRIORITY, DEALLOCATION, *ALIASES}

    def _split(self) -> list[tuple[str, str, Place]]:
        tokens, start = [], 0
        while start < len(self.text):
            found = _TOKEN.match(self.text, start)
            place = self._place(start)
            if found is None:
                raise FormulaError(place, f"unexpected {self.text[start]!r}", syntax=True)
            if found.lastgroup != "space":
                tokens.append((str(found.lastgroup), found[0], place))
            start = found.end()
        return [*tokens, ("end", "the end", self._place(len(self.text)))]

    def _place(self, start: int) -> Place:
        return self.text.count("\n", 0, start) + 1, start - self.text.rfind("\n", 0, start)

    def _wrong(self, reason: str) -> FormulaError:
        return FormulaError(self.tokens[self.at][2], reason, syntax=True)

    def _is(self, *marks: str) -> bool:
        return self.tokens[self.at][0] == "mark" and self.tokens[self.at][1] in marks

    def _next(self) -> tuple[str, str, Place]:
        self.at += 1
        return self.tokens[self.at - 1]

    def _take(self, mark: str) -> None:
        if not self._is(mark):
            raise self._wrong(f"{mark!r} is expected, not {self.tokens[self.at][1]!r}")
        self._next()

    def statements(self) -> list[tuple[str, Place, Code]]:
        """Every assignment: its variable, where it stands, what it assigns. A bare ``stop()`` assigns to no name.

        Raises:
            FormulaError: the text can't be read.
        """
        found: list[tuple[str, Place, Code]] = []
        while self.tokens[self.at][0] != "end":
            if self._is(";"):
                self._next()
                continue
            sort, name, place = self._next()
            if len(found) == MAX_STATEMENTS:
                raise FormulaError(place, f"there are more than {MAX_STATEMENTS} statements", syntax=True)
            if sort != "name":
                raise FormulaError(place, f"a variable is expected, not {name!r}", syntax=True)
            if name == "stop" and self._is("("):
                found.append(("", place, self._call(name, place)))
                self._end()
                continue
            if name in PLAIN or name in SAMPLED or name in MACHINE or name in INTERVALS:
                raise FormulaError(place, f"{name} can't be assigned to", syntax=True)
            self._take("=")
            found.append((name, place, self._option() if name == DEALLOCATION else self._choice()))
            self.assigned.add(name)
            self._end()
        return found

    def _end(self) -> None:
        if self.tokens[self.at][0] != "end":
            self._take(";")

    def _option(self) -> Code:
        if self.tokens[self.at][0] == "name" and self.tokens[self.at][1] in OPTIONS:
            option = self._next()[1]
            return lambda _: option
        return self._choice()

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        """Go one level into the formula. Counted, for how deep Python can go differs from one process to the next."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._wrong(f"nests deeper than {MAX_DEPTH} levels")
        yield
        self.depth -= 1

    def _choice(self) -> Code:
        with self._deeper():
            condition = self._binary(0)
            if not self._is("?"):
                return condition
            place = self._next()[2]
            yes = self._choice()
            self._take(":")
            no = self._choice()
            return lambda run: yes(run) if _truth(condition(run), place) else no(run)

    def _binary(self, level: int) -> Code:
        if level == len(_LEVELS):
            return self._unary()
        first = self._binary(level + 1)
        rest: list[tuple[str, Code, Place]] = []
        while self._is(*_LEVELS[level]):
            _, operator, place = self._next()
            rest.append((operator, self._binary(level + 1), place))
        return _chain(first, rest) if rest else first

    def _unary(self) -> Code:
        if self._is("-"):
            place = self._next()[2]
            with self._deeper():
                inner = self._unary()
            return lambda run: arithmetic("*", inner(run), -1.0, place)
        if self._is("!"):
            place = self._next()[2]
            with self._deeper():
                inner = self._unary()
            return lambda run: float(not _truth(inner(run), place))
        return self._member(self._atom())

    def _member(self, code: Code) -> Code:
        while self._is("."):
            self._next()
            _, name, place = self._next()
            if name not in PARTS:
                raise FormulaError(place, f"{name!r} is no part of a timestamp: {', '.join(PARTS)}", syntax=True)
            code = _part(code, name, place)
        return code

    def _atom(self) -> Code:
        sort, token, place = self._next()
        if sort == "number":
            number = float(token)
            return lambda _: number
        if sort == "text":
            text = token[1:-1]
            return lambda _: text
        if (sort, token) == ("mark", "("):
            inner = self._choice()
            self._take(")")
            return inner
        if sort != "name":
            raise FormulaError(place, f"a value is expected, not {token!r}", syntax=True)
        return self._named(token, place)

    def _named(self, name: str, place: Place) -> Code:
        if self._is("("):
            return self._call(name, place)
        if name in MACHINE:
            reason = f"{name} is not supported by the local Batch service: its nodes share one machine"
            raise FormulaError(place, reason, syntax=True)
        if name in SAMPLED and self._is("."):
            self._next()
            return self._method(name)
        if name in INTERVALS:
            interval = INTERVALS[name]
            return lambda _: interval
        if name in PLAIN:
            return lambda run: float(run.names.get(name, 0.0))
        if name in SAMPLED:
            raise FormulaError(place, f"{name} has samples, not one value: use {name}.GetSample(1)", syntax=True)
        if name not in self.assigned:
            raise FormulaError(place, f"{name} is not known; it was not assigned before", syntax=True)
        full = ALIASES.get(name, name)
        return lambda run: run.names[full]

    def _arguments(self) -> list[Code]:
        self._take("(")
        arguments: list[Code] = []
        while not self._is(")"):
            if arguments:
                self._take(",")
            arguments.append(self._choice())
        self._take(")")
        return arguments

    def _call(self, name: str, place: Place) -> Code:
        if name not in FUNCTIONS:
            raise FormulaError(place, f"{name} is no function; those are {', '.join(FUNCTIONS)}", syntax=True)
        arguments = self._arguments()
        if name == "time" and not arguments:
            return lambda run: run.around.now
        function = FUNCTIONS[name]
        return lambda run: _guarded(place, name, lambda: function(*[argument(run) for argument in arguments]))

    def _method(self, name: str) -> Code:
        _, method, place = self._next()
        if method not in METHODS:
            raise FormulaError(place, f"{method!r} is not one of {', '.join(METHODS)}", syntax=True)
        arguments = self._arguments()
        if method.startswith("GetSample") and method != "GetSamplePeriod" and not arguments:
            raise FormulaError(place, f"{method} wants to know which samples", syntax=True)
        return lambda run: _guarded(
            place, method, lambda: sampled(name, method, [argument(run) for argument in arguments], run.around)
        )


def _chain(first: Code, rest: list[tuple[str, Code, Place]]) -> Code:
    """Operators of one level, from left to right."""

    def chain(run: Run) -> Value:
        value = first(run)
        for operator, code, place in rest:
            value = _joined(operator, value, code, run, place)
        return value

    return chain


def _joined(operator: str, left: Value, right: Code, run: Run, place: Place) -> Value:
    if operator == "&&":
        return float(_truth(left, place) and _truth(right(run), place))
    if operator == "||":
        return float(_truth(left, place) or _truth(right(run), place))
    return arithmetic(operator, left, right(run), place)


def _part(code: Code, name: str, place: Place) -> Code:
    def part(run: Run) -> float:
        moment = code(run)
        if not isinstance(moment, datetime):
            raise FormulaError(place, f"a {kind(moment)} has no {name}; a timestamp has")
        return float(PARTS[name](moment))

    return part


def _truth(value: Value, place: Place) -> bool:
    if not isinstance(value, float):
        raise FormulaError(place, f"a {kind(value)} is neither true nor false")
    return value != 0


def _guarded(place: Place, name: str, call: Callable[[], T]) -> T:
    """Puts the place into whatever a function says of its arguments."""
    try:
        return call()
    except FormulaError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        said = str(error)
        raise FormulaError(place, said if said.startswith("Insufficient") else f"{name}: {said}") from None
