"""What a member of a payload object is: its names, what it holds, how a value becomes that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.batch import values
from airflow_provider_jobmanager.batch.values import Unfit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_jobmanager.batch.findings import Findings
    from airflow_provider_jobmanager.batch.keys import KeyExtractor
    from airflow_provider_jobmanager.batch.model import Model


class Field:
    """One member of a payload object: how it is called, what it holds, what holds for its value alone.

    Attributes:
        name: Python name.
        wire: name on the wire.
        kind: ``text``, ``integer``, ``flag``, ``duration``, ``choice``, ``object`` or ``free`` (any JSON).
        model: the class of an object.
        many: a list of such values.
        named: for a list of objects with a name and a value: a ``{name: value}`` mapping is taken too.
        choices: for a choice, the service's spelling by the lower-case one.
        required: must be set.
        late: may be missing while the DAG is parsed, as the operator fills it in.
        private: its text may hold a secret, so it is never told.
        local: ours alone, never on the wire.
        readonly: set by the service.
        limits: what is checked of the value alone: ``low`` and ``high`` (of a duration in seconds), ``longest``,
            ``pattern`` with ``expected`` (the pattern in words), ``exact`` (a number is no text), ``json`` (a mapping
            or a list is the text of its JSON), ``empty`` (whether a text may be empty; a required one may not unless
            this says so), ``most`` (items of a list).
    """

    __slots__ = (
        "aliases", "choices", "kind", "late", "limits", "local", "many", "model", "name", "named", "private",
        "readonly", "required", "wire",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        *,
        wire: str = "",
        model: type[Model] | None = None,
        choices: Iterable[str] = (),
        many: bool = False,
        named: bool = False,
        required: bool = False,
        late: bool = False,
        private: bool = False,
        local: bool = False,
        readonly: bool = False,
        aliases: tuple[str, ...] = (),
        **limits: Any,
    ) -> None:
        self.kind, self.wire, self.model, self.many, self.named = kind, wire, model, many, named
        self.choices = {spelling.lower(): spelling for spelling in choices}
        self.required, self.late, self.private, self.local, self.readonly = required, late, private, local, readonly
        self.aliases, self.limits = aliases, limits
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        head, *tail = name.split("_")
        self.wire = self.wire or head + "".join(part.capitalize() for part in tail)

    @property
    def desc(self) -> dict[str, str]:
        """The member as key transformers and extractors see it: ``key``, the wire name, and ``type``."""
        kinds = {"text": "str", "integer": "int", "flag": "bool", "choice": "str", "free": "object"}
        kind = self.model.__name__ if self.model else kinds.get(self.kind, self.kind)
        return {"key": self.wire, "type": f"[{kind}]" if self.many else kind}

    def load(self, value: Any, path: str, findings: Findings, extractors: Sequence[KeyExtractor] | None = None) -> Any:
        """Turn a value into what the member holds; what is unfit is noted in ``findings`` and kept as it is."""
        if value is None:
            return None
        if not self.many:
            return self._load_one(value, path, findings, extractors)
        if isinstance(value, str):
            if values.unset(value):
                return None
            found = values.structure(value)
            value = value if found is None else found
        if self.named and isinstance(value, Mapping):
            if {str(key).lower() for key in value} == {"name", "value"}:
                message = "expected a list of names and values, or a mapping from name to value; this may be either"
                findings.add(path, "ambiguous", message, value)
                return value
            value = _from_names(value)
        if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Sequence):
            findings.add(path, "type", "expected a list", value)
            return value
        return [self._load_one(item, f"{path}[{index}]", findings, extractors) for index, item in enumerate(value)]

    def _load_one(self, value: Any, path: str, findings: Findings, extractors: Sequence[KeyExtractor] | None) -> Any:
        if self.model is not None:
            return self._load_object(self.model, value, path, findings, extractors)
        if self.kind == "free":
            return value
        try:
            if self.kind == "text":
                if self.limits.get("json"):
                    return values.json_text(value)
                return values.text(value, exact=self.limits.get("exact", False))
            if self.kind == "choice":
                return values.choice(value, self.choices)
            convert = {"integer": values.integer, "flag": values.flag, "duration": values.duration}[self.kind]
            return convert(value)
        except Unfit as unfit:
            if not (findings.parse_time and self.limits.get("json") and values.holds_templates(value)):
                findings.add(path, "type", str(unfit), value, found="nothing" if value is None else None)
            return value

    def _load_object(
        self,
        model: type[Model],
        value: Any,
        path: str,
        findings: Findings,
        extractors: Sequence[KeyExtractor] | None,
    ) -> Any:
        if isinstance(value, model):
            return value
        given = value
        if isinstance(value, str):
            if values.unset(value) and not self.many:
                return None
            given = values.structure(value)
        if isinstance(given, Mapping):
            return model._build(given, path, findings, extractors)  # noqa: SLF001 - one machinery, two classes
        findings.add(path, "type", f"expected {model.__name__}", value, found="nothing" if value is None else None)
        return value


def text(**options: Any) -> Any:
    """A member that holds a text. Limits: ``longest``, ``pattern``, ``exact``, ``json``, ``empty``."""
    return Field("text", **options)


def integer(**options: Any) -> Any:
    """A member that holds a whole number. Limits: ``low``, ``high``."""
    return Field("integer", **options)


def flag(**options: Any) -> Any:
    """A member that holds true or false."""
    return Field("flag", **options)


def duration(**options: Any) -> Any:
    """A member that holds a duration. Limits in seconds: ``low``, ``high``."""
    return Field("duration", **options)


def choice(*choices: str, **options: Any) -> Any:
    """A member that holds one of a few texts, given in the service's spelling."""
    return Field("choice", choices=choices, **options)


def one(model: type[Model], **options: Any) -> Any:
    """A member that holds one object."""
    return Field("object", model=model, **options)


def many(model: type[Model], **options: Any) -> Any:
    """A member that holds a list of objects."""
    return Field("object", model=model, many=True, **options)


def free(**options: Any) -> Any:
    """A member that holds any JSON."""
    return Field("free", **options)


def _from_names(value: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    """Names and values of a mapping; a value may be an object itself, to be marked ``secret``.

    Any other mapping is a value, which native rendering made of the JSON that a template wrote. One with more than the
    members of an object counts as an object: a misspelt mark must be an error, not a secret in clear.
    """
    return [
        {**item, "name": name}
        if isinstance(item, Mapping) and any(str(key).lower() in {"value", "secret"} for key in item)
        else {"name": name, "value": item}
        for name, item in value.items()
    ]
