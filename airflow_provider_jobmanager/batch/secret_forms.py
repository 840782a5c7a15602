"""How a secret gives itself away: by the name that it stands under, or by the text around it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TELLING: Final = (
    r"pass(?:word|wd|phrase|code)|secret|token|credential|conn(?:ection)?[_.-]?str"
    r"|(?:api|access|account|shared|storage|private|encryption|signing|master|batch|sas|client)[_.-]?key"
    r"|(?:^|[_.-])(?:sas|pwd|auth|authorization|cookie|signature)(?:$|[_.-])"
    r"|(?:^|[_.-]|ssh|db|ftp|smtp|mail|ldap|user|root|admin|redis|mysql|pg)pass\d*$|(?:^|[_.-])pat$"
    r"|sas_?(?:url|uri)|protected_?settings"
)
_ANY_KEY: Final = r"(?:^|[_.-])key\d*$"

SECRET_NAMES: Final = re.compile(f"{_TELLING}|{_ANY_KEY}", re.IGNORECASE)
"""A name that has this in it names a secret."""

_TELLING_NAME: Final = re.compile(_TELLING, re.IGNORECASE)

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
        r"(?:account|sharedaccess|access|storage|primary|secondary)[_-]?key\s*=(?!=)\s*" + _given(";&<>"),
        r"(?<![A-Za-z0-9])(?:password|passwd|pwd|secret|token)\s*=(?!=)\s*" + _given(";&<>"),
        r"(?<![A-Za-z-])--[a-z-]*(?:password|passwd|secret|token|(?:api|access|account|sas)-?key)(?:\s+|=)" + _given(),
        r"(?:password|passwd|secret|token|credential|(?:api|access|account|private)_?key)\\?[\"']\s*:\s*" + _IN_QUOTES,
        # Up to the last @ before the path: an @ in the password need not have been encoded.
        r"://[^\s/:@\"']*:(?P<secret>[^\s/\"']+)@",
        # Nor a slash, unless what stands before it can be a port. Bounded, since any text may come by here.
        r"://[^\s/:@\"'\[]*:(?!\d*[/?#])(?P<secret>[^\s/@\"']{0,200}/[^\s@\"']{0,200})@",
        r"(?<![A-Za-z0-9])bearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
    )
)
_IN_EACH: Final = re.compile(r"[=:%]|--|bearer", re.IGNORECASE)
"""One of these is in every form; most texts have none, and need no closer look."""
_ASSIGNMENT: Final = re.compile(r"(?<![A-Za-z0-9_.-])-{0,2}([A-Za-z_][A-Za-z0-9_.-]*)(?:=(?!=)|[ \t]+=(?!=)[ \t]*)")
_ASSIGNED: Final = re.compile(_given(";&<>"), re.DOTALL)


def replace_secrets(text: str, replace: Callable[[str], str]) -> str:
    """A text with something else in place of each secret that its form tells.

    Args:
        text: any text.
        replace: what to put in place of a secret.
    """
    if _IN_EACH.search(text) is None:
        return text

    def replaced(found: re.Match[str]) -> str:
        start, end = found.start("secret") - found.start(), found.end("secret") - found.start()
        return found[0][:start] + replace(found["secret"]) + found[0][end:]

    for pattern in _PARTS:
        text = pattern.sub(replaced, text)
    return _replace_assigned(text, replace)


def _replace_assigned(text: str, replace: Callable[[str], str]) -> str:
    """What ``NAME=value`` gives to a telling name."""
    parts, done = [], 0
    for name in _ASSIGNMENT.finditer(text):
        if name.start() < done or not _tells(name[1]):
            continue
        value = _ASSIGNED.match(text, name.end())
        if value is not None:
            parts += [text[done : value.start("secret")], replace(value["secret"])]
            done = value.end("secret")
    return "".join((*parts, text[done:]))


def _tells(name: str) -> bool:
    # SharedAccessKeyName says how a key is called. In running text any key may be meant ("key=a/file"), unless it is
    # written as variables of the environment are.
    told = (SECRET_NAMES if name.isupper() else _TELLING_NAME).search(name)
    return told is not None and not name.lower().endswith("name")
