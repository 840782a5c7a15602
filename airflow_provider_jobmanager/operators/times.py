"""Arguments that are a time: seconds, and where they limit something a timedelta likewise."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from airflow_provider_jobmanager.errors import ConfigurationError


def seconds_of(limit: float | timedelta | None) -> float | None:
    """A limit in seconds, None for none."""
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def shortest(*limits: float | timedelta | None) -> float | None:
    """The shortest of some limits in seconds, None when there is none."""
    return min((seconds for limit in limits if (seconds := seconds_of(limit)) is not None), default=None)


def check_seconds(name: str, value: Any) -> None:
    """Find at parse time what is no number of seconds above 0.

    Raises:
        ConfigurationError: names the argument.
    """
    if not _is_number(value) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be seconds above 0, not {value!r}.")


def check_limit(name: str, value: Any, *, zero: bool = False) -> None:
    """Find at parse time what is no limit of a time: None, seconds or a timedelta.

    Args:
        name: the argument.
        value: what was given for it.
        zero: whether it may be 0, or infinite.

    Raises:
        ConfigurationError: names the argument.
    """
    if value is None:
        return
    seconds: Any = seconds_of(value)
    if not _is_number(seconds) or seconds < 0 or (not zero and seconds in {0, math.inf}):
        least = "0 or more seconds" if zero else "seconds above 0"
        raise ConfigurationError(f"{name} must be {least}, as a number or a timedelta, not {value!r}.")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # a whole number beyond all bounds
        return False
