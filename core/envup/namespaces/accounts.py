"""Users and groups of a machine, read from its own /etc/passwd and /etc/group, never through the host's name service.

Everything is bytes, as in the files. Runs with the machine as root directory.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import os

_MOST = 4 << 20
"""Bytes that are read of a file: the machine decides what is behind its name."""
_LAST_ID = 2**32 - 2
"""The next one is (uid_t) -1, which setresuid(2) takes for \"leave it as it is\"."""


class UnknownAccount(Exception):
    """The machine has no such user or group; the text says which."""


class Account:
    """Who a program runs as: numbers, and what its environment says about the user."""

    __slots__ = ("gid", "groups", "home", "name", "shell", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], name: bytes, home: bytes, shell: bytes) -> None:
        self.uid, self.gid, self.groups, self.name, self.home, self.shell = uid, gid, groups, name, home, shell


def find(specification: bytes) -> Account:
    """The account that `NAME`, `UID`, `NAME:GROUP` or `UID:GID` stands for. A number needs no entry; one without is in
    group 0 with / as its home, as in Docker. Errors: `UnknownAccount`, also for ids that Linux does not have."""
    user, colon, group = specification.partition(b":")
    entry = _entry(b"/etc/passwd", user, fields=7)
    if entry is not None:
        name, _password, uid, gid, _comment, home, shell = entry
        groups = [_id(gid), *_memberships(name)]
        account = Account(_id(uid), groups[0], groups, name, home or b"/", shell or b"/bin/sh")
    elif user.isdigit():
        account = Account(_id(user), 0, [0], user, b"/", b"/bin/sh")
    elif user == b"root":
        account = Account(0, 0, [0], b"root", b"/root", b"/bin/sh")
    else:
        raise UnknownAccount(f"the machine has no user '{os.fsdecode(user)}'")
    if colon:
        account.gid = _group(group)
        account.groups = [account.gid]
    return account


def _group(group: bytes) -> int:
    entry = _entry(b"/etc/group", group, fields=4)
    if entry is not None:
        return _id(entry[2])
    if group.isdigit():
        return _id(group)
    raise UnknownAccount(f"the machine has no group '{os.fsdecode(group)}'")


def _id(digits: bytes) -> int:
    if len(digits.lstrip(b"0")) > len(str(_LAST_ID)) or int(digits) > _LAST_ID:
        raise UnknownAccount(f"{os.fsdecode(digits)} is no id of a user or group: the last is {_LAST_ID}")
    return int(digits)


def _memberships(name: bytes) -> list[int]:
    numbers = []
    for line in _lines(b"/etc/group"):
        fields = line.split(b":")
        if len(fields) >= 4 and fields[2].isdigit() and name in fields[3].split(b","):
            numbers.append(_id(fields[2]))
    return numbers


def _entry(file: bytes, key: bytes, *, fields: int) -> list[bytes] | None:
    """The entry named `key`, or else the first whose number is `key`."""
    numbered = None
    for line in _lines(file):
        entry = line.split(b":")
        if len(entry) < fields or not entry[2].isdigit() or (fields == 7 and not entry[3].isdigit()):
            continue
        if entry[0] == key:
            return entry[:fields]
        if entry[2] == key and numbered is None:
            numbered = entry[:fields]
    return numbered


def _lines(file: bytes) -> list[bytes]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return []
    with open(descriptor, "rb") as stream:
        return stream.read(_MOST).splitlines()
