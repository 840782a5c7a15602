"""The calls that a conversation with the Batch service is made of.

A conversation (:mod:`.flows`) is a generator that yields :class:`Call` and is sent :class:`Answer`, or is thrown a
:class:`~airflow_provider_jobmanager.errors.ServiceError`. Who drives it decides between the synchronous and the
asynchronous client, so no rule exists twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

from attrs import field, frozen

Json = dict[str, Any]
T = TypeVar("T")


@frozen
class Call:
    """One request to the Batch data plane.

    Attributes:
        method: HTTP verb.
        path: path below the account's endpoint, its parts already percent-encoded.
        params: query parameters, ``api-version`` left out: the account adds it.
        json: body, None for none.
        headers: extra headers.
        pages: follow ``odata.nextLink`` and answer with all rows as one list.
        limit: with ``pages``, stop after that many rows; with ``content``, after that many bytes.
        keep: with ``pages``, whether a row is wanted; the others are dropped page by page, and don't count.
        content: answer with the bytes of the body (a file), not with JSON.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(factory=dict)
    json: Any = None
    headers: Mapping[str, str] = field(factory=dict)
    pages: bool = False
    limit: int | None = None
    keep: Callable[[Json], bool] | None = None
    content: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@frozen
class Answer:
    """What the service answered.

    Attributes:
        status: HTTP status.
        headers: response headers, names in lower case.
        data: the JSON body, the rows of a list, the bytes of a file, or None.
    """

    status: int
    headers: Mapping[str, str]
    data: Any = None

    @property
    def date(self) -> datetime | None:
        """The service's time when it answered; None when it does not say."""
        text = self.headers.get("date")
        try:
            date = parsedate_to_datetime(text) if text else None
        except ValueError:
            return None
        # Times of HTTP are in GMT, also where a proxy leaves that out.
        return date.replace(tzinfo=timezone.utc) if date and date.tzinfo is None else date


@frozen
class Pause:
    """A wait in the middle of a conversation; the driver sleeps.

    Attributes:
        seconds: how long.
    """

    seconds: float


Flow = Generator[Call | Pause, Answer | None, T]
"""A conversation that ends with a ``T``. It is sent an :class:`Answer` for a call and None for a pause."""


def path(*parts: str) -> str:
    """A path of percent-encoded parts: ``path("jobs", job_id)``."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def get(*parts: str, select: tuple[str, ...] = (), **params: str) -> Call:
    """A GET of one resource, only the members of ``select`` when given."""
    return Call("GET", path(*parts), _query(select, params))


def rows(
    *parts: str,
    select: tuple[str, ...] = (),
    limit: int | None = None,
    keep: Callable[[Json], bool] | None = None,
    **params: str,
) -> Call:
    """A GET of a whole list, page after page. ``filter`` is sent as ``$filter``."""
    return Call("GET", path(*parts), _query(select, params), pages=True, limit=limit, keep=keep)


def post(*parts: str, json: Any = None, **params: str) -> Call:
    """A POST; ``json`` is the body."""
    return Call("POST", path(*parts), params, json=json)


def patch(*parts: str, json: Any) -> Call:
    """A PATCH; members that ``json`` leaves out stay as they are."""
    return Call("PATCH", path(*parts), json=json)


def delete(*parts: str, **params: str) -> Call:
    """A DELETE."""
    return Call("DELETE", path(*parts), params)


def file(*parts: str, first: int | None = None, last: int | None = None) -> Call:
    """A GET of a file's bytes, from byte ``first`` to byte ``last`` (both included) when given.

    The service takes the range as ``ocp-range`` and answers 200 (recorded traffic of the service).
    """
    headers = {} if first is None else {"ocp-range": f"bytes={first}-{'' if last is None else last}"}
    limit = None if first is None or last is None else last - first + 1
    return Call("GET", path(*parts), headers=headers, content=True, limit=limit)


def head(*parts: str) -> Call:
    """A HEAD: a file's properties, or whether a pool exists."""
    return Call("HEAD", path(*parts))


def _query(select: tuple[str, ...], params: Mapping[str, str]) -> dict[str, str]:
    query = {("$filter" if name == "filter" else name): value for name, value in params.items()}
    if select:
        query["$select"] = ",".join(select)
    return query
