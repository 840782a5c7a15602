"""Keeps secrets of a payload out of logs, rendered fields, links and errors.

What counts as a secret:

* the value of an environment setting (or of anything that has a name and a value) that is marked ``secret``
  (:func:`says_secret`), or whose name has one of the words of :data:`~.secret_forms.SECRET_NAMES` in it;
* all that stands under a key of such a name, be it a text, a list or a mapping with its keys: ``password``,
  ``account_key``, ``sas_key``, ``ssh_private_key``, ``protected_settings``;
* in any text, wherever it stands: the signature of a shared access signature (``sig=``), the key in a connection string
  (``AccountKey=``, ``SharedAccessKey=``, ``Password=`` …), the argument of an option (``--password …``), what a
  variable of such a name is set to (``PGPASSWORD=…``), the password in a URL (``https://user:password@host``), what
  follows ``Bearer``, and a member with a telling name (``"password": "…"``). Only that part is masked, so that the
  rest still says which file was meant.

A text of the payload that spells a list or a mapping, as a template of a whole structure renders to, is looked into.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from airflow_provider_jobmanager.batch.findings import BOUND
from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.secret_forms import SECRET_NAMES, replace_secrets
from airflow_provider_jobmanager.batch.values import form, structure, templated, unset
from airflow_provider_jobmanager.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

MASK: Final = "***"

SHORTEST: Final = 5
"""Characters of a secret that is recognised wherever it stands, as Airflow does it: a shorter one would turn up in any
text."""

_LOOKED_INTO: Final = re.compile(r"authentication_?token_?settings|customer_?managed_?key", re.IGNORECASE)
"""Members of the service's own that have such a name and hold no secret: they say what a token is for, or where a key
is kept."""

_OF_A_SETTING: Final = frozenset({"name", "value", "secret"})
_NAME: Final = re.compile(r"[a-z]{1,12}(?:_[a-z]{1,12}|[A-Z][a-z]{1,12})*")
"""A key of a secret mapping that reads as a name (``user``, ``project_id``) is masked there and nowhere else: any log
has such words."""

_BY_JINJA: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'"}
"""What the filter ``tojson`` escapes besides what JSON does (https://jinja.palletsprojects.com/templates/#tojson)."""


def redact(payload: Any, *, known: Iterable[str] = (), named: Collection[str] = ()) -> Any:
    """A copy of a payload with ``***`` in place of every secret.

    Args:
        payload: our objects, SDK models, dicts, lists and texts in either spelling, rendered or not.
        known: texts that are secrets wherever they stand (:func:`replacing`).
        named: names of settings that are secret whatever they tell, such as those of
            :func:`~airflow_provider_jobmanager.batch.marks.marked_names` before a request body lost the marks.
    """
    return _Walk(lambda _secret: None, known, named).value(plain(payload), hidden=False)


def redact_text(text: str) -> str:
    """A text with ``***`` in place of the secrets that can be told by their form, such as the signature in a URL."""
    return _Walk(lambda _secret: None).forms(text)


def quoted(value: Any) -> str:
    """What a message may tell of a value: a text in quotes, masked and on one line; the form of all else."""
    return ascii(redact(value)) if isinstance(value, str) and len(value) <= BOUND else form(value)


def says_secret(mark: Any) -> bool:
    """Whether a mark ``secret`` hides the value beside it: unless it is unset or false.

    What is no mark at all, such as ``yes``, is refused before anything is sent; until then it hides, and so does what
    is yet to be rendered.
    """
    if isinstance(mark, str):
        return not unset(mark) and mark.strip().lower() != "false"
    return mark is not None and mark is not False


def secret_values(payload: Any, *, named: Collection[str] = (), parse_time: bool = False) -> list[str]:
    """Every secret of a payload once, in order, to be registered where a log masks what it knows.

    Logs are made of lines, so the lines of a longer secret are secrets themselves.

    Args:
        payload: as for :func:`redact`.
        named: as for :func:`redact`.
        parse_time: leave out what is still a template: it is not the secret yet. Afterwards such marks are the
            secret's own.
    """
    found: dict[str, None] = {}

    def note(secret: str) -> None:
        if parse_time and templated(secret):
            return
        lines = (line for line in map(str.strip, secret.splitlines()) if len(line) >= SHORTEST)
        for part in filter(None, (secret, *lines)):
            found.update(dict.fromkeys(_spellings(part)))

    _Walk(note, named=named).value(plain(payload), hidden=False)
    return list(found)


def replacing(secrets: Iterable[str]) -> Callable[[str], str]:
    """Puts ``***`` in place of each of these secrets that is long enough (:data:`SHORTEST`), wherever it stands."""
    ordered = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)

    def replace(text: str) -> str:
        for secret in ordered:
            text = text.replace(secret, MASK)
        return text

    return replace


