"""From what a user or a template wrote to what a member of a payload holds.

Airflow renders templates to text (``"4"``, ``"false"``, ``"PT1H"``), or to Python objects under
``render_template_as_native_obj``. Each function here takes either and gives the one value that goes on the wire, or
raises :class:`Unfit`. None of them ever puts a text it was given into a message: it may be a secret.

What counts as unset: None everywhere; ``""``, ``"None"`` and ``"null"`` for everything but texts, since that is what an
optional parameter renders to. A text stays what it is, even when empty.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import Enum
from typing import Any

TICKS = 10_000_000
"""Ticks in a second: the service counts time in units of 100 ns, as .NET's TimeSpan does."""

LONGEST = 2**63 - 1
"""The longest duration in ticks. The service writes it as ``P10675199DT2H48M5.4775807S`` and means "unlimited"."""

DEEPEST = 64
"""How deep plain data may be nested; a Batch job needs about ten levels."""

_UNSET = frozenset({"", "none", "null"})
_MARKS = ("{{", "{%", "{#")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(?:\.0{1,9})?")
_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,12})?")
_NUMBER = r"([0-9]{1,15}(?:[.,][0-9]{1,12})?)"
_ISO = re.compile(
    rf"([+-])?P(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_AS_TEXT = re.compile(r"(?:(-?[0-9]{1,9}) days?, )?([01]?[0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{6}))?")
"""How Python writes a timedelta, and so Jinja."""
_DAY = 86_400 * TICKS
# A year is 365 days and a month 30: so the service itself flattens them (recorded traffic: P3Y6M4DT12H30M5S was read
# back as P1279DT12H30M5S).
_DATE_UNITS = (365 * _DAY, 30 * _DAY, 7 * _DAY, _DAY)
_TIME_UNITS = (3600 * TICKS, 60 * TICKS, TICKS)
_LONGEST_TEXT = 1024 * 1024
_LARGE = 64  # bits; no number of the service has more, and writing out a huge one takes long


class Unfit(ValueError):  # noqa: N818 - a finding that validate() reports, seldom an error on its own
    """A value can't become what its member holds; the message says what is expected."""


def form(value: Any) -> str:
    """The form of a value in words, safe to log: ``a text of 12 characters``. Only numbers and booleans are shown."""
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= _LARGE else "a very large number"
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)} members"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)} items"
    return f"an object of type {type(value).__name__}"


def templated(value: Any) -> bool:
    """Whether a value can only be judged once Airflow has rendered it.

    True for a text with template marks and for what is no plain data (an ``XComArg``, a mapped argument). A list or a
    mapping is judged by what it holds, item by item, so it is never templated itself.
    """
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS)
    return not plain_data(value)


def holds_templates(value: Any, depth: int = 0) -> bool:
    """Whether a value, or anything in it, is templated."""
    if not isinstance(value, (Mapping, list, tuple)):
        return templated(value)
    inside = value.values() if isinstance(value, Mapping) else value
    return depth < DEEPEST and any(holds_templates(item, depth + 1) for item in inside)


def unset(value: str) -> bool:
    """Whether a text says "nothing" to a member that holds no text: what an unset parameter renders to."""
    return value.strip().lower() in _UNSET


def plain_data(value: Any) -> bool:
    """Whether a value is data that this package knows, as against an object that Airflow resolves later."""
    return value is None or isinstance(value, (str, int, float, bytes, date, timedelta, Mapping, Sequence, Enum))


def text(value: Any, *, exact: bool = False) -> str:
    """A text. Numbers, booleans, dates and paths become what Jinja would have written for them.

    So native and text rendering agree: a task id ``"{{ params.number }}"`` is ``"7"`` either way.

    Args:
        value: what was given.
        exact: take texts only, for members where a number does not tell how it was meant (``file_mode``).

    Raises:
        Unfit: the value has no such text.
    """
    if isinstance(value, Enum):
        value = value.value
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    if exact:
        raise Unfit("expected a text in quotes: what a number shows may not be what was written")
    if isinstance(value, int) and value.bit_length() > _LARGE:
        raise Unfit("expected a text")
    if isinstance(value, (int, float, date)) or is_path(value):
        return str(value)
    raise Unfit("expected a text")


def is_path(value: Any) -> bool:
    """Whether a value is an object that stands for a path, and so for its text."""
    return hasattr(type(value), "__fspath__")


def json_text(value: Any) -> str:
    """A text, as :func:`text`; a mapping or a list becomes the JSON that Jinja's ``tojson`` writes for it.

    Under native rendering ``"{{ params.wanted | tojson }}"`` is a mapping again.

    Raises:
        Unfit: the value has neither text nor JSON.
    """
    if not isinstance(value, (Mapping, list, tuple)):
        return text(value)
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise Unfit("expected a text, or what JSON can hold") from None


