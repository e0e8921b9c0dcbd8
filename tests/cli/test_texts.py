"""Tables, durations and colours."""

from __future__ import annotations

import io

import pytest

from audiosocket.cli.texts import Style, count, duration, local_time, paragraph, style_for, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-0.1, "0.0 s"),
        (4.21, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (192, "3 min 12 s"),
        (18_120, "5 h 2 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_table_aligns_its_columns_and_shows_no_control_characters() -> None:
    lines = table(("ID", "NAME"), [(1, "a\x1b[2J"), (123, None)], right=(0,))
    assert lines == [" ID  NAME", "  1  a\\x1b[2J", "123  -"]


def test_a_paragraph_fits_a_terminal() -> None:
    lines = paragraph("word " * 60, "  name  ")
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("  name  word")
    assert all(line.startswith("        word") for line in lines[1:])


def test_a_time_is_local_and_what_is_none_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(local_time("2026-01-31T10:15:23.456Z")) == len("2026-01-31 10:15:23")
    assert local_time("yesterday\n") == "yesterday\\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal_only_and_never_with_no_color() -> None:
    assert style_for(Terminal(), {"TERM": "xterm"}) == Style(True)
    assert style_for(Terminal(), {"NO_COLOR": ""}) == Style(True), "an empty value counts as not set"
    assert style_for(Terminal(), {"NO_COLOR": "1"}) == Style(False)
    assert style_for(Terminal(), {"TERM": "dumb"}) == Style(False)
    assert style_for(io.StringIO(), {"TERM": "xterm"}) == Style(False)
    assert Style(True).paint("failed", "bad") == "\x1b[31mfailed\x1b[0m"
    assert Style(False).paint("failed", "bad") == "failed"


def test_counts() -> None:
    assert [count(0, "call"), count(1, "call"), count(2, "call")] == ["0 calls", "1 call", "2 calls"]
