"""How the service spells times, durations, ids and JSON.

All of it is read off recorded traffic of the service; the layout of JSON included, down to its line ends.

Moments are aware :class:`~datetime.datetime` values in UTC. They hold microseconds where the service holds steps of
100 ns: whatever this service stamps itself then has 0 as its seventh digit, which the wire trims anyway, so nothing is
lost. A moment that a *client* sends may have the seventh digit; it is kept as text (:func:`normal_timestamp`) and
compared as text, exactly. Durations do need the steps of 100 ns (the longest one ends in ``.4775807S``), and are whole
numbers of them, called ticks.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local.errors import BatchError, invalid_property

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TICKS = 10_000_000
"""Ticks of 100 ns in a second."""

UNLIMITED_TICKS = 2**63 - 1
UNLIMITED = "P10675199DT2H48M5.4775807S"
"""What the service says for "no limit": the longest .NET time span, never null."""

JSON_TYPE = "application/json;odata=minimalmetadata"
"""Content type of every JSON body that the service sends."""

MAX_ID = 64

_EPOCH = datetime(1, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d*))?)?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
_DURATION = re.compile(
    r"(-)?P(?=.)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d+))?S)?)?", re.ASCII
)
_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID}}}", re.ASCII)


# -- moments


def timestamp(moment: datetime, digits: int = 7) -> str:
    """A moment as the service writes it: ``2026-08-18T00:00:00Z``, ``...06.733Z``.

    Args:
        moment: an aware moment.
        digits: fraction digits at most, 7 for the service's own times, 6 for those a node reports. Trailing zeros
            are trimmed, a fraction of zero is left out.
    """
    moment = moment.astimezone(timezone.utc)
    return _spell(moment, f"{moment.microsecond:06d}0"[:digits])


def parse_timestamp(text: str) -> datetime:
    """The moment of an ISO 8601 text (0 to 7 fraction digits and more) or of an RFC 1123 one, in UTC.

    Without an offset, UTC is meant. Digits beyond the microsecond are cut off; :func:`normal_timestamp` keeps them.

    Raises:
        ValueError: the text is no moment.
    """
    return _moment(text)[0]


def normal_timestamp(text: str) -> str:
    """The same moment as the service writes it, exact to 100 ns.

    Raises:
        ValueError: the text is no moment.
    """
    return _spell(*_moment(text))


def ticks_of(moment: datetime) -> int:
    """Ticks of 100 ns since the beginning of year 1, as .NET counts."""
    return (moment - _EPOCH) // _MICROSECOND * 10


def etag(moment: datetime) -> str:
    """The ETag of a resource last modified at ``moment``: ``0x8D...``, unquoted, its ticks in hexadecimal."""
    return f"0x{ticks_of(moment):X}"


def http_date(moment: datetime) -> str:
    """A moment in a header: RFC 1123, whole seconds, cut off."""
    return format_datetime(moment.astimezone(timezone.utc), usegmt=True)


def _spell(moment: datetime, fraction: str) -> str:
    fraction = fraction.rstrip("0")
    return moment.isoformat()[:19] + (f".{fraction}Z" if fraction else "Z")


def _moment(text: str) -> tuple[datetime, str]:
    """The moment and its seven fraction digits."""
    text = text.strip()
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        try:
            moment = parsedate_to_datetime(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc), ""
        except (ValueError, TypeError, IndexError, OverflowError):  # a year beyond the calendar overflows
            raise ValueError(f"{text!r} is no moment: ISO 8601 or RFC 1123 is expected") from None
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    fraction = (found[7] or "").ljust(7, "0")[:7]
    try:
        moment = datetime(
            year, month, day, hour, minute, int(found[6] or 0), int(fraction[:6]), tzinfo=_zone(found[8] or "Z")
        ).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no moment: {error}") from None
    return moment, fraction


def _zone(offset: str) -> timezone:
    if offset in "Zz":
        return timezone.utc
    distance = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    return timezone(-distance if offset[0] == "-" else distance)


# -- durations


def parse_duration(text: str) -> int:
    """Ticks of an ISO 8601 duration. A year has 365 days and a month 30, as the service counts.

    Raises:
        ValueError: the text is no duration, or a longer one than :data:`UNLIMITED`.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no ISO 8601 duration, such as PT1H30M or P1D")
    years, months, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:7])
    seconds += (((years * 365 + months * 30 + days) * 24 + hours) * 60 + minutes) * 60
    ticks = seconds * TICKS + int((found[8] or "").ljust(7, "0")[:7])
    if ticks > UNLIMITED_TICKS:
        raise ValueError(f"{text!r} is longer than the longest duration, {UNLIMITED}")
    return -ticks if found[1] else ticks


