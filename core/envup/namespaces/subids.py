"""The subordinate ids of a user, from /etc/subuid and /etc/subgid, as maps for a user namespace."""

from __future__ import annotations

import os
from pathlib import Path

from envup.errors import EnvupError

FILES = ("/etc/subuid", "/etc/subgid")
NEEDED = 65536
"""Ids that a Debian system uses: 0 to 65535, nobody (65534) included."""


def maps() -> tuple[str, str] | None:
    """(uids, gids) for `userns.enter`: root inside is the caller, everybody else is a subordinate id. None for root,
    who needs none. Errors: `EnvupError` with the remedy."""
    if os.geteuid() == 0:
        return None
    uids, gids = _ranges(NEEDED - 1)
    return id_map([(os.geteuid(), 1), *uids]), id_map([(os.getegid(), 1), *gids])


def shifted() -> tuple[str, str]:
    """(uids, gids) for `userns.enter`: root inside is the first subordinate id of the caller, who may be root, so that
    nobody inside is anybody of the host. Errors: `EnvupError` with the remedy."""
    uids, gids = _ranges(NEEDED)
    return id_map(uids), id_map(gids)


def _ranges(least: int) -> list[list[tuple[int, int]]]:
    """The caller's ranges of users and of groups, which hold at least `least` ids each."""
    name = _name()
    texts = [_read(file) for file in FILES]
    ranges = [parse(text, name, os.geteuid()) for text in texts]
    for file, found in zip(FILES, ranges, strict=True):
        if sum(count for _first, count in found) < least:
            free = first_free(texts)
            span = f"{free}-{free + NEEDED - 1}"
            raise EnvupError(
                f"user {name} has no {NEEDED} subordinate ids in {file}",
                hint=f"run as root: usermod --add-subuids {span} --add-subgids {span} {name}",
            )
    return ranges


def _name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def parse(text: str, name: str, number: int) -> list[tuple[int, int]]:
    """The ranges (first id, count) that subuid(5) gives to a user, by name or number."""
    fields = [line.split(":") for line in text.splitlines()]
    mine = [entry for entry in fields if len(entry) == 3 and entry[0] in (name, str(number))]
    return [(int(first), int(count)) for _owner, first, count in mine if first.isdigit() and count.isdigit()]


def first_free(texts: list[str]) -> int:
    """The lowest id, 100000 or more, above every range that somebody has."""
    fields = [line.split(":") for text in texts for line in text.splitlines()]
    ends = [int(entry[1]) + int(entry[2]) for entry in fields if len(entry) == 3 and (entry[1] + entry[2]).isdigit()]
    return max(100_000, *ends, 0)


def id_map(ranges: list[tuple[int, int]]) -> str:
    """Ids inside are 0 and up; they stand for one range (first id, count) after the other."""
    parts = []
    inside = 0
    for first, count in ranges:
        parts.append(f"{inside}:{first}:{count}")
        inside += count
    return ",".join(parts)
