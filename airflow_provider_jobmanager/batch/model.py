"""What every object of a payload has in common: members, spellings, conversion, the dict it becomes.

A class declares its members once::

    class TaskConstraints(Model):
        max_wall_clock_time: Any = duration(low=1)

and gets from it a keyword-only constructor, ``from_dict`` and ``as_dict``, equality, and its part of ``validate``.

Values are converted when they are set and as far as they can be: ``"4"`` becomes 4, a dict becomes the object it
describes. What can't be converted (yet) is kept untouched, be it a template, an ``XComArg`` or a mistake; nothing is
refused before :meth:`Model.validate`. Only a name that nobody knows is refused at once by :meth:`Model.from_dict`.

The classes are built by this module and not by a library of the kind since a DAG file imports them at every parse:
all of them together cost about two milliseconds.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_jobmanager.batch import values
from airflow_provider_jobmanager.batch.fields import Field
from airflow_provider_jobmanager.batch.findings import Findings, ValidationError, join
from airflow_provider_jobmanager.batch.keys import (
    KeyExtractor,
    KeyTransformer,
    attribute_transformer,
    full_restapi_key_transformer,
)
from airflow_provider_jobmanager.batch.values import Unfit
from airflow_provider_jobmanager.errors import DeserializationError, PayloadError

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[type], type]:
        """Tell type checkers that annotations make a constructor; nothing at run time."""
        return lambda cls: cls


class _Constructor:
    """The signature of a model's constructor, made when somebody asks (``help``, editors, test generators)."""

    def __get__(self, _instance: object, owner: type[Model]) -> Signature:
        names = [*owner._fields, "additional_properties"]
        return Signature([Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in names])


# No field specifiers: to a type checker every member has a default, so a missing one is left to validate().
@dataclass_transform(kw_only_default=True)
class _Declared:
    """What type checkers need to know of :class:`Model`, apart so that they see its own member too."""


