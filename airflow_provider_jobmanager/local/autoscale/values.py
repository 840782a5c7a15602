"""Values of the formula language: what they are, what can be done with them, and the samples.

A number is a float, a vector a list of floats, a timestamp a datetime, a timeinterval a timedelta, a string a str.
"""

from __future__ import annotations

import math
import random
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.local.formats import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SAMPLE_PERIOD = timedelta(seconds=30)
"""How often the service takes samples."""


PLAIN = ("$CurrentDedicatedNodes", "$CurrentLowPriorityNodes", "$PreemptedNodeCount", "$TaskSlotsPerNode")
"""Variables with one value."""

SAMPLED = (
    "$ActiveTasks",
    "$RunningTasks",
    "$PendingTasks",
    "$SucceededTasks",
    "$FailedTasks",
    "$CurrentDedicatedNodes",
    "$CurrentLowPriorityNodes",
    "$PreemptedNodeCount",
    "$UsableNodeCount",
)
"""Variables with samples, by ``GetSample`` and its kin."""

MACHINE = (
    "$CPUPercent",
    "$WallClockSeconds",
    "$MemoryBytes",
    "$DiskBytes",
    "$DiskReadBytes",
    "$DiskWriteBytes",
    "$DiskReadOps",
    "$DiskWriteOps",
    "$NetworkInBytes",
    "$NetworkOutBytes",
    "$SampleNodeCount",
)
"""Metrics of machines, which are refused by name."""

_DAY = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?", re.ASCII)

INTERVALS: dict[str, timedelta] = {
    "TimeInterval_Zero": timedelta(),
    "TimeInterval_100ns": timedelta(),
    "TimeInterval_Microsecond": timedelta(microseconds=1),
    "TimeInterval_Millisecond": timedelta(milliseconds=1),
    "TimeInterval_Second": timedelta(seconds=1),
    "TimeInterval_Minute": timedelta(minutes=1),
    "TimeInterval_Hour": timedelta(hours=1),
    "TimeInterval_Day": timedelta(days=1),
    "TimeInterval_Week": timedelta(weeks=1),
    "TimeInterval_Year": timedelta(days=365),
}

Sample = tuple[datetime, float]
Place = tuple[int, int]
Value = Any


class FormulaError(Exception):
    """A formula that can't be read, or not be evaluated.

    Attributes:
        text: ``Line 1, Col 5: ...``.
        syntax: it can't be read at all.
    """

    def __init__(self, place: tuple[int, int], reason: str, *, syntax: bool = False) -> None:
        self.text = f"Line {place[0]}, Col {place[1]}: {reason}"
        self.syntax = syntax
        super().__init__(self.text)

    def as_run_error(self) -> dict[str, Any]:
        """The ``error`` of an ``autoScaleRun``."""
        return {
            "code": "AutoScalingFormulaEvaluationError",
            "message": "An error occurred while evaluating the auto-scaling formula.",
            "values": [{"name": "Message", "value": self.text}],
        }


class Stopped(Exception):  # noqa: N818 - it is none: what was assigned so far counts
    """``stop()`` ends the evaluation."""


@define
class Surroundings:
    """What a formula is evaluated against.

    Attributes:
        now: the service's time.
        values: of :data:`PLAIN` and the present targets, by name.
        samples: of :data:`SAMPLED`, by name, oldest first.
    """

    now: datetime
    values: Mapping[str, float] = field(factory=dict)
    samples: Mapping[str, Sequence[Sample]] = field(factory=dict)


def kind(value: Value) -> str:
    """The language's name for the type of a value."""
    kinds = {float: "double", list: "doubleVec", datetime: "timestamp", timedelta: "timeinterval", str: "string"}
    return kinds[type(value)]


def arithmetic(operator: str, left: Value, right: Value, place: Place) -> Value:
    """``left operator right``; with a vector, element by element.

    Raises:
        FormulaError: the operator can't be applied to these.
    """
    if isinstance(left, list) or isinstance(right, list):
        return _elementwise(operator, left, right, place)
    try:
        result = _OPERATIONS[operator](left, right)
    except TypeError:
        what = f"{operator} can't be applied to a {kind(left)} and a {kind(right)}"
        raise FormulaError(place, what) from None
    except ZeroDivisionError:
        raise FormulaError(place, "division by zero") from None
    except (OverflowError, ValueError):  # a time span takes no NaN
        raise FormulaError(place, f"the result of {operator} is out of range") from None
    return float(result) if isinstance(result, (bool, int)) else result


def _elementwise(operator: str, left: Value, right: Value, place: Place) -> list[float]:
    size = len(left) if isinstance(left, list) else len(right)
    lefts = left if isinstance(left, list) else [left] * size
    rights = right if isinstance(right, list) else [right] * size
    if len(lefts) != len(rights):
        raise FormulaError(place, f"{operator} needs vectors of one length, not {len(lefts)} and {len(rights)}")
    return [arithmetic(operator, one, other, place) for one, other in zip(lefts, rights, strict=True)]


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


# -- functions


