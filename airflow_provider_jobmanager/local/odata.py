"""``$filter``: the parser, and the predicate it makes.

Values are compared without regard to case. What the tables (:mod:`.odata_tables`) do not list is refused, with the list
of what is.

The result works on rows as they stand on the wire. Times are compared as text without the ``Z``: with trailing zeros
trimmed that is their order, exact to 100 ns (see :mod:`.formats`).
"""

from __future__ import annotations

import re
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_provider_jobmanager.local.errors import BatchError, invalid_query
from airflow_provider_jobmanager.local.formats import normal_timestamp
from airflow_provider_jobmanager.local.odata_tables import FILTERS, Property

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Predicate = Callable[[Mapping[str, Any]], bool]

MAX_LENGTH = 16_384
MAX_DEPTH = 50

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"eq": eq, "ne": ne, "ge": ge, "gt": gt, "le": le, "lt": lt}


# -- the tree


@frozen
class Compare:
    """One comparison.

    Attributes:
        path: where the value stands in a row.
        kind: ``text``, ``time``, ``int`` or ``bool``.
        operator: one of :data:`OPERATORS`, or ``startswith``.
        value: text in lower case, a time without its ``Z``, a number, a boolean, or None for ``null``.
    """

    path: tuple[str, ...]
    kind: str
    operator: str
    value: Any

    def predicate(self) -> Predicate:
        """A function of a row."""
        get, wanted, operator = _getter(self.path), self.value, self.operator
        if operator == "ne":
            inner = Compare(self.path, self.kind, "eq", wanted).predicate()
            return lambda row: not inner(row)
        if wanted is None:
            return lambda row: get(row) is None and operator == "eq"
        if operator == "startswith":
            return lambda row: (get(row) or "").lower().startswith(wanted)
        compare = OPERATORS[operator]
        if self.kind == "text":
            return lambda row: (found := get(row)) is not None and compare(found.lower(), wanted)
        if self.kind == "time":
            return lambda row: (found := get(row)) is not None and compare(found[:-1], wanted)
        return lambda row: (found := get(row)) is not None and compare(found, wanted)


@frozen
class Every:
    """All of its parts hold: ``and``."""

    parts: tuple[Node, ...]

    def predicate(self) -> Predicate:
        """A function of a row."""
        parts = [part.predicate() for part in self.parts]
        if len(parts) == 2:  # noqa: PLR2004 - the usual case, and twice as fast as a loop
            first, second = parts
            return lambda row: first(row) and second(row)
        return lambda row: all(part(row) for part in parts)


@frozen
class Some:
    """One of its parts holds: ``or``."""

    parts: tuple[Node, ...]

    def predicate(self) -> Predicate:
        """A function of a row."""
        parts = [part.predicate() for part in self.parts]
        return lambda row: any(part(row) for part in parts)


Node = Compare | Every | Some


@frozen
class Filter:
    """A parsed ``$filter``.

    Attributes:
        text: as the client sent it.
        tree: what it says.
        matches: whether a row, as it stands on the wire, fulfils it.
    """

    text: str
    tree: Node
    matches: Predicate

    def required(self) -> list[Compare]:
        """Comparisons that hold for every row that matches.

        A store may use those it can answer from an index (``state eq 'completed'``) and leave the rest to
        :attr:`matches`.
        """
        parts = self.tree.parts if isinstance(self.tree, Every) else (self.tree,)
        return [part for part in parts if isinstance(part, Compare)]


def parse_filter(list_name: str, text: str) -> Filter:
    """The meaning of a ``$filter``.

    Args:
        list_name: one of :data:`FILTERS`.
        text: percent-decoded.

    Raises:
        BatchError: 400 ``InvalidQueryParameterValue``; its ``Reason`` says where and lists what is allowed.
    """
    if len(text) > MAX_LENGTH:
        raise invalid_query("$filter", f"{text[:100]}...", f"A filter has at most {MAX_LENGTH} characters.")
    tree = _Parser(list_name, text).parse()
    return Filter(text, tree, tree.predicate())


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<time>datetime'(?P<moment>[^']*)')
    | (?P<text>'(?:[^']|'')*')
    | (?P<number>[+-]?\d+(?:\.\d+)?)(?![\w/])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<mark>[(),])
    | (?P<end>$)
    )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LITERALS = {"true": True, "false": False, "null": None}