class Model(_Declared):
    """Base of the payload's classes. See the module for how its members behave.

    Attributes:
        additional_properties: members that the class does not declare, by their wire names; they go out only after
            :meth:`enable_additional_properties_sending`.
    """

    _fields: ClassVar[dict[str, Field]] = {}
    _names: ClassVar[dict[str, Field]] = {}
    _sends_additional: ClassVar[bool] = False
    __signature__ = _Constructor()
    __hash__ = None  # type: ignore[assignment]  # it can be changed

    if TYPE_CHECKING:
        additional_properties: Any = None
    else:

        def __init__(self, **members: Any) -> None:
            self.additional_properties = {}
            for name in self._fields:
                self.__dict__[name] = None
            for name, value in members.items():
                if name != "additional_properties" and name not in self._fields:
                    raise TypeError(f"{type(self).__name__}() has no member '{_name(name)}'{self._hint(name)}")
                setattr(self, name, value)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        cls._fields = {**cls._fields, **own}
        cls._names = {
            spelling.lower(): field
            for field in cls._fields.values()
            for spelling in (*field.aliases, field.wire, field.name)
        }
        for name in own:
            delattr(cls, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "additional_properties":
            self.__dict__[name] = {} if value is None else dict(value) if isinstance(value, Mapping) else value
            return
        field = self._fields.get(name)
        if field is None:
            raise AttributeError(f"{type(self).__name__} has no member '{_name(name)}'{self._hint(name)}")
        self.__dict__[name] = field.load(value, name, Findings())

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __repr__(self) -> str:
        from airflow_provider_jobmanager.batch.secrets import (  # noqa: PLC0415 - it knows this module
            redact,
            secret_values,
        )

        members = self._members()
        shown = redact(members, known=secret_values(members))
        return f"{type(self).__name__}({', '.join(f'{name}={_repr(value)}' for name, value in shown.items())})"

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any] | str | Self,
        key_extractors: KeyExtractor | Sequence[KeyExtractor] | None = None,
        content_type: str | None = None,
    ) -> Self:
        """Build the object from a mapping in either spelling, mixed if need be.

        Args:
            data: a dict, a model of ``azure.batch.models`` (a mapping of wire names), or an object of this class.
                Names are taken without regard to case: wire names and Python names. A text is taken when it spells
                a mapping, in JSON or as a Python literal: so a template of a whole object is rendered.
            key_extractors: how to find members instead; with these, names that nobody asks for are not noticed.
            content_type: for the interface's sake; only JSON is known.

        Raises:
            DeserializationError: ``data`` is no mapping, or a name in it, at any depth, is unknown or given twice.
        """
        _only_json(content_type)
        if isinstance(data, cls):
            same = cls()
            same.__dict__.update({name: _copied(value) for name, value in data.__dict__.items()})
            return same
        given = values.structure(data) if isinstance(data, str) else data
        if not isinstance(given, Mapping):
            raise DeserializationError(f"{cls.__name__}: expected a mapping; found {values.form(data)}")
        findings = Findings()
        extractors = [key_extractors] if callable(key_extractors) else key_extractors
        built = cls._build(given, "", findings, extractors)
        return cls._checked(built, [finding for finding in findings if finding.rule in {"unknown", "twice"}])

    @classmethod
    def deserialize(cls, data: str | bytes | Mapping[str, Any], content_type: str | None = None) -> Self:
        """Build the object from the service's own form.

        Args:
            data: JSON text, or what it says.
            content_type: for the interface's sake; only JSON is known.

        Raises:
            DeserializationError: the text is no JSON, a name is unknown, or a value is not what its member holds.
        """
        _only_json(content_type)
        given: Any = data
        if isinstance(given, (str, bytes, bytearray)):
            try:
                given = json.loads(given)
            except (ValueError, RecursionError) as error:
                at = f" at position {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
                raise DeserializationError(f"{cls.__name__}: expected JSON; found {values.form(data)}{at}") from None
        if not isinstance(given, Mapping):
            raise DeserializationError(f"{cls.__name__}: expected an object; found {values.form(given)}")
        findings = Findings()
        return cls._checked(cls._build(given, "", findings, None), findings)

    def as_dict(
        self, keep_readonly: bool = True, key_transformer: KeyTransformer = attribute_transformer
    ) -> dict[str, Any]:
        """A dict that ``json.dumps`` takes, unset members left out.

        Args:
            keep_readonly: keep what only the service sets.
            key_transformer: gives each member its key; see :mod:`.keys` for the three ready ones.

        Raises:
            PayloadError: a value has no JSON form, such as an ``XComArg`` that was not resolved.
        """
        findings = Findings()
        result = self._dump("", findings, keep_readonly=keep_readonly, key_transformer=key_transformer)
        if findings:
            raise PayloadError(type(self).__name__, findings)
        return result

    def serialize(self, keep_readonly: bool = False) -> dict[str, Any]:
        """What goes to the service: wire names, unset members left out.

        Raises:
            PayloadError: a value has no JSON form.
        """
        return self.as_dict(keep_readonly=keep_readonly, key_transformer=full_restapi_key_transformer)

    def validate(self, *, parse_time: bool = False) -> list[ValidationError]:
        """Check the object and all it holds against the rules of the Batch service.

        Args:
            parse_time: leave out what Airflow has yet to render.

        Returns:
            Every broken rule: of the members in their order, then of what must hold between them; empty when all
            is well.
        """
        from airflow_provider_jobmanager.batch.rules import check  # noqa: PLC0415 - it knows every class

        return check(self, parse_time=parse_time)

    def undeclared(self) -> list[str]:
        """Names in ``additional_properties`` that do not go out, since nobody enabled that."""
        return [] if self._sends_additional else [_name(name) for name in self._additional()]

    @classmethod
    def enable_additional_properties_sending(cls) -> None:
        """Take members that the class does not declare, and let them go out on the wire.

        It holds for this class (and what is derived from it) in this process, not for the objects inside it.
        """
        cls._sends_additional = True

    @classmethod
    def is_xml_model(cls) -> bool:
        """False: the Batch service speaks JSON."""
        return False

    @classmethod
    def _checked(cls, built: Any, findings: Sequence[ValidationError]) -> Self:
        if findings:
            raise DeserializationError(
                f"{cls.__name__} can't be read:\n" + "\n".join(f"  - {finding}" for finding in findings)
            )
        if not isinstance(built, cls):  # pragma: no cover - a mapping is kept only with a finding
            raise TypeError(type(built))
        return built

    @classmethod
    def _build(
        cls, data: Mapping[Any, Any], path: str, findings: Findings, extractors: Sequence[KeyExtractor] | None
    ) -> Any:
        """The object that a mapping describes, or the mapping itself when a name in it is wrong."""
        members: dict[str, Any] = {}
        additional: dict[str, Any] = {}
        sound = True
        if extractors is not None:
            given: list[tuple[Any, Field | None, Any]] = [
                (name, field, _extract(field, data, extractors)) for name, field in cls._fields.items()
            ]
        else:
            given = [(key, cls._names.get(key.lower()) if isinstance(key, str) else None, data[key]) for key in data]
        for key, field, value in given:
            if field is None and isinstance(key, str) and cls._sends_additional:
                additional[key] = value
            elif field is None:
                sound = False
                findings.append(cls._unknown(key, path))
            elif field.name in members:
                sound = False
                message = f"{field.name} is given twice, also as {_name(key)}"
                findings.append(ValidationError(join(path, field.name), "twice", message, ""))
            else:
                members[field.name] = field.load(value, join(path, field.name), findings, extractors)
        if not sound:
            return data
        built = cls()
        built.__dict__.update(members, additional_properties=additional)
        return built

    @classmethod
    def _unknown(cls, key: Any, path: str) -> ValidationError:
        message = f"{cls.__name__} has no member of this name{cls._hint(key)}"
        return ValidationError(join(path, _name(key)), "unknown", message, "")

    @classmethod
    def _hint(cls, key: Any) -> str:
        """The nearest known name, in the spelling of the one that was given."""
        if not isinstance(key, str):
            return "; names are texts"
        close = difflib.get_close_matches(key[:100].lower(), list(cls._names), n=1, cutoff=0.6)
        if not close:
            return f"; it has {', '.join(cls._fields)}"
        field = cls._names[close[0]]
        return f"; did you mean {field.name if '_' in key or field.wire.lower() == field.name else field.wire}?"

    def _members(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self._fields if self.__dict__[name] is not None}

    def _additional(self) -> dict[Any, Any]:
        return self.additional_properties if isinstance(self.additional_properties, dict) else {}

    def _compared(self) -> dict[str, Any]:
        # Loaded once more: a list may have been appended to since it was set.
        ignored = Findings()
        members: dict[str, Any] = {
            name: self._fields[name].load(value, name, ignored)
            for name, value in self._members().items()
            if not self._fields[name].local
        }
        return {**members, "additional_properties": self.additional_properties}

    def _dump(
        self, path: str, findings: Findings, *, keep_readonly: bool, key_transformer: KeyTransformer
    ) -> dict[str, Any]:
        def dumped(value: Any, where: str, depth: int = 0) -> Any:
            if isinstance(value, Model):
                return value._dump(  # noqa: SLF001 - an object of this class
                    where, findings, keep_readonly=keep_readonly, key_transformer=key_transformer
                )
            return _json(value, where, findings, dumped, depth)

        result: dict[str, Any] = {}
        if self._sends_additional:
            result.update(dumped(self._additional(), path) or {})
        ignored = Findings()
        for name, value in self._members().items():
            field = self._fields[name]
            if (field.readonly and not keep_readonly) or (field.local and key_transformer is not attribute_transformer):
                continue
            where = join(path, name)
            loaded = field.load(value, where, ignored)
            if loaded is None:
                continue
            key = key_transformer(name, field.desc, value)
            if isinstance(key, tuple):  # the form (key, value), which Microsoft's generated models return
                key = key[0]
            steps = [key] if isinstance(key, str) else list(key)
            place = result
            for step in steps[:-1]:
                place = place.setdefault(step, {})
            place[steps[-1]] = dumped(loaded, where)
        return result


