from __future__ import annotations

import os
from unicodedata import category

import pytest

from airflow_provider_jobmanager.batch.printable import LONGEST_LINE, Lines, last_lines, line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\r\n", "plain"),
        ("a\tb", "a\tb"),
        ("10%\r50%\r100%", "100%"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07done", "red done"),
        ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\u202eb", "a\N{REPLACEMENT CHARACTER}b"),
        ("\N{REPLACEMENT CHARACTER}" * 30, "(30 characters that are not text)"),
        ("get https://a.blob/c?sv=1&sig=SECRET%3D&se=2", "get https://a.blob/c?sv=1&sig=***&se=2"),
    ],
)
def test_a_line_is_printable(text, shown):
    assert line(text) == shown


def test_a_long_line_is_cut_after_it_was_masked():
    text = "x" * (LONGEST_LINE - 8) + "?sig=" + "S" * 500
    shown = line(text)
    assert "SSS" not in shown
    assert len(shown) < LONGEST_LINE + 40


def test_last_lines_leave_a_torn_first_line_out():
    assert last_lines(b"rn\nb\nc\n", lines=5, whole=False) == ["b", "c"]
    assert last_lines(b"a\nb\nc\n", lines=5, whole=True) == ["a", "b", "c"]
    assert last_lines(b"a\nb\nc", lines=2, whole=True) == ["b", "c"]
    assert last_lines(b"", lines=2, whole=True) == []


def test_last_lines_tell_of_a_line_that_began_before_them():
    def shown(data: bytes) -> list[str]:
        return last_lines(data, lines=2, whole=False, mask=lambda text: text.replace("hunter2", "***"))

    assert shown(b"ter2 and so on") == ["(the end of a line of at least 14 bytes)"]
    assert shown(b"ter2 and so on\n") == ["(the end of a line of at least 15 bytes)"]
    assert shown(b"ter2 50%\r 51% hunter2\r") == [" 51% ***"]
    assert shown(b"ter2\r\nnext\n") == ["next"]
    assert shown(b"") == []


def test_lines_come_whole_whatever_the_pieces():
    text = "ä first\nsecond €\nlast"
    for size in (1, 2, 3, 7, 100):
        lines, data, found = Lines(), text.encode(), []
        for start in range(0, len(data), size):
            found += lines.feed(data[start : start + size])
        assert found + lines.end() == ["ä first", "second €", "last"]


def test_an_endless_line_is_told_once_and_costs_bounded_memory():
    lines = Lines()
    found = [each for _ in range(100) for each in lines.feed(b"z" * 50_000)]
    assert len(found) == 1
    assert lines.feed(b"rest of it\nnext\n") == ["next"]
    assert lines.end() == []


def test_binary_output_becomes_short_lines():
    lines = Lines()
    found = lines.feed(os.urandom(300_000)) + lines.end()
    assert all(len(each) <= LONGEST_LINE + 40 for each in found)
    assert not any(category(character) == "Cc" and character != "\t" for each in found for character in each)
