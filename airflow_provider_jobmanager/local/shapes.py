"""What a request body may hold: small checks put together to shapes.

A check takes a JSON value and the property's path, and gives the value back as the service would keep it (durations
normalised, enumerations in their own case, unset members dropped), or raises the error that the service answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import errors, formats

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[Any, str], Any]

INT32 = 2**31 - 1
_NUMBER = re.compile(r"[+-]?\d{1,10}", re.ASCII)


def text(*, longest: int | None = None, shortest: int = 0) -> Check:
    """A string, of a length."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise _wrong_type(name, "a string", value)
        if len(value) < shortest or (longest is not None and len(value) > longest):
            bounds = f"{shortest} to {longest}" if longest is not None else f"at least {shortest}"
            raise errors.invalid_property(name, value[:200], f"The value must have {bounds} characters")
        return value

    return check


def identifier(value: Any, name: str) -> str:
    """An id of a job, task, pool or schedule."""
    if not isinstance(value, str):
        raise _wrong_type(name, "a string", value)
    return formats.check_id(value, name)


def boolean(value: Any, name: str) -> bool:
    """True or false; in quotes will do, see :func:`integer`."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _wrong_type(name, "a boolean", value)
    return value


def integer(low: int = -INT32 - 1, high: int = INT32, *, code: str = "InvalidPropertyValue") -> Check:
    """A whole number within bounds, both included.

    In quotes will do: OData readers convert a text to the type of its property, and the Azure CLI counts on it.
    """

    def check(value: Any, name: str) -> int:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(name, "an integer", value)
        if not low <= value <= high:
            reason = f"The value must be between {low} and {high}"
            values = [("PropertyName", name), ("PropertyValue", str(value)), ("Reason", reason)]
            raise errors.refuse(code, values=values)
        return value

    return check


def duration(*, shortest: str = "PT0S", longest: str = formats.UNLIMITED) -> Check:
    """An ISO 8601 duration within bounds, normalised."""
    low, high = formats.parse_duration(shortest), formats.parse_duration(longest)

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise _wrong_type(name, "a duration", value)
        try:
            ticks = formats.parse_duration(value)
        except ValueError as error:
            raise errors.refuse("InvalidRequestBody", values={"Reason": f"Property {name}: {error}"}) from None
        if not low <= ticks <= high:
            raise errors.invalid_property(name, value, f"The value must be between {shortest} and {longest}")
        return formats.duration(ticks)

    return check


def moment(value: Any, name: str) -> str:
    """A point in time, normalised."""
    if not isinstance(value, str):
        raise _wrong_type(name, "a date and time", value)
    try:
        return formats.normal_timestamp(value)
    except ValueError as error:
        raise errors.refuse("InvalidRequestBody", values={"Reason": f"Property {name}: {error}"}) from None


def choice(*words: str) -> Check:
    """One of some words, compared without case, kept in the case of the table."""
    table = {word.lower(): word for word in words}

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise _wrong_type(name, "a string", value)
        try:
            return table[value.lower()]
        except KeyError:
            raise errors.invalid_property(name, value, f"The value must be one of {', '.join(words)}") from None

    return check


def list_of(item: Check) -> Check:
    """A list of one kind of things."""

    def check(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong_type(name, "an array", value)
        return [item(each, f"{name}[{index}]") for index, each in enumerate(value)]

    return check


def anything(value: Any, _name: str) -> Any:
    """Whatever JSON it is: kept, and given back as it came."""
    return value


def mapping(value: Any, name: str) -> dict[str, Any]:
    """An object with members of any name."""
    if not isinstance(value, dict):
        raise _wrong_type(name, "an object", value)
    return value


def not_emulated(value: Any, name: str) -> Any:
    """A property of the real service that this one does not act on, and says so rather than ignore it."""
    raise errors.not_emulated(f"The property {name.rpartition('.')[2]}", f"It was sent as {type(value).__name__}.")


def only_false(value: Any, name: str) -> bool:
    """A switch of the real service that does nothing here: it can be off only."""
    if boolean(value, name):
        raise errors.not_emulated(f"The property {name.rpartition('.')[2]}", "It can be false only.")
    return False


class Shape:
    """An object with known members.

    Args:
        required: names of members that must be there.
        members: name on the wire to check; the object is kept in this order.
    """

    def __init__(self, *required: str, **members: Check) -> None:
        self.required = required
        self.members = members

    def __call__(self, value: Any, name: str = "") -> dict[str, Any]:
        """Check an object."""
        if not isinstance(value, dict):
            raise _wrong_type(name or "of the whole body", "an object", value)
        prefix = f"{name}." if name else ""
        for unknown in value.keys() - self.members.keys():
            if not unknown.startswith("odata."):
                raise errors.refuse(
                    "InvalidRequestBody",
                    values={"Reason": f"The property '{prefix}{unknown}' is not known to this api-version"},
                )
        for needed in self.required:
            if value.get(needed) is None:
                raise errors.refuse("MissingRequiredProperty", values={"PropertyName": f"{prefix}{needed}"})
        return {
            member: check(value[member], f"{prefix}{member}")
            for member, check in self.members.items()
            if value.get(member) is not None
        }


def _wrong_type(name: str, wanted: str, value: Any) -> errors.BatchError:
    found = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
    return errors.refuse("InvalidRequestBody", values={"Reason": f"Property {name} must be {wanted}, not {found}"})
