"""Keeps secrets of a payload out of logs, rendered fields, links and errors.

What counts as a secret:

* the value of an environment setting (or of anything that has a name and a value) that is marked ``secret: true``, or
  whose name has one of the words of :data:`SECRET_NAMES` in it;
* all that stands under a key of such a name, be it a text, a list or a mapping: ``password``, ``account_key``,
  ``sas_key``, ``ssh_private_key``, ``protected_settings``;
* in any text, wherever it stands: the signature of a shared access signature (``sig=``), the key in a connection string
  (``AccountKey=``, ``SharedAccessKey=``, ``Password=`` …), the argument of an option (``--password …``), the
  password in a URL (``https://user:password@host``), what follows ``Bearer``, and a member with a telling name
  (``"password": "…"``). Only that part is masked, so that the rest still says which file was meant.

A text of the payload that spells a list or a mapping, as a template of a whole structure renders to, is looked into.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.values import structure, templated
from airflow_provider_jobmanager.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

MASK: Final = "***"

SHORTEST: Final = 5
"""Characters of a secret that is recognised wherever it stands, as Airflow does it: a shorter one would turn up in any
text."""

SECRET_NAMES: Final = re.compile(
    r"pass(?:word|wd|phrase|code)|secret|token|credential|connection_?str"
    r"|(?:api|access|account|shared|storage|private|encryption|signing|master|batch|sas|client)[_.-]?key"
    r"|(?:^|[_.-])(?:sas|pwd|auth|authorization|cookie|signature)(?:$|[_.-])|(?:^|[_.-])key$"
    r"|sas_?(?:url|uri)|protected_?settings",
    re.IGNORECASE,
)
"""A name that has this in it names a secret."""

_LOOKED_INTO: Final = re.compile(r"authentication_?token_?settings|customer_?managed_?key", re.IGNORECASE)
"""Members of the service's own that have such a name and hold no secret: they say what a token is for, or where a key
is kept."""

_BY_JINJA: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'"}
"""What the filter ``tojson`` escapes besides what JSON does (https://jinja.palletsprojects.com/templates/#tojson)."""


_QUOTE: Final = r"(?P<quote>(?P<escape>\\)?[\"'])"
"""The quotes may be escaped."""
_QUOTED: Final = r"(?:(?!(?P=quote))(?:(?(escape)\\\\)\\.|.))+"
"""Up to the closing quote: one that is escaped once more than the opening one stands for itself."""
_IN_QUOTES: Final = rf"{_QUOTE}(?P<secret>{_QUOTED})"


def _given(stops: str = "") -> str:
    """What is given in quotes; or bare, up to white space or a stop."""
    return rf"{_QUOTE}?(?P<secret>(?(quote){_QUOTED}|(?!\\?[\"'])[^\s\"'{stops}]+))"


_PARTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # Also within a URL that is a parameter of another, percent-encoded once or more, or that Jinja wrote as JSON.
        r"(?:(?<![A-Za-z0-9_])|(?<=%3f|%26)|(?<=253f|2526)|(?<=\\u0026))sig(?:=|%(?:25)*3d)(?P<secret>[^&\s\"'<>;,\\]+)",
        r"(?:account|sharedaccess|access|storage|primary|secondary)[_-]?key\s*=\s*" + _given(";&<>"),
        r"(?<![A-Za-z0-9])(?:password|passwd|pwd|secret|token)\s*=\s*" + _given(";&<>"),
        r"(?<![A-Za-z-])--[a-z-]*(?:password|passwd|secret|token|(?:api|access|account|sas)-?key)(?:\s+|=)" + _given(),
        r"(?:password|passwd|secret|token|credential|(?:api|access|account|private)_?key)\\?[\"']\s*:\s*" + _IN_QUOTES,
        r"://[^\s/:@\"']*:(?P<secret>[^\s/@\"']+)@",
        r"(?<![A-Za-z0-9])bearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
    )
)


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


def secret_values(payload: Any, *, named: Collection[str] = ()) -> list[str]:
    """Every secret of a payload once, in order, to be registered where a log masks what it knows.

    Args:
        payload: as for :func:`redact`. What is still a template is left out: it is not the secret yet.
        named: as for :func:`redact`.
    """
    found: dict[str, None] = {}

    def note(secret: str) -> None:
        if secret and not templated(secret):
            found.update(dict.fromkeys(_spellings(secret)))

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
        for pattern in _PARTS:
            text = pattern.sub(self._mask, text)
        return text

    def _mapping(self, members: dict[Any, Any], *, hidden: bool) -> dict[Any, Any]:
        by_name = {str(key).lower(): item for key, item in members.items()}
        marked = str(by_name.get("secret", "")).lower() == "true"
        named = "value" in by_name and self._tells(by_name.get("name"))
        result: dict[Any, Any] = {}
        for key, item in members.items():
            if str(key).lower() == "value":
                secret = hidden or marked or named
            else:
                secret = hidden or (SECRET_NAMES.search(str(key)) is not None and not _looked_into(key, item))
            result[key] = self.value(item, hidden=secret)
        return result

    def _tells(self, name: Any) -> bool:
        return isinstance(name, str) and (name in self._named or SECRET_NAMES.search(name) is not None)

    def _hide(self, value: Any) -> Any:
        if _says_nothing(value):
            return value
        self._note(str(value))
        if isinstance(value, str):
            # A secret within it, say the key of a connection string or one of a list, may be printed on its own.
            self._text(value, hidden=True)
        return MASK

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

    def _mask(self, match: re.Match[str]) -> str:
        secret = match["secret"]
        if _says_nothing(secret):
            return match[0]
        if secret != MASK:
            self._note(secret)
        whole, start = match[0], match.start("secret") - match.start()
        return whole[:start] + MASK + whole[start + len(secret) :]


def _says_nothing(value: Any) -> bool:
    return str(value).lower() in {"", "none", "null", "true", "false"}


def _spellings(secret: str) -> tuple[str, ...]:
    """How a secret may be logged: as it stands in a URL or decoded, and in JSON, as Python and as Jinja write it."""
    in_json = json.dumps(secret)[1:-1]
    return secret, unquote(secret), in_json, in_json.translate(_BY_JINJA)


def _looked_into(key: Any, value: Any) -> bool:
    return isinstance(value, (list, dict)) and _LOOKED_INTO.fullmatch(str(key)) is not None
