"""Broken rules: what one is, and where they are gathered."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from airflow_provider_jobmanager.batch import values

BOUND: Final = 60
"""Characters of a value or a name that a message shows at most."""


class ValidationError(NamedTuple):
    """One broken rule.

    Attributes:
        path: where, in Python names: ``resource_files[2].http_url``; empty for the object as a whole.
        rule: a short name of the rule: ``required``, ``type``, ``exclusive``, ``range`` …
        message: what is expected, in words.
        value: what was found, bounded, and never a text that may be a secret.
    """

    path: str
    rule: str
    message: str
    value: str

    def __str__(self) -> str:
        found = f"; found {self.value}" if self.value else ""
        return f"{self.path or 'the whole'}: {self.message}{found} [{self.rule}]"


class Findings(list[ValidationError]):
    """Broken rules, as they are found.

    Attributes:
        parse_time: leave out what can only be judged once Airflow has rendered it.
    """

    def __init__(self, *, parse_time: bool = False) -> None:
        super().__init__()
        self.parse_time = parse_time

    def add(self, path: str, rule: str, message: str, value: Any = None, *, found: str | None = None) -> None:
        """Note a broken rule, unless its value is yet to be rendered.

        Args:
            path: where.
            rule: short name of the rule.
            message: what is expected.
            value: what was found; only its form is told.
            found: what to tell instead of the form.
        """
        if self.parse_time and values.templated(value):
            return
        if found is None:
            found = "" if value is None else values.form(value)
        self.append(ValidationError(path, rule, message, found))


def join(path: str, name: str) -> str:
    """A path and one more step."""
    return f"{path}.{name}" if path else name