def _flat(arguments: Sequence[Value]) -> list[float]:
    numbers: list[float] = []
    for argument in arguments:
        numbers.extend(argument if isinstance(argument, list) else [argument])
    if not all(isinstance(number, float) for number in numbers):
        raise TypeError("numbers or vectors of numbers are wanted")
    if not numbers:
        raise ValueError("there are no numbers to work on")
    return numbers


def _each(function: Callable[[float], float]) -> Callable[..., Value]:
    """Of one number a number, of anything else a vector."""

    def apply(*arguments: Value) -> Value:
        numbers = [function(number) for number in _flat(arguments)]
        return numbers[0] if len(arguments) == 1 and not isinstance(arguments[0], list) else numbers

    return apply


def _val(vector: Value, place: float) -> float:
    numbers = _flat([vector])
    if not 0 <= place < len(numbers):
        raise ValueError(f"element {place:g} of a vector of {len(numbers)} is asked for")
    return numbers[int(place)]


def _deviation(*arguments: Value) -> float:
    numbers = _flat(arguments)
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1)) if len(numbers) > 1 else 0.0


def _percentile(vector: Value, percent: float) -> float:
    numbers = sorted(_flat([vector]))
    place = (len(numbers) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(numbers) - 1)
    return numbers[low] + (numbers[high] - numbers[low]) * (place - low)


def _length(*arguments: Value) -> float:
    return float(sum(len(argument) if isinstance(argument, list) else len(_flat([argument])) for argument in arguments))


def _time(text: str) -> datetime:
    """W3C-DTF, which may end with the year, the month or the day, or RFC 1123."""
    found = _DAY.fullmatch(text.strip())
    if found is not None:
        year, month, day = (int(part or 1) for part in found.groups())
        return datetime(year, month, day, tzinfo=timezone.utc)
    return parse_timestamp(text)


def _stop() -> Value:
    raise Stopped


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "avg": lambda *arguments: sum(_flat(arguments)) / len(_flat(arguments)),
    "len": _length,
    "lg": _each(math.log2),
    "ln": _each(math.log),
    "log": _each(math.log10),
    "max": lambda *arguments: max(_flat(arguments)),
    "min": lambda *arguments: min(_flat(arguments)),
    "norm": lambda *arguments: math.hypot(*_flat(arguments)),
    "percentile": _percentile,
    "rand": random.random,
    "range": lambda *arguments: max(_flat(arguments)) - min(_flat(arguments)),
    "round": _each(lambda number: float(math.floor(number + 0.5))),
    "std": _deviation,
    "stop": _stop,
    "sum": lambda *arguments: sum(_flat(arguments)),
    "time": _time,
    "val": _val,
    "vec": lambda *arguments: _flat(arguments),
}
"""Functions of the language; ``time()`` without an argument is the service's time.

They are those of the documentation's table, and ``round``. There is no ``ceil``, ``floor``, ``exp`` or ``pow`` in it,
so these are refused by name.
"""

PARTS: dict[str, Callable[[datetime], int]] = {
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
    "weekday": lambda moment: moment.isoweekday() % 7,  # Sunday is 0
}


# -- samples


def _window(start: Value, end: Value, now: datetime) -> tuple[datetime, datetime]:
    """The interval that ``start`` and ``end`` name: moments, or how long ago."""
    first = now - start if isinstance(start, timedelta) else start
    last = now - end if isinstance(end, timedelta) else end
    return first, last


def _sample_percent(samples: Sequence[Sample], first: datetime, last: datetime) -> float:
    wanted = (last - first) // SAMPLE_PERIOD
    found = sum(1 for moment, _ in samples if first <= moment <= last)
    return 100.0 if wanted <= 0 else min(100.0, 100.0 * found / wanted)


def sampled(name: str, method: str, arguments: Sequence[Value], around: Surroundings) -> Value:
    """What a method of a sampled variable gives: ``$ActiveTasks.GetSample(TimeInterval_Minute * 5, 70)``.

    Raises:
        ValueError: fewer samples than the wanted percentage.
    """
    samples = around.samples.get(name, ())
    if method == "Count":
        return float(len(samples))
    if method == "GetSamplePeriod":
        return SAMPLE_PERIOD
    if method == "HistoryBeginTime":
        return samples[0][0] if samples else around.now
    if method == "GetSample" and isinstance(arguments[0], float):
        newest = [float(value) for _, value in samples[-max(1, int(arguments[0])) :]]
        return newest[::-1]
    moments = [part for part in arguments if isinstance(part, (datetime, timedelta))]
    first, last = _window(moments[0], moments[1] if len(moments) > 1 else timedelta(), around.now)
    percent = _sample_percent(samples, first, last)
    if method == "GetSamplePercent":
        return percent
    wanted = next((part for part in arguments if isinstance(part, float)), 0.0)
    if percent < wanted:
        raise ValueError(f"Insufficient data from data set: {name} wanted {wanted:g}%, received {percent:g}%")
    return [float(value) for moment, value in samples if first <= moment <= last][::-1]


METHODS = ("GetSample", "GetSamplePercent", "GetSamplePeriod", "Count", "HistoryBeginTime")