class _Parser:
    """Recursive descent over the tokens: or, and, then a group, a function or a comparison."""

    def __init__(self, list_name: str, text: str) -> None:
        self.list_name = list_name
        self.properties = FILTERS[list_name]
        self.text = text
        self.tokens = self._split()
        self.kind, self.token = next(self.tokens)
        self.depth = 0

    def parse(self) -> Node:
        tree = self._any()
        if self.kind != "end":
            raise self._wrong(f"'and', 'or' or the end is expected at {self.token!r}.")
        return tree

    def _split(self) -> Iterator[tuple[str, str]]:
        place = 0
        while True:
            found = _TOKEN.match(self.text, place)
            if found is None:
                raise self._wrong(f"The filter can't be read from {self.text[place : place + 20].strip()!r} on.")
            place = found.end()
            kind = next(kind for kind in ("time", "text", "number", "word", "mark", "end") if found[kind] is not None)
            yield kind, found["moment"] if kind == "time" else found[kind]

    def _next(self) -> str:
        token = self.token
        self.kind, self.token = next(self.tokens)
        return token

    def _take(self, mark: str) -> None:
        if self.kind != "mark" or self.token != mark:
            raise self._wrong(f"{mark!r} is expected at {self.token or 'the end'!r}.")
        self._next()

    def _any(self) -> Node:
        parts = [self._all()]
        while (self.kind, self.token) == ("word", "or"):
            self._next()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _all(self) -> Node:
        parts = [self._one()]
        while (self.kind, self.token) == ("word", "and"):
            self._next()
            parts.append(self._one())
        # (a and b) and c is one conjunction of three, so that required() sees them all.
        flat = [inner for part in parts for inner in (part.parts if isinstance(part, Every) else (part,))]
        return flat[0] if len(flat) == 1 else Every(tuple(flat))

    def _one(self) -> Node:
        if (self.kind, self.token) == ("mark", "("):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self._wrong(f"The filter nests deeper than {MAX_DEPTH} parentheses.")
            self._next()
            tree = self._any()
            self._take(")")
            self.depth -= 1
            return tree
        if self.kind != "word":
            raise self._wrong(f"A property is expected at {self.token or 'the end'!r}.")
        name = self._next()
        if (self.kind, self.token) == ("mark", "("):
            return self._function(name)
        found = self._property(name)
        if self.kind != "word" or self.token not in OPERATORS:
            raise self._wrong(f"{self.token or 'the end'!r} is no operator; those are {', '.join(OPERATORS)}.")
        return self._compare(name, found, self._next())

    def _function(self, name: str) -> Node:
        if name != "startswith":
            raise self._wrong(f"{name!r} is no function; the only one is startswith.")
        self._next()
        if self.kind != "word":
            raise self._wrong(f"startswith wants a property, not {self.token!r}.")
        name = self._next()
        found = self._property(name)
        self._take(",")
        compare = self._compare(name, found, "startswith")
        self._take(")")
        return compare

    def _property(self, name: str) -> Property:
        if name in self.properties:
            return self.properties[name]
        allowed = ", ".join(self.properties)
        raise self._wrong(f"A list of {self.list_name} can't be filtered by {name!r}, only by: {allowed}.")

    def _compare(self, name: str, found: Property, operator: str) -> Compare:
        if operator not in found.operators:
            allowed = ", ".join(found.operators)
            raise self._wrong(f"{name!r} can't be compared with {operator}, only with: {allowed}.")
        return Compare(found.path, found.kind, operator, self._value(name, found))

    def _value(self, name: str, found: Property) -> Any:
        kind, token = self.kind, self.token
        value: Any
        if kind == "end":
            raise self._wrong("A value is expected at the end.")
        if kind == "word":
            if token not in _LITERALS:
                raise self._wrong(f"{token!r} is no value; a text stands in single quotes.")
            value = _LITERALS[token]
            if value is not None and found.kind != "bool":
                raise self._wrong(f"{name!r} is no boolean.")
        elif kind != ("number" if found.kind == "int" else found.kind):
            example = {"time": "DateTime'2025-01-31T12:00:00Z'", "text": "'a text'", "int": "1", "bool": "true"}
            raise self._wrong(f"{name!r} is compared with a value like {example[found.kind]}, not with {token!r}.")
        elif kind == "time":
            value = self._moment(token)
        elif kind == "text":
            value = token[1:-1].replace("''", "'").lower()
            if found.values and value not in found.values:
                raise self._wrong(f"{name!r} is never {token}, only one of: {', '.join(found.values)}.")
        else:
            value = self._number(token)
        self._next()
        return value

    def _number(self, text: str) -> float:
        try:
            return float(text) if "." in text else int(text)
        except ValueError:  # Python reads no number of thousands of digits
            raise self._wrong(f"{text[:20]}... is no number that a property can have.") from None

    def _moment(self, text: str) -> str:
        try:
            return normal_timestamp(text)[:-1]
        except ValueError as error:
            raise self._wrong(f"{error}.") from None

    def _wrong(self, reason: str) -> BatchError:
        return invalid_query("$filter", self.text, reason)


def _getter(path: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Any]:
    if len(path) == 1:
        name = path[0]
        return lambda row: row.get(name)
    outer, inner = path
    return lambda row: (row.get(outer) or {}).get(inner)
