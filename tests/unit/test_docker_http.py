"""HTTP, frames and JSON of an engine's API, however the bytes are cut into pieces."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from envup_docker import http, plainjson
from envup_docker.failures import EngineError
from envup_docker.streams import Frames, Whole


def reader(text: bytes, piece: int = 1 << 20) -> http.Reader:
    """Gives `text` in pieces of at most so many bytes."""
    stream = io.BytesIO(text)
    return http.Reader(lambda most: stream.read(min(most, piece)))


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 20])
def test_a_body_of_a_known_length_ends_where_the_next_answer_begins(piece: int) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    source = reader(text + text.replace(b"hello", b"world"), piece)
    for expected in (b"hello", b"world"):
        answer = http.Answer(source, "GET")
        assert answer.read() == expected
        assert answer.ended


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_chunks_are_put_together(piece: int) -> None:
    chunks = b"5;name=value\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    source = reader(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"next", piece)
    answer = http.Answer(source, "GET")
    assert answer.read() == b"hello 0123456789"
    assert answer.ended
    assert source.some(1) == b"n"


def test_a_chunk_is_given_before_the_next_one_comes() -> None:
    pieces = iter([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"])
    answer = http.Answer(http.Reader(lambda _most: next(pieces)), "GET")
    assert answer.read(100) == b"hello"


def test_a_body_without_a_length_lasts_until_the_connection_ends() -> None:
    answer = http.Answer(reader(b"HTTP/1.1 200 OK\r\n\r\nall of it"), "GET")
    assert answer.read() == b"all of it"
    assert not answer.ended


@pytest.mark.parametrize(
    ("method", "head"), [("HEAD", b"200 OK\r\nContent-Length: 5"), ("GET", b"204 No Content"), ("GET", b"304 Same")]
)
def test_some_answers_have_no_body(method: str, head: bytes) -> None:
    answer = http.Answer(reader(b"HTTP/1.1 " + head + b"\r\n\r\n"), method)
    assert answer.read() == b""
    assert answer.ended


def test_an_interim_answer_is_passed_over() -> None:
    answer = http.Answer(
        reader(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"), "POST"
    )
    assert answer.status == 201


def test_a_connection_that_is_to_be_closed_is_not_used_again() -> None:
    answer = http.Answer(reader(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "GET")
    assert not answer.ended


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\n",
        b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
def test_what_is_no_whole_answer_is_an_error(text: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        http.Answer(reader(text), "GET").read()
    assert caught.value.status == 0


def test_a_body_is_sent_in_chunks() -> None:
    sent: list[bytes] = []
    http.send_chunked(sent.append, io.BytesIO(b"content"))
    assert b"".join(sent) == b"7\r\ncontent\r\n0\r\n\r\n"


def test_parts_of_a_query_are_quoted() -> None:
    assert http.quoted('{"a":["ü /&"]}~') == "%7B%22a%22%3A%5B%22%C3%BC%20%2F%26%22%5D%7D~"


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1.5, "", 'ü "\\\n\x00', [], {}, {"a": [1, {"b": None}]}, [[["deep"]]]]
)
def test_json_is_that_of_the_standard_library(value: object) -> None:
    assert json.loads(plainjson.dumps(value)) == value
    assert plainjson.loads(b" \n" + json.dumps(value).encode()) == value


def test_what_is_no_json_is_an_error() -> None:
    for text in (b"<html>", b"", b'{"a"', b"\xff"):
        with pytest.raises(ValueError):
            plainjson.loads(text)


def frames() -> Iterator[tuple[int, bytes]]:
    yield 1, b"out"
    yield 2, b"err" * 1000
    yield 1, b""
    yield 0, b"also out"


@pytest.mark.parametrize("piece", [1, 5, 8, 1000, 1 << 20])
def test_frames_are_taken_apart_wherever_they_are_cut(piece: int) -> None:
    stream = b"".join(bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for kind, data in frames())
    taker = Frames()
    found = {1: b"", 2: b""}
    for start in range(0, len(stream), piece):
        for kind, data in taker.feed(stream[start : start + piece]):
            found[kind] += data
    assert found == {1: b"outalso out", 2: b"err" * 1000}


def test_a_terminals_stream_has_no_frames() -> None:
    assert [(kind, bytes(data)) for kind, data in Whole().feed(b"\x01text")] == [(1, b"\x01text")]
    assert not list(Whole().feed(b""))