class _Walk:
    """Goes through plain data, tells each secret and leaves a mask in its place."""

    def __init__(
        self, note: Callable[[str], None], known: Iterable[str] = (), named: Collection[str] = frozenset()
    ) -> None:
        self._note = note
        self._replace = replacing(known)
        self._named = named

    def value(self, value: Any, *, hidden: bool) -> Any:
        if isinstance(value, dict):
            return self._mapping(value, hidden=hidden)
        if isinstance(value, list):
            return [self.value(item, hidden=hidden) for item in value]
        if hidden:
            return self._hide(value)
        return self._text(value) if isinstance(value, str) else value

    def forms(self, text: str) -> str:
        """A text without the secrets that its form tells."""
        return replace_secrets(text, self._mask)

    def _mapping(self, members: dict[Any, Any], *, hidden: bool) -> dict[Any, Any]:
        by_name = {key.lower(): item for key, item in members.items() if isinstance(key, str)}
        marked = says_secret(by_name.get("secret"))
        named = "value" in by_name and self._tells(by_name.get("name"))
        result: dict[Any, Any] = {}
        for key, item in members.items():
            name = key if isinstance(key, str) else ""
            if name.lower() == "value":
                secret = hidden or marked or named
            else:
                secret = hidden or (SECRET_NAMES.search(name) is not None and not _looked_into(name, item))
            shown = self._hide_key(key, len(result)) if hidden else key
            result[shown] = self.value(item, hidden=secret)
        return result

    def _tells(self, name: Any) -> bool:
        return isinstance(name, str) and (name in self._named or SECRET_NAMES.search(name) is not None)

    def _hide(self, value: Any) -> Any:
        text = _written(value)
        if _says_nothing(text):
            return value
        self._note(text)
        if isinstance(value, str):
            # A secret within it, say the key of a connection string or one of a list, may be printed on its own.
            self._text(value, hidden=True)
        return MASK

    def _hide_key(self, key: Any, before: int) -> Any:
        """What is shown of a key, after so many others: a secret may be the key as well, say a token its owner's."""
        text = _written(key)
        if text.lower() in _OF_A_SETTING or text.startswith(MASK):
            return key
        if _NAME.fullmatch(text) is None:
            self._note(text)
        return f"{MASK} ({before + 1})" if before else MASK

    def _text(self, value: str, *, hidden: bool = False) -> str:
        return self._spelled(value, hidden=hidden) or self.forms(self._replace(value))

    def _spelled(self, value: str, *, hidden: bool) -> str | None:
        """A text that spells a list or a mapping with secrets, without them; None for any other."""
        try:
            found = plain(structure(value))
        except PayloadError:
            return MASK  # nested too deep to be looked into
        shown = self.value(found, hidden=hidden) if found else found
        if shown == found:
            return None
        try:
            return json.dumps(shown, ensure_ascii=False, default=str)
        except TypeError:
            return str(shown)  # keys that JSON does not have

    def _mask(self, secret: str) -> str:
        if _says_nothing(secret):
            return secret
        if secret != MASK:
            self._note(secret)
        return MASK


def _written(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # a number with more digits than Python writes out, which is refused anyway
        return form(value)


def _says_nothing(text: str) -> bool:
    return text.strip().lower() in {"", "none", "null", "true", "false"}


def _spellings(secret: str) -> tuple[str, ...]:
    """How a secret may be logged: as it stands in a URL or decoded, and in JSON, as Python and as Jinja write it."""
    in_json = json.dumps(secret)[1:-1]
    return secret, unquote(secret), in_json, in_json.translate(_BY_JINJA)


def _looked_into(key: str, value: Any) -> bool:
    return isinstance(value, (list, dict)) and _LOOKED_INTO.fullmatch(key) is not None
