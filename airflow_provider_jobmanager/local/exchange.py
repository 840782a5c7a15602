"""One request and its answer, as the routes see them: parsed, and not yet on the wire."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field, frozen

from airflow_provider_jobmanager.local import errors, formats, lists, odata, versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Record
    from airflow_provider_jobmanager.local.store import Store

Doc = dict[str, Any]
R = TypeVar("R", bound="Record")

TAGS = ("if-match", "if-none-match")
TIMES = ("if-modified-since", "if-unmodified-since")


@frozen
class Answer:
    """What a route answers.

    Attributes:
        status: HTTP status.
        doc: JSON body; None for none.
        headers: headers of this answer alone.
        body: bytes instead of JSON: all at once, or piece by piece.
    """

    status: int
    doc: Doc | None = None
    headers: Mapping[str, str] = field(factory=dict)
    body: Iterator[bytes] | AsyncIterator[bytes] | None = None


@define
class Exchange:
    """A request.

    Attributes:
        engine: the rules.
        method: HTTP verb.
        path: as it stood on the wire.
        query: by name as written; the first value of each.
        query_string: as it stood on the wire.
        headers: by name in lower case.
        names: parts of the path that the route names.
        base_url: the service's own idea of its address.
        now: the time it arrived.
        request_id: names the request, for those who ask for support.
        version: ``api-version``.
        json: parsed body, None without one.
        past: what lists are read from instead of the store, when they are to be stale.
    """

    engine: Engine
    method: str
    path: str
    query: Mapping[str, str]
    query_string: str
    headers: Mapping[str, str]
    names: Mapping[str, str]
    base_url: str
    now: datetime
    request_id: str
    version: str = ""
    json: Any = None
    past: Store | None = None

    @property
    def store(self) -> Store:
        """What lists are read from."""
        return self.past or self.engine.store

    @cached_property
    def wants_stats(self) -> bool:
        """Whether statistics are asked for: by ``$expand``, or by name in ``$select``.

        Raises:
            BatchError: 400 ``InvalidQueryParameterValue``.
        """
        named = any(path[0] == "stats" for path in lists.parse_select(self.query.get("$select")))
        return lists.parse_expand(self.query.get("$expand")) or named

    def stats(self, url: str, figures: Callable[[], Doc]) -> Doc:
        """``stats`` of a resource, when they are asked for."""
        return {"stats": {"url": url, **figures()}} if self.wants_stats else {}

    @property
    def force(self) -> bool:
        """Whether ``force=true`` is asked for."""
        return self.query.get("force", "").lower() == "true"

    def url(self, *parts: str) -> str:
        """The URL of a resource, as the service spells it."""
        return "/".join((self.base_url, *parts))

    def metadata(self, fragment: str) -> str:
        """An ``odata.metadata`` value."""
        return formats.metadata(self.base_url, fragment)

    def signature(self) -> str:
        """The last lines of every error text."""
        return f"RequestId:{self.request_id}\nTime:{formats.timestamp(self.now)}"

    def body(self) -> Any:
        """The body of a request that must have one.

        Raises:
            BatchError: 400 ``InvalidRequestBody``.
        """
        if self.json is None:
            raise errors.refuse("InvalidRequestBody", values={"Reason": "The request has no body"})
        versions.check(self.json, self.version)
        return self.json

    def check(self, doc: Doc) -> None:
        """Hold the conditional headers against a resource.

        Raises:
            BatchError: 412, or 304 for a read whose resource has not changed.
        """
        given = [name for name in (*TAGS, *TIMES) if self.headers.get(name)]
        if "if-match" in given and "if-none-match" in given:
            raise errors.refuse("MultipleConditionHeadersNotSupported")
        reads = self.method in ("GET", "HEAD")
        for name in given:
            value = self.headers[name]
            met = self._tag_met(name, value, doc) if name in TAGS else self._time_met(name, value, doc)
            if not met:
                same = reads and name in ("if-none-match", "if-modified-since")
                raise errors.refuse("ConditionNotMet", status=304 if same else 412)

    def element(self, doc: Doc, fragment: str, **headers: str) -> Answer:
        """A single resource, with its tag in the headers when it has one.

        Raises:
            BatchError: 400 ``InvalidQueryParameterValue``.
        """
        lists.parse_expand(self.query.get("$expand"))
        chosen = lists.select(doc, lists.parse_select(self.query.get("$select")))
        body = {"odata.metadata": self.metadata(f"{fragment}/@Element"), **chosen}
        return Answer(200, body, {**tag_headers(doc), **headers})

    def rows(
        self, kind: str, records: Callable[[str | None], Iterable[R]], render: Callable[[R], Doc], fragment: str
    ) -> Answer:
        """A page of a list of records.

        Args:
            kind: name of the list's filter table.
            records: gives the records whose key comes after a key, in order.
            render: makes a row of a record.
            fragment: of ``odata.metadata``.
        """
        size = lists.max_results(self.query.get("maxresults"))
        matches = self.filter(kind)
        token = self.query.get("$skiptoken")
        paths = lists.parse_select(self.query.get("$select"))
        lists.parse_expand(self.query.get("$expand"))
        page: list[R] = []
        more = False
        for record in records(None if token is None else lists.skipped(token)):
            if not matches(record.doc):
                continue
            if len(page) == size:
                more = True
                break
            page.append(record)
        body: Doc = {
            "odata.metadata": self.metadata(fragment),
            "value": [lists.select(render(record), paths) for record in page],
        }
        if more:
            body["odata.nextLink"] = self._next(page[-1].key)
        return Answer(200, body)

    def plain_rows(self, kind: str, rows: Iterable[Doc], key: str, fragment: str) -> Answer:
        """A page of a list of rows that are made for it, in the order of their key."""
        size = lists.max_results(self.query.get("maxresults"))
        matches = self.filter(kind)
        paths = lists.parse_select(self.query.get("$select"))
        found = (row for row in rows if matches(row))
        page, token = lists.page(found, lambda row: str(row[key]), size, self.query.get("$skiptoken"))
        body: Doc = {
            "odata.metadata": self.metadata(fragment),
            "value": [lists.select(row, paths) for row in page],
        }
        if token is not None:
            body["odata.nextLink"] = lists.next_link(self.base_url, self.path, self.query_string, token)
        return Answer(200, body)

    def filter(self, kind: str) -> Callable[[Mapping[str, Any]], bool]:
        """What ``$filter`` lets through."""
        text = self.query.get("$filter")
        return odata.parse_filter(kind, text).matches if text else lambda _row: True

    def _next(self, key: str) -> str:
        return lists.next_link(self.base_url, self.path, self.query_string, lists.skip_token(key))

    def _tag_met(self, name: str, value: str, doc: Doc) -> bool:
        tags = [tag.strip().strip('"') for tag in value.split(",")]
        hit = "*" in tags or doc.get("eTag") in tags
        return hit if name == "if-match" else not hit

    def _time_met(self, name: str, value: str, doc: Doc) -> bool:
        try:
            limit = formats.parse_timestamp(value)
        except ValueError:
            raise errors.refuse("InvalidHeaderValue", values={"HeaderName": name, "HeaderValue": value}) from None
        # The header has whole seconds, so the resource's time is cut to them as well.
        modified = formats.parse_timestamp(doc["lastModified"]).replace(microsecond=0)
        return modified > limit if name == "if-modified-since" else modified <= limit


def tag_headers(doc: Doc) -> dict[str, str]:
    """``ETag`` and ``Last-Modified`` of a resource; empty when it has none."""
    if "eTag" not in doc:
        return {}
    return {"ETag": doc["eTag"], "Last-Modified": formats.http_date(formats.parse_timestamp(doc["lastModified"]))}
