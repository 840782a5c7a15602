"""Keeps the secrets of a payload out of what Airflow logs, shows and stores.

Two ways, because Airflow's own masker knows secrets by their value and only where it looks:

* :func:`register` tells Airflow's masker every secret, so that task logs (also those of the SDK at debug level),
  exceptions and rendered fields show ``***`` for it.
* :func:`protect` also puts a :class:`Veiled` text in place of each secret in an operator's templated arguments, so that
  what is shown of them (the serialized DAG, rendered fields) never had it. Airflow's masker does not look into
  serialized DAGs, and leaves out secrets of fewer than five characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import literal
from airflow.sdk.log import mask_secret
from attrs import define, field

from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.secrets import redact, secret_values
from airflow_provider_jobmanager.batch.values import plain_data, templated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LITERAL = type(literal(None))


class Verbatim(str):
    """A text that was given as ``airflow.sdk.literal``: what looks like a template in it is none."""

    __slots__ = ()


@define(eq=False)
class Veiled:
    """A text with a secret in it, which everybody but the request sees masked; or one that is not to be rendered.

    Airflow renders it as any text: it has ``template_fields``.

    Attributes:
        value: the text.
        shown: what is shown of it.
    """

    value: Any = field(repr=False)
    shown: str
    template_fields: Sequence[str] = field(init=False, repr=False)

    @template_fields.default
    def _to_render(self) -> Sequence[str]:
        return () if isinstance(self.value, Verbatim) else ("value",)

    def serialize(self) -> str:
        """What Airflow stores and shows."""
        return self.shown

    def __str__(self) -> str:
        return self.shown


class VeiledName(str):
    """The name of a member that is a secret itself, which everybody but the request sees masked.

    A text, because Airflow stores names as they are.

    Attributes:
        value: the name.
    """

    __slots__ = ("value",)
    value: Any


def register(*payloads: Any, parse_time: bool = False) -> list[str]:
    """Tell Airflow's masker every secret of payloads, and return them.

    Args:
        payloads: as :func:`~airflow_provider_jobmanager.batch.secrets.secret_values` takes them.
        parse_time: leave out what Airflow has yet to render.
    """
    secrets = secret_values(payloads, parse_time=parse_time)
    for secret in secrets:
        mask_secret(secret)
    return secrets


def veiled(arguments: Mapping[str, Any], *, parse_time: bool = False) -> dict[str, Any]:
    """Register the secrets in arguments, and put what is veiled in their place.

    A password is often repeated, say in the command line: what is a secret in one argument is one in all.

    Args:
        arguments: by name; also such as are veiled already.
        parse_time: as for :func:`register`.
    """
    given = {name: unveil(plain(value)) for name, value in arguments.items()}
    secrets = register(*given.values(), parse_time=parse_time)
    if parse_time and _holds_verbatim(given):
        secrets += register(_without_templates(given))
    return {name: _veil(value, redact(value, known=secrets)) for name, value in given.items()}


def protect(operator: Any, names: Iterable[str], *, parse_time: bool = False) -> None:
    """Register and veil the secrets in an operator's templated arguments: when it is made, and again when rendered.

    Args:
        operator: holds the arguments as attributes.
        names: those that may hold secrets. What else stands in a template, such as an id, is used as it is.
        parse_time: the operator is being made, and its templates are no secrets yet.
    """
    for name, value in veiled({name: getattr(operator, name) for name in names}, parse_time=parse_time).items():
        setattr(operator, name, value)


def renew(operator: Any, names: Iterable[str]) -> None:
    """Veil anew what is veiled, for Airflow to render.

    Airflow renders a copy of the operator, and what is veiled in place: the copy must not share it with the operator of
    the DAG, which may run again in this process.
    """
    for name in names:
        setattr(operator, name, _renewed(getattr(operator, name)))


def unveil(value: Any) -> Any:
    """The payload as it is, whatever was veiled in it."""
    if isinstance(value, (Veiled, VeiledName)):
        return value.value
    if isinstance(value, _LITERAL):
        return _verbatim(plain(value.value))
    if isinstance(value, dict):
        return {unveil(key): unveil(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unveil(item) for item in value]
    return value


def _verbatim(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _verbatim(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_verbatim(item) for item in value]
    return Verbatim(value) if isinstance(value, str) else value


def _holds_verbatim(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return any(map(_holds_verbatim, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Verbatim)


def _without_templates(value: Any) -> Any:
    """What is as it will be sent: a template, of which nothing is known yet, is left out."""
    if isinstance(value, dict):
        return {key: _without_templates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_templates(item) for item in value]
    return None if templated(value) and not isinstance(value, Verbatim) else value


def _renewed(value: Any) -> Any:
    if isinstance(value, Veiled):
        return Veiled(value.value, value.shown)
    if isinstance(value, dict):
        return {key: _renewed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renewed(item) for item in value]
    return value


def _veil(value: Any, shown: Any) -> Any:
    if isinstance(value, dict):
        pairs = zip(value.items(), shown.items(), strict=True)
        return {_veil_name(key, name): _veil(item, other) for (key, item), (name, other) in pairs}
    if isinstance(value, list):
        return [_veil(item, other) for item, other in zip(value, shown, strict=True)]
    if isinstance(value, Verbatim):
        return Veiled(value, str(shown))
    if value == shown or not plain_data(value):
        return value  # what Airflow has yet to resolve (an XComArg) is no secret, and must stay what it is
    return Veiled(value, str(shown))


def _veil_name(name: Any, shown: Any) -> Any:
    if name == shown:
        return name
    veiled_name = VeiledName(shown)
    veiled_name.value = name
    return veiled_name
