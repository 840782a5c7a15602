"""What is asked of a list besides its filter: ``$select``, ``$expand``, ``maxresults`` and the next page.

How pages are linked is read off recorded traffic: ``odata.nextLink`` is absolute, repeats the request's own query in
its order and ends with a raw ``$skiptoken=WATV2:<base64>:1$1``, which clients send back as it came.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_jobmanager.local.errors import invalid_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

LARGEST_PAGE = 1000

Row = TypeVar("Row")
_TOKEN = re.compile(r"WATV2:([A-Za-z0-9+/=]*):1\$1", re.ASCII)
_SKIP = re.compile(r"(?:\$|%24)skiptoken=", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][\w.]*(?:/[A-Za-z_]\w*)*", re.ASCII)


def max_results(text: str | None, largest: int = LARGEST_PAGE) -> int:
    """How many rows a page has at most.

    Args:
        text: the query parameter ``maxresults``, None when it was not sent.
        largest: the limit of the list, and what applies without the parameter.

    Raises:
        BatchError: 400 ``InvalidQueryParameterValue``.
    """
    if text is None:
        return largest
    try:
        wanted = int(text)
    except ValueError:
        raise invalid_query("maxresults", text, "MaxResults is not a whole number") from None
    if wanted < 1:
        raise invalid_query("maxresults", text, "MaxResults cannot be less than 1")
    if wanted > largest:
        raise invalid_query("maxresults", text, f"MaxResults cannot be greater than {largest}")
    return wanted


def skip_token(last: str) -> str:
    """The token of the page after the row whose key is ``last``.

    It names the row and not a number of rows, so that rows that come or go in between neither repeat nor hide others.
    """
    # A key may be the name of a file, which need not be UTF-8.
    return f"WATV2:{base64.b64encode(last.encode(errors='surrogateescape')).decode()}:1$1"


def skipped(token: str) -> str:
    """The key of the row that a token's page comes after.

    Raises:
        BatchError: 400 ``InvalidQueryParameterValue``.
    """
    # A plus in a query that was decoded as a form has become a space.
    found = _TOKEN.fullmatch(token.replace(" ", "+"))
    try:
        if found:
            return base64.b64decode(found[1], validate=True).decode(errors="surrogateescape")
    except binascii.Error:
        pass
    raise invalid_query("$skiptoken", token, "The skip token was not made by this service")


def next_link(base_url: str, path: str, query: str, token: str) -> str:
    """The absolute address of the next page.

    Args:
        base_url: the service's own idea of its address, without a slash at the end.
        path: the request's path, percent-encoded.
        query: the request's query as it stood on the wire; a token in it is replaced.
        token: from :func:`skip_token`.
    """
    kept = [part for part in query.split("&") if part and not _SKIP.match(part)]
    return f"{base_url}{path}?{'&'.join([*kept, f'$skiptoken={token}'])}"


def page(
    rows: Iterable[Row], key: Callable[[Row], str], size: int, token: str | None = None
) -> tuple[list[Row], str | None]:
    """One page of rows that are in memory, and the token of the next page, None after the last.

    Args:
        rows: in any order; the page is in the order of ``key``, without regard to case but for keys that are one then.
        key: names a row.
        size: from :func:`max_results`.
        token: from the request.

    Raises:
        BatchError: 400, the token is none of ours.
    """

    def place(name: str) -> tuple[str, str]:
        return name.lower(), name

    ordered = sorted(rows, key=lambda row: place(key(row)))
    if token is not None:
        after = place(skipped(token))
        ordered = [row for row in ordered if place(key(row)) > after]
    found = ordered[:size]
    return found, skip_token(key(found[-1])) if len(ordered) > size else None


def parse_select(text: str | None) -> tuple[tuple[str, ...], ...]:
    """The paths of a ``$select``; empty when everything is wanted.

    Raises:
        BatchError: 400 ``InvalidQueryParameterValue``.
    """
    names = [name.strip() for name in (text or "").split(",")]
    if names == [""] or "*" in names:
        return ()
    for name in names:
        if not _NAME.fullmatch(name):
            raise invalid_query("$select", text or "", f"{name!r} is no name of a property")
    return tuple(tuple(name.split("/")) for name in names)


def select(row: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Only the members of a row that are wanted, in the row's own order; ``odata.metadata`` always stays."""
    if not paths:
        return dict(row)
    wanted: dict[str, list[tuple[str, ...]]] = {"odata.metadata": [()]}
    for first, *rest in paths:
        wanted.setdefault(first, []).append(tuple(rest))
    chosen = {}
    for name, value in row.items():
        if name not in wanted:
            continue
        inner = wanted[name]
        # executionInfo and executionInfo/endTime together mean all of executionInfo.
        chosen[name] = select(value, inner) if isinstance(value, dict) and all(inner) else value
    return chosen


def parse_expand(text: str | None) -> bool:
    """Whether ``$expand`` asks for statistics, the only thing it can ask for.

    Raises:
        BatchError: 400 ``InvalidQueryParameterValue``.
    """
    if text is None or not text.strip():
        return False
    if text.strip() != "stats":
        raise invalid_query("$expand", text, "Only stats can be expanded")
    return True