def duration(value: int | timedelta) -> str:
    """Ticks, or a time span, as the service writes durations: ``PT1H``, ``P1279DT12H30M5S``, ``PT0S``."""
    ticks = value // _MICROSECOND * 10 if isinstance(value, timedelta) else value
    seconds, fraction = divmod(abs(ticks), TICKS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    rest = f".{fraction:07d}".rstrip("0") if fraction else ""
    date = f"{days}D" if days else ""
    time = "".join(
        (
            f"{hours}H" if hours else "",
            f"{minutes}M" if minutes else "",
            f"{seconds}{rest}S" if seconds or fraction else "",
        )
    )
    if not date and not time:
        return "PT0S"
    return f"{'-' if ticks < 0 else ''}P{date}{'T' if time else ''}{time}"


def normal_duration(text: str) -> str:
    """The same duration as the service gives it back.

    Raises:
        ValueError: the text is no duration.
    """
    return duration(parse_duration(text))


def seconds_of(text: str) -> float | None:
    """Seconds of a duration, None for :data:`UNLIMITED`: never do arithmetic on that one.

    Raises:
        ValueError: the text is no duration.
    """
    ticks = parse_duration(text)
    return None if ticks == UNLIMITED_TICKS else ticks / TICKS


# -- ids


def check_id(value: object, name: str = "id") -> str:
    """The id of a job, task, pool or schedule, when it is one: 1 to 64 of ``A-Z a-z 0-9 _ -``.

    Args:
        value: what the client sent.
        name: the property, for the error.

    Raises:
        BatchError: 400 ``InvalidPropertyValue``.
    """
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise invalid_property(
        name,
        value if isinstance(value, str) else None,
        f"An id has 1 to {MAX_ID} characters, each of them a letter, a digit, a hyphen or an underscore.",
    )


# -- JSON


def metadata(base_url: str, fragment: str) -> str:
    """An ``odata.metadata`` value: ``https://host/$metadata#jobs/@Element``."""
    return f"{base_url}/$metadata#{fragment}"


def dumps(value: Any) -> bytes:
    r"""JSON in the service's own layout.

    Objects and arrays open and close on lines of their own (CRLF, two spaces a level); their members are joined by a
    bare comma. An empty one is spelled over two lines all the same. ``odata.metadata`` comes first wherever it stands.
    What is not ASCII is escaped.
    """
    parts: list[str] = []
    _write(value, parts.append, "\r\n")
    return "".join(parts).encode("ascii")


def error_body(base_url: str, error: BatchError, request_id: str, now: datetime) -> bytes:
    """The body of an error.

    Args:
        base_url: the service's own idea of its address, without a slash at the end.
        error: what went wrong.
        request_id: as in the header ``request-id``.
        now: the service's time.
    """
    fragment = "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"
    message = f"{error.message}\nRequestId:{request_id}\nTime:{timestamp(now)}"
    body: dict[str, Any] = {
        "odata.metadata": metadata(base_url, fragment),
        "code": error.code,
        "message": {"lang": "en-US", "value": message},
    }
    if error.values:
        body["values"] = [
            {"key": key} if value is None else {"key": key, "value": value} for key, value in error.values
        ]
    return dumps(body)


def _write(value: Any, out: Any, line: str) -> None:
    if isinstance(value, str):
        out(encode_basestring_ascii(value))
    elif value is True:
        out("true")
    elif value is False:
        out("false")
    elif value is None:
        out("null")
    elif isinstance(value, dict):
        inner = f"{line}  "
        out("{")
        start = inner
        for name, member in _members(value):
            out(start)
            out(encode_basestring_ascii(name))
            out(":")
            _write(member, out, inner)
            start = ","
        out(f"{line}}}" if start == "," else f"{inner}{line}}}")
    elif isinstance(value, (list, tuple)):
        inner = f"{line}  "
        out("[")
        start = inner
        for item in value:
            out(start)
            _write(item, out, inner)
            start = ","
        out(f"{line}]" if start == "," else f"{inner}{line}]")
    elif isinstance(value, (int, float)):
        out(repr(value))
    else:
        raise TypeError(f"{type(value).__name__} does not belong into a Batch answer")


def _members(value: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if "odata.metadata" in value and next(iter(value)) != "odata.metadata":
        rest = ((name, member) for name, member in value.items() if name != "odata.metadata")
        return [("odata.metadata", value["odata.metadata"]), *rest]
    return value.items()
