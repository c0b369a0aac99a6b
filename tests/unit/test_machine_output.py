"""Taking secrets out of output that comes in pieces, and keeping its last lines."""

from __future__ import annotations

import random

from envup.output import Redactor, Tail


def redact(secrets: set[str], *pieces: bytes) -> bytes:
    redactor = Redactor(secrets)
    return b"".join(map(redactor.feed, pieces)) + redactor.finish()


def test_a_secret_is_masked_however_it_is_split() -> None:
    text = b"user=bob pass=correct-horse end"
    for place in range(len(text)):
        assert redact({"correct-horse"}, text[:place], text[place:]) == b"user=bob pass=*** end"
    assert redact({"correct-horse"}, *(bytes([byte]) for byte in text)) == b"user=bob pass=*** end"


def test_the_longest_of_overlapping_secrets_wins_in_every_split() -> None:
    text = b"abcdefgh abcdx"
    for place in range(len(text)):
        assert redact({"abcd", "abcdefgh"}, text[:place], text[place:]) == b"*** ***x"


def test_no_split_of_random_text_lets_a_secret_through() -> None:
    chance = random.Random(7)
    secrets = {"aabb", "abab", "bbbbab", "aaaaa"}
    for _ in range(300):
        text = bytes(chance.choice(b"ab") for _ in range(60))
        cuts = sorted(chance.sample(range(60), 4))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, 60], strict=True)]
        assert redact(secrets, *pieces) == redact(secrets, *(bytes([byte]) for byte in text))
        assert not any(secret.encode() in redact(secrets, *pieces) for secret in secrets)


def test_the_beginning_of_a_secret_alone_is_shown_in_the_end() -> None:
    assert redact({"correct-horse"}, b"correct-") == b"correct-"


def test_values_too_short_to_be_secrets_are_left_alone() -> None:
    assert redact({"1", "dev", ""}, b"dev 1") == b"dev 1"


def test_the_lines_of_a_secret_of_several_lines_are_masked_one_by_one() -> None:
    assert redact({"first-line-of-key\nsecond-line-of-key\n"}, b"> second-line-of-key\n") == b"> ***\n"


def test_the_tail_keeps_the_last_lines_only() -> None:
    tail = Tail(3)
    for piece in ("a\nb\nc", "d\ne\nf\n", "g"):
        tail.feed(piece)
    assert tail.lines() == ("e", "f", "g")


def test_the_tail_shows_the_last_state_of_an_overwritten_line() -> None:
    tail = Tail()
    tail.feed("10%\r50%\r100%\r\nnext\r\n")
    assert tail.lines() == ("100%", "next")


def test_a_line_without_end_does_not_grow_the_tail() -> None:
    tail = Tail(longest=100)
    for _ in range(1000):
        tail.feed("x" * 1000)
    assert tail.lines() == ("x" * 100,)
