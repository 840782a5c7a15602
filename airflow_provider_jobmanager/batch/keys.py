"""How members are named when an object becomes a dict, and found when a dict becomes an object.

A *key transformer* is called as ``(key, attr_desc, value)``: the Python name, a mapping with ``key`` (the wire name)
and ``type``, and the member's value. It returns the key to use, or a list of keys to nest. A *key extractor* is called
as ``(attr, attr_desc, data)`` and returns the member's value in ``data``, None when it is not there. Both are the forms
that Microsoft's REST client generator gives its Python models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

KeyTransformer = Callable[[str, Mapping[str, str], Any], Any]
KeyExtractor = Callable[[str, Mapping[str, str], Mapping[str, Any]], Any]


def attribute_transformer(key: str, _attr_desc: Mapping[str, str], _value: Any) -> str:
    """Python names: ``command_line``."""
    return key


def full_restapi_key_transformer(_key: str, attr_desc: Mapping[str, str], _value: Any) -> list[str]:
    """The whole path on the wire, one dict a step. In Batch every path has one step: ``commandLine``."""
    return attr_desc["key"].split(".")


def last_restapi_key_transformer(_key: str, attr_desc: Mapping[str, str], _value: Any) -> str:
    """The last step of the path on the wire."""
    return attr_desc["key"].rpartition(".")[2]


def rest_key_extractor(_attr: str, attr_desc: Mapping[str, str], data: Mapping[str, Any]) -> Any:
    """By the whole path on the wire, case and all."""
    found: Any = data
    for step in attr_desc["key"].split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def rest_key_case_insensitive_extractor(_attr: str, attr_desc: Mapping[str, str], data: Mapping[str, Any]) -> Any:
    """By the whole path on the wire, without regard to case."""
    found: Any = data
    for step in attr_desc["key"].split("."):
        if not isinstance(found, Mapping):
            return None
        found = _find(step, found)
    return found


def attribute_key_case_insensitive_extractor(attr: str, _attr_desc: Mapping[str, str], data: Mapping[str, Any]) -> Any:
    """By the Python name, without regard to case."""
    return _find(attr, data)


def last_rest_key_case_insensitive_extractor(_attr: str, attr_desc: Mapping[str, str], data: Mapping[str, Any]) -> Any:
    """By the last step of the path on the wire, without regard to case."""
    return _find(attr_desc["key"].rpartition(".")[2], data)


def _find(name: str, data: Mapping[str, Any]) -> Any:
    wanted = name.lower()
    return next((value for key, value in data.items() if isinstance(key, str) and key.lower() == wanted), None)
