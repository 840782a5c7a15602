"""Bytes that a process wrote, as lines that may stand in a task's log.

What a job prints is not ours: it may be binary, endless, hold terminal sequences or secrets. Every line that reaches a
log or an error goes through :func:`line`, so there is one place that masks, and one that bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field

from airflow_provider_jobmanager.batch.marks import marked_names
from airflow_provider_jobmanager.batch.secrets import redact_text, replacing, secret_values

Mask = Callable[[str], str]
"""Takes secrets out of a text."""

LONGEST_LINE: Final = 1000
"""Characters of a line that are shown."""

_LONGEST_PARTIAL: Final = 64 * 1024
_NOT_TEXT: Final = 0.3
_SHORT: Final = 20
_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_REPLACED: Final = "\N{REPLACEMENT CHARACTER}"


def masked(text: str) -> str:
    """A text without the secrets that can be told by their form, such as the signature in a SAS URL."""
    return redact_text(text)


def mask_of(job: Mapping[str, Any]) -> Mask:
    """Takes out the secrets of a job as well, wherever they are printed.

    Args:
        job: the job as the service describes it, with its metadata. Values of fewer than five characters are left
            alone, as Airflow does: masking them would make any text unreadable.
    """
    replace = replacing(secret_values(job, named=marked_names(job)))

    def mask(text: str) -> str:
        return masked(replace(text))

    return mask


def one_line(text: str) -> str:
    """A text of the service's with spaces for line ends, so that :func:`line` keeps all of it."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))


def named_values(rows: Any) -> list[tuple[str, str]]:
    """Names and values from an error's details; what is none of either is left out."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, (list, tuple)) else []
    return [(str(row.get("name")), str(row["value"])) for row in found if row.get("value")]


def line(text: str, *, mask: Mask = masked, longest: int = LONGEST_LINE) -> str:
    """One line without line end, terminal sequences, control characters and secrets, and not too long.

    Of a line that a progress bar wrote over and over only the last state is kept.
    """
    text = _TERMINAL.sub("", text.rstrip("\r\n")).rpartition("\r")[2]
    # Masked before it is cut: half a secret would not be recognised.
    text = _CONTROL.sub(_REPLACED, mask(text))
    if len(text) > _SHORT and text.count(_REPLACED) > _NOT_TEXT * len(text):
        return f"({len(text):,} characters that are not text)"
    if len(text) > longest:
        return f"{text[:longest]} … ({len(text) - longest:,} more characters)"
    return text


def last_lines(data: bytes, *, lines: int, whole: bool, mask: Mask = masked) -> list[str]:
    """The last lines of a piece of a file.

    Args:
        data: the end of the file.
        lines: how many at most.
        whole: whether ``data`` is the whole file; otherwise its first line is a torn one and left out. What is left of
            a progress bar's line is its last state.
        mask: takes secrets out.
    """
    text = data.decode("utf-8", "replace")
    found = text.removesuffix("\n").split("\n") if text else []
    if not whole and found:
        # The rest of a line may begin within a secret, which would not be recognised.
        torn = found.pop(0)
        _, overwritten, state = torn.rstrip("\r").rpartition("\r")
        if overwritten:
            found.insert(0, state)
        elif not found:
            found = [f"(the end of a line of at least {len(data):,} bytes)"]
    return [line(each, mask=mask) for each in found[-lines:]]


@define
class Lines:
    """Makes lines of bytes that come in pieces.

    Attributes:
        mask: takes secrets out.
        torn: what comes next is the rest of a line whose beginning was left out, and is left out too.
    """

    mask: Mask = masked
    torn: bool = False
    _partial: bytes = field(default=b"", init=False)

    @property
    def begun(self) -> int:
        """Bytes of the line that has not ended yet."""
        return len(self._partial)

    def feed(self, data: bytes, *, most: int | None = None) -> list[str]:
        """The lines that these bytes complete. A line that does not end is told in part once it is very long.

        Args:
            data: the next bytes.
            most: of more lines than that only the last are told.
        """
        *ended, self._partial = (self._partial + data).split(b"\n")
        if ended and self.torn:
            del ended[0]
            self.torn = False
        found = []
        if most is not None and len(ended) > most:
            found.append(f"… {len(ended) - most:,} lines left out …")
            del ended[:-most]
        found += map(self._line, ended)
        if len(self._partial) > _LONGEST_PARTIAL:
            if not self.torn:
                found.append(self._line(self._partial))
            self.tear()
        return found

    def tear(self) -> int:
        """Leave out the line that has not ended, whatever is still to come of it; returns its bytes so far."""
        left, self._partial, self.torn = len(self._partial), b"", True
        return left

    def end(self) -> list[str]:
        """What is left when no more bytes will come."""
        rest, self._partial = self._partial, b""
        torn, self.torn = self.torn, False
        return [self._line(rest)] if rest and not torn else []

    def _line(self, data: bytes) -> str:
        return line(data.decode("utf-8", "replace"), mask=self.mask)
