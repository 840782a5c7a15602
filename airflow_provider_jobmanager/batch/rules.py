"""What the Batch service refuses, known before it is asked.

:func:`check` goes through an object and all it holds and reports every broken rule at once: what each member says of
its own value (required, length, characters, range; declared with the members), and what holds between members
(:mod:`.relations`).

While a DAG is parsed, values that Airflow has yet to render are left alone, and so is every rule that depends on one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_jobmanager.batch import values
from airflow_provider_jobmanager.batch.findings import BOUND, Findings, ValidationError, join
from airflow_provider_jobmanager.batch.model import Model
from airflow_provider_jobmanager.batch.relations import RELATIONS, Seen, shown
from airflow_provider_jobmanager.errors import PayloadError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.fields import Field

LARGEST_REQUEST: Final = 1024 * 1024
"""Bytes of a request body; more is answered 413 ``RequestBodyTooLarge`` with MaxLimit 1048576 (recorded traffic)."""


def check(model: Model, *, parse_time: bool = False) -> list[ValidationError]:
    """Every broken rule of an object and of all it holds; empty when all is well.

    Args:
        model: the object.
        parse_time: leave out what Airflow has yet to render.
    """
    findings = Findings(parse_time=parse_time)
    _walk(model, "", findings)
    if not parse_time:
        _check_size(model, findings)
    return list(dict.fromkeys(findings))


def _walk(model: Model, path: str, findings: Findings) -> None:
    members: dict[str, Any] = {}
    for name, field in model._fields.items():
        where = join(path, name)
        value = members[name] = field.load(getattr(model, name), where, findings)
        if value is None:
            if field.required and not (field.late and findings.parse_time):
                findings.append(ValidationError(where, "required", "must be set", ""))
        elif field.many and isinstance(value, list):
            if len(value) > field.limits.get("most", len(value)):
                findings.add(where, "length", f"expected at most {field.limits['most']} items", value)
            for index, item in enumerate(value):
                _judge(field, item, f"{where}[{index}]", findings)
        else:
            _judge(field, value, where, findings)
    if not isinstance(model.additional_properties, dict):
        findings.add(join(path, "additional_properties"), "type", "expected a mapping", model.additional_properties)
    if undeclared := model.undeclared():
        names = ", ".join(name[:BOUND] for name in undeclared[:5])
        message = f"call {type(model).__name__}.enable_additional_properties_sending() to send undeclared members"
        findings.append(ValidationError(join(path, "additional_properties"), "unknown", message, names))
    seen = Seen(path, model._fields, members, findings)
    for cls in type(model).__mro__:
        for rule in RELATIONS.get(cls, ()):
            rule(seen)


def _judge(field: Field, value: Any, path: str, findings: Findings) -> None:
    if isinstance(value, Model):
        _walk(value, path, findings)
    elif field.kind == "text" and isinstance(value, str):
        _judge_text(field, value, path, findings)
    elif field.kind == "integer" and isinstance(value, int) and not isinstance(value, bool):
        low, high = field.limits.get("low", -(2**31)), field.limits.get("high", 2**31 - 1)
        if not low <= value <= high:
            findings.add(path, "range", _between(low, high, field.limits), value)
    elif field.kind == "duration" and isinstance(value, str):
        try:
            count = values.ticks(value)
        except values.Unfit:
            return  # told as a wrong type already
        low, high = field.limits.get("low", 0), field.limits.get("high", values.LONGEST // values.TICKS + 1)
        if not low * values.TICKS <= count <= high * values.TICKS:
            findings.add(path, "range", f"{_between(low, high, field.limits)} seconds", value, found=value[:BOUND])


def _judge_text(field: Field, value: str, path: str, findings: Findings) -> None:
    limits = field.limits
    if not value and not limits.get("empty", not field.required):
        findings.add(path, "required", "must not be empty", value)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        findings.add(path, "characters", "must be Unicode text without NUL characters", value)
    if len(value) > limits.get("longest", len(value)):
        findings.add(path, "length", f"expected at most {limits['longest']} characters", value)
    pattern = limits.get("pattern")
    if pattern is not None and (value or not field.required) and not re.fullmatch(pattern, value):
        findings.add(path, "pattern", f"expected {limits['expected']}", value, found=shown(field, value))


def _between(low: int, high: int, limits: dict[str, Any]) -> str:
    if "low" in limits and "high" in limits:
        return f"expected {low} to {high}"
    return f"expected at least {low}" if "low" in limits else f"expected at most {high}"


def _check_size(model: Model, findings: Findings) -> None:
    try:
        findings.extend(too_large(model.serialize()))
    except PayloadError as error:
        told = {finding.path for finding in findings}
        findings.extend(finding for finding in error.errors if finding.path not in told)


def too_large(body: dict[str, Any], *, spare: int = 0) -> list[ValidationError]:
    """What is to be said of the size of a request body.

    Args:
        body: as it is sent.
        spare: bytes that may be added to it.
    """
    size = len(json.dumps(body))
    if size + spare <= LARGEST_REQUEST:
        return []
    message = f"expected a request of at most {LARGEST_REQUEST} bytes"
    message += f", {spare} of them for what is added as it is sent" if spare else ""
    return [ValidationError("", "size", message, f"{size} bytes")]
