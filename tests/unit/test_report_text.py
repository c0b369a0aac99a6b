"""What programs print can neither mislead a terminal nor break the columns."""

from __future__ import annotations

import pytest

from envup.report.lines import LineBuffer
from envup.report.text import clean, clean_lines, duration, fit, pad, size, table, width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[H\x1b[?25lgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$tq\x1b\\x", "x"),
        ("\x9b31mred", "red"),
        ("\x1b(Btext", "text"),
        ("bell\x07", "bell\\x07"),
        ("back\x08", "back\\x08"),
        ("nul\x00", "nul\\x00"),
        ("tab\tstays", "tab\tstays"),
        ("\u202eesrever", "\\u202eesrever"),
        ("\udcff", "\\udcff"),
        ("new\nline", "new\\x0aline"),
        ("\x1b]0;never ends", ""),
        ("\x1b", "\\x1b"),
    ],
)
def test_escape_sequences_vanish_and_other_controls_are_shown(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize("number", [*range(0x20), *range(0x7F, 0xA0)])
def test_no_control_character_but_tab_survives(number: int) -> None:
    shown = clean(f"a{chr(number)}b")
    assert all(ord(character) >= 0x20 or character == "\t" for character in shown)
    assert not any(0x7F <= ord(character) < 0xA0 for character in shown)


def test_lines_of_dos_are_lines() -> None:
    assert clean_lines("a\r\nb\nc") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("数据", 4), ("e\u0301", 1), ("\u200d", 0), ("\uff46\uff55", 4), ("a\ufe0fb", 2)]
)
def test_width_counts_columns_and_not_characters(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize("columns", range(12))
@pytest.mark.parametrize("text", ["数据库数据库数据库", "abcdefghijklmno", "a数b据c库defgh", "", "\t\t\t"])
def test_a_fitted_text_is_never_wider_than_asked(text: str, columns: int) -> None:
    assert width(fit(text, columns)) <= columns


def test_a_text_that_fits_stays_whole_and_a_cut_one_says_so() -> None:
    assert fit("abc", 3) == "abc"
    assert fit("abcd", 3) == "ab…"
    assert fit("数据库", 4) == "数…"


def test_a_table_aligns_wide_characters() -> None:
    lines = table([["A", "B"], ["数据", "x"], ["abc", "y"]])
    assert lines == ["A     B", "数据  x", "abc   y"]
    assert pad("数", 4) == "数  "


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.7, "12 s"), (64, "1 min 4 s"), (7500, "2 h 5 min"), (-1, "0.0 s")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert size(count) == words


def test_lines_are_put_together_from_pieces() -> None:
    buffer = LineBuffer()
    assert buffer.feed("on") == []
    assert buffer.last == "on"
    assert buffer.feed("e\ntwo\nth") == ["one", "two"]
    assert buffer.finish() == ["th"]
    assert buffer.finish() == []
    assert list(buffer.tail) == ["one", "two", "th"]


def test_of_a_progress_bar_the_newest_version_counts() -> None:
    buffer = LineBuffer()
    buffer.feed("10%\r20%\r")
    assert buffer.last == "20%"
    assert buffer.feed("100%\r\n") == ["100%"]


def test_a_sequence_split_between_two_pieces_is_still_cleaned() -> None:
    buffer = LineBuffer()
    assert [*buffer.feed("a\x1b[3"), *buffer.feed("1mb\n")] == ["ab"]


def test_a_line_without_end_takes_bounded_memory() -> None:
    buffer = LineBuffer()
    lines = [line for _ in range(100) for line in buffer.feed("x" * 1000)]
    assert len(lines) == 12
    assert sum(map(len, [*lines, *buffer.finish()])) == 100_000


def test_only_the_last_twenty_lines_are_kept() -> None:
    buffer = LineBuffer()
    buffer.feed("".join(f"{number}\n" for number in range(50)))
    assert list(buffer.tail) == [str(number) for number in range(30, 50)]
