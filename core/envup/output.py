"""What a program prints, on its way to the log and the report: secrets taken out, decoded, its last lines kept."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.value import replace

MASK = b"***"
SHORTEST_SECRET = 4
"""Characters. A shorter value, such as `1` or `dev`, is no secret, and masking it would make output unreadable."""

_SHORTEST_LINE = 8
"""Characters of one line of a secret of several lines that is masked by itself, as programs print it line by line."""


class Redactor:
    """Replaces secrets in a stream of bytes, also those that are split between chunks."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {part.encode() for secret in secrets for part in _parts(secret)}
        self._secrets = sorted(values, key=len, reverse=True)
        self._longest = max(map(len, self._secrets), default=0)
        self._heads = frozenset(secret[0] for secret in self._secrets)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets))) if self._secrets else None
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown of the stream so far; what may be the beginning of a secret is kept back."""
        if self._pattern is None:
            return data
        shown: list[bytes] = []
        data, start = self._rest + data, 0
        limit = self._open_from(data, 0)
        while (match := self._pattern.search(data, start)) and match.start() < limit:
            shown += (data[start : match.start()], MASK)
            start = match.end()
            if start > limit:
                limit = self._open_from(data, start)
        shown.append(data[start:limit])
        self._rest = data[limit:]
        return b"".join(shown)

    def finish(self) -> bytes:
        """What was kept back, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return self._pattern.sub(MASK, rest) if self._pattern else rest

    def _open_from(self, data: bytes, start: int) -> int:
        """Where the longest end of `data` begins that a secret could go on from; its length when there is none."""
        for place in range(max(start, len(data) - self._longest + 1), len(data)):
            if data[place] in self._heads:
                end = data[place:]
                if any(len(secret) > len(end) and secret.startswith(end) for secret in self._secrets):
                    return place
        return len(data)


def _parts(secret: str) -> Iterable[str]:
    if len(secret) >= SHORTEST_SECRET:
        yield secret
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE)


def masked(emit: Emit, secrets: frozenset[str]) -> Emit:
    """An `Emit` that takes the secrets out of an event's texts first. Output of programs comes without them already, as
    only who reads the stream sees one that is split between two pieces."""
    if not secrets:
        return emit

    def tell(event: Event) -> None:
        if event.kind != "output":
            data = {
                name: _masked(value, secrets) if isinstance(value, str) else value for name, value in event.data.items()
            }
            event = replace(event, text=_masked(event.text, secrets), data=data)
        emit(event)

    return tell


@contextmanager
def masked_output(emit: Emit, secrets: frozenset[str]) -> Iterator[Emit]:
    """An `Emit` for one stream of output after the other, without the secrets in it, also those that are split between
    two events. What is kept back comes at the end."""
    redactor = Redactor(secrets)

    def tell(event: Event) -> None:
        if event.kind == "output":
            event = replace(event, text=redactor.feed(event.text.encode()).decode())
        emit(event)

    try:
        yield tell
    finally:
        if rest := redactor.finish():
            emit(Event("output", text=rest.decode()))


@contextmanager
def masked_errors(secrets: frozenset[str]) -> Iterator[None]:
    """Takes the secrets out of what an error says that comes out of here."""
    try:
        yield
    except EnvupError as error:
        error.brief, error.details, error.hint = (
            _masked(text, secrets) for text in (error.brief, error.details, error.hint)
        )
        raise


def _masked(text: str, secrets: frozenset[str]) -> str:
    redactor = Redactor(secrets)
    return (redactor.feed(text.encode()) + redactor.finish()).decode()


class Tail:
    """The last lines of a text that comes in pieces; of a line that carriage returns overwrite, its last state."""

    def __init__(self, lines: int = 20, longest: int = 4096) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._longest = longest
        self._open = ""

    def feed(self, text: str) -> None:
        """Add a piece."""
        first, *more = text.split("\n")
        self._open = (self._open + first)[-self._longest :]
        if more:
            self._lines.append(self._open)
            self._lines.extend(line[-self._longest :] for line in more[:-1])
            self._open = more[-1][-self._longest :]

    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first, a last one without line end included."""
        found = [*self._lines, self._open] if self._open else [*self._lines]
        return tuple(line.rstrip("\r").rpartition("\r")[2] for line in found[-(self._lines.maxlen or 0) :])


class Decoder:
    """UTF-8 in pieces; what is not UTF-8 becomes replacement characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The characters that are complete."""
        return self._decoder.decode(data, final)
