"""Keeps secrets of a payload out of logs, rendered fields, links and errors.

What counts as a secret:

* the value of an environment setting (or of anything that has a name and a value) that is marked ``secret: true``, or
  whose name has one of the words of :data:`SECRET_NAMES` in it;
* every text under a key of such a name: ``password``, ``account_key``, ``sas_key``, ``ssh_private_key``, all of
  ``protected_settings``;
* in any text, wherever it stands: the signature of a shared access signature (``sig=``), the key in a connection string
  (``AccountKey=``, ``SharedAccessKey=``, ``Password=`` …), the argument of an option (``--password …``), the
  password in a URL (``https://user:password@host``), and what follows ``Bearer``. Only that part is masked, so that the
  rest still says which file was meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.values import templated

MASK: Final = "***"

SECRET_NAMES: Final = re.compile(
    r"pass(?:word|wd|phrase|code)|secret|token|credential|connection_?str"
    r"|(?:api|access|account|shared|storage|private|encryption|signing|master|batch|sas|client)[_.-]?key"
    r"|(?:^|[_.-])(?:sas|pwd|auth|authorization|cookie|signature)(?:$|[_.-])|(?:^|[_.-])key$"
    r"|sas_?(?:url|uri)|protected_?settings",
    re.IGNORECASE,
)
"""A name that has this in it names a secret."""

_PARTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Also within a URL that is a parameter of another, percent-encoded once or more.
        r"(?:(?<![A-Za-z0-9_])|(?<=%3f)|(?<=%26)|(?<=253f)|(?<=2526))sig(?:=|%(?:25)*3d)(?P<secret>[^&\s\"'<>;,]+)",
        r"(?:account|sharedaccess|access|storage|primary|secondary)_?key\s*=\s*(?P<secret>[^;&\s\"'<>]+)",
        r"(?<![A-Za-z0-9])(?:password|passwd|pwd|secret|token)\s*=\s*(?P<secret>[^;&\s\"'<>]+)",
        r"--[a-z-]*(?:password|passwd|secret|token|(?:api|access|account|sas)-?key)\s+[\"']?(?P<secret>[^\s\"']+)",
        r"://[^\s/:@\"']*:(?P<secret>[^\s/@\"']+)@",
        r"(?<![A-Za-z0-9])bearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
    )
)


def redact(payload: Any, *, known: Iterable[str] = ()) -> Any:
    """A copy of a payload with ``***`` in place of every secret.

    Args:
        payload: our objects, SDK models, dicts, lists and texts in either spelling, rendered or not.
        known: texts that are secrets wherever they stand, such as :func:`secret_values` found before a request body
            lost the marks.
    """
    return _Walk(lambda _secret: None, known).value(plain(payload), hidden=False)


def secret_values(payload: Any) -> list[str]:
    """Every secret of a payload once, in order, to be registered where a log masks what it knows.

    Args:
        payload: as for :func:`redact`. What is still a template is left out: it is not the secret yet.
    """
    found: dict[str, None] = {}

    def note(secret: str) -> None:
        if secret and not templated(secret):
            # A signature is logged as it stands in the URL, or decoded.
            found.update(dict.fromkeys((secret, unquote(secret))))

    _Walk(note).value(plain(payload), hidden=False)
    return list(found)


class _Walk:
    """Goes through plain data, tells each secret and leaves a mask in its place."""

    def __init__(self, note: Callable[[str], None], known: Iterable[str] = ()) -> None:
        self._note = note
        self._known = sorted(filter(None, known), key=len, reverse=True)

    def value(self, value: Any, *, hidden: bool) -> Any:
        if isinstance(value, dict):
            return self._mapping(value, hidden=hidden)
        if isinstance(value, list):
            return [self.value(item, hidden=hidden) for item in value]
        if hidden:
            return self._hide(value)
        return self._text(value) if isinstance(value, str) else value

    def _mapping(self, members: dict[Any, Any], *, hidden: bool) -> dict[Any, Any]:
        by_name = {str(key).lower(): item for key, item in members.items()}
        marked = str(by_name.get("secret", "")).lower() == "true"
        named = "value" in by_name and isinstance(by_name.get("name"), str) and SECRET_NAMES.search(by_name["name"])
        result: dict[Any, Any] = {}
        for key, item in members.items():
            if str(key).lower() == "value":
                secret = hidden or marked or bool(named)
            else:
                secret = hidden or (SECRET_NAMES.search(str(key)) is not None and _may_be_secret(key, item))
            result[key] = self.value(item, hidden=secret)
        return result

    def _hide(self, value: Any) -> Any:
        if str(value).lower() in {"", "none", "null", "true", "false"}:
            return value
        self._note(str(value))
        return MASK

    def _text(self, value: str) -> str:
        for secret in self._known:
            value = value.replace(secret, MASK)
        for pattern in _PARTS:
            value = pattern.sub(self._mask, value)
        return value

    def _mask(self, match: re.Match[str]) -> str:
        secret = match["secret"]
        if secret != MASK:
            self._note(secret)
        whole, start = match[0], match.start("secret") - match.start()
        return whole[:start] + MASK + whole[start + len(secret) :]


def _may_be_secret(key: Any, value: Any) -> bool:
    """A list or a mapping under a telling name is looked into (``authentication_token_settings``), not hidden whole."""
    if isinstance(value, (list, dict)):
        return re.fullmatch(r"protected_?settings", str(key), re.IGNORECASE) is not None
    return not isinstance(value, Mapping)