def plain(value: Any) -> Any:
    """Plain dicts and lists in place of our objects and SDK models, at any depth.

    Texts, numbers, timedeltas and objects that Airflow resolves later stay as they are, so that the result can be
    templated, shown and stored; a path becomes its text, and a member of an enum, as a key too, its value. Python names
    for our objects, wire names for SDK models.

    Raises:
        PayloadError: the data is nested without end, or two keys of a mapping mean the same.
    """
    return _plain(value, 0)


def _plain(value: Any, depth: int) -> Any:
    if depth > values.DEEPEST:
        raise PayloadError("The payload", [_too_deep("")])
    if isinstance(value, Model):
        value = {**value._members(), **value._additional()}  # noqa: SLF001 - the same module
    if isinstance(value, Mapping):
        result = {_plain_key(key): _plain(item, depth + 1) for key, item in value.items()}
        if len(result) < len(value):
            raise PayloadError("The payload", [ValidationError("", "twice", "a key stands twice, also as an enum", "")])
        return result
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Enum):
        return _plain(value.value, depth + 1)
    return str(value) if values.is_path(value) else value


def _plain_key(key: Any) -> Any:
    return key.value if isinstance(key, Enum) and isinstance(key.value, (str, int)) else key


def _copied(value: Any) -> Any:
    """The same value, sharing nothing that can be changed."""
    if isinstance(value, Model):
        return type(value).from_dict(value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _json(value: Any, path: str, findings: Findings, dumped: Callable[[Any, str, int], Any], depth: int) -> Any:
    if depth > values.DEEPEST:
        findings.append(_too_deep(path))
        return None
    if isinstance(value, Enum):
        return _json(value.value, path, findings, dumped, depth + 1)
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)) and abs(value) < 2**64:
        return value
    if isinstance(value, timedelta):
        try:
            return values.duration(value)
        except Unfit:
            findings.add(path, "type", "expected a duration that the service can hold", value)
            return None
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            findings.add(path, "type", "expected names that are texts", value)
            return None
        return {key: dumped(item, join(path, _name(key)), depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [dumped(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    findings.add(path, "type", "expected what JSON can hold", value)
    return None


def _too_deep(path: str) -> ValidationError:
    return ValidationError(path[:200], "depth", f"expected at most {values.DEEPEST} levels of nesting", "")


def _extract(field: Field, data: Mapping[str, Any], extractors: Sequence[KeyExtractor]) -> Any:
    found = (extractor(field.name, field.desc, data) for extractor in extractors)
    return next((value for value in found if value is not None), None)


def _name(key: Any) -> str:
    """A name out of the user's data, masked and bounded; what is no text is told by its form."""
    from airflow_provider_jobmanager.batch.secrets import redact_text  # noqa: PLC0415 - it knows this module

    return repr(redact_text(key))[1:-1][:80] if isinstance(key, str) else f"<{values.form(key)}>"


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # a number in it with more digits than Python writes out
        return f"<{values.form(value)}>"


def _only_json(content_type: str | None) -> None:
    if content_type is not None and "json" not in content_type.lower():
        raise DeserializationError(f"content_type: the Batch service speaks JSON; found {values.form(content_type)}")