def integer(value: Any) -> int | None:
    """A whole number, from a number or from its text (``"4"``, ``4.0``).

    Raises:
        Unfit: the value is no whole number; true and false are none either.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        stripped = value.strip()
        if unset(stripped):
            return None
        if _WHOLE.fullmatch(stripped):
            return int(stripped.partition(".")[0])
    elif isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() <= _LARGE:
            return int(value)
    elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    raise Unfit("expected a whole number")


def flag(value: Any) -> bool | None:
    """True or false, from a boolean or from the text ``true`` or ``false`` in any case.

    Raises:
        Unfit: the value is neither; 1 and 0 are not taken, since they are more likely a mistake.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if unset(value):
            return None
        lowered = value.strip().lower()
        if lowered in {"true", "false"}:
            return lowered == "true"
    raise Unfit("expected true or false")


def choice(value: Any, choices: Mapping[str, str]) -> str | None:
    """One of the texts that the service knows, in the service's own case.

    Args:
        value: a text in any case, or a member of an SDK enum.
        choices: the service's spelling by the lower-case one.

    Raises:
        Unfit: the value is none of them.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        known = choices.get(value.strip().lower())
        if known is not None:
            return known
        if unset(value):
            return None
    raise Unfit(f"expected one of {', '.join(choices.values())}")


def duration(value: Any) -> str | None:
    """A duration as ISO 8601 text in the form the service reads it back (``PT1H``).

    Args:
        value: ISO 8601 text, a number of seconds, such a number as text, a timedelta, or its text
            (``2 days, 1:00:00``).

    Raises:
        Unfit: the value is no duration, or longer than the service can hold.
    """
    if isinstance(value, str) and unset(value):
        return None
    return _iso(ticks(value))


def ticks(value: Any) -> int:
    """A duration in ticks of 100 ns, from all that :func:`duration` takes.

    Raises:
        Unfit: as :func:`duration`.
    """
    result = _ticks(value)
    if result is None:
        raise Unfit("expected a duration: ISO 8601 such as PT1H30M, a number of seconds, or a timedelta")
    if abs(result) > LONGEST:
        raise Unfit("expected a duration of at most 10675199 days")
    return result


def _ticks(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, timedelta):
        return ((value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds) * 10
    if isinstance(value, int):
        return value * TICKS
    if isinstance(value, float):
        count = value * TICKS  # infinite for a large number, too
        return round(count) if math.isfinite(count) else None
    if not isinstance(value, str):
        return None
    stripped = value.strip()
    if _SECONDS.fullmatch(stripped):
        sign = -1 if stripped.startswith("-") else 1
        return sign * _scaled(stripped.lstrip("+-"), TICKS)
    if written := _AS_TEXT.fullmatch(stripped):
        days, *rest = (int(part or 0) for part in written.groups())
        return days * _DAY + sum(count * unit for count, unit in zip(rest, (*_TIME_UNITS, 10), strict=True))
    match = _ISO.fullmatch(stripped.upper())
    if match is None or match[6] == "T":
        return None
    parts = [*match.groups()[1:5], *match.groups()[6:]]
    if not any(parts) and stripped != "P":  # so azure-batch 15.1.0 writes a timedelta of nothing
        return None
    total = sum(
        _scaled(part, unit) for part, unit in zip(parts, (*_DATE_UNITS, *_TIME_UNITS), strict=True) if part is not None
    )
    return -total if match[1] == "-" else total


def _scaled(number: str, unit: int) -> int:
    whole, _, fraction = number.replace(",", ".").partition(".")
    return int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def _iso(count: int) -> str:
    sign = "-" if count < 0 else ""
    seconds, fraction = divmod(abs(count), TICKS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    second = f"{seconds}.{fraction:07d}".rstrip("0") if fraction else str(seconds)
    time = "".join(
        f"{amount}{unit}" for amount, unit in ((hours, "H"), (minutes, "M"), (second, "S")) if amount not in {0, "0"}
    )
    if not (days or time):
        return "PT0S"
    return f"{sign}P{f'{days}D' if days else ''}{f'T{time}' if time else ''}"


def structure(value: str) -> Any:
    """The list or mapping that a text spells, in JSON or as a Python literal; None when it spells neither.

    A template of a whole structure (``"{{ ti.xcom_pull('files') }}"``) renders to such a text.
    """
    stripped = value.strip()
    if not stripped.startswith(("[", "{", "(")) or len(stripped) > _LONGEST_TEXT:
        return None
    try:
        found = json.loads(stripped)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as an unknown escape in a text that somebody else wrote
                found = ast.literal_eval(stripped)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, (list, tuple, dict)) else None
