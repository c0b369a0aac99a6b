"""What need not be sent into a machine since it is there already, with the same content, mode and owner."""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from envup.value import Value

if TYPE_CHECKING:
    from envup.machine import Machine

_FACTS = "%f %u %g %s %n"
"""Of stat(1): mode in hexadecimal, owner, group, size, name."""
_TOLD = re.compile(r"([0-9a-f]+) (\d+) (\d+) (\d+) (.*)", re.DOTALL)
"""A line of `_FACTS`; a shell that finds no locale says other things beside."""
_ASK = 'cd -- "$1" && shift && tr "\\n" "\\0" | xargs -0 -r "$@" 2>/dev/null || true'
"""Of those of the given names that exist, what a program says."""


class _Facts(Value):
    mode: int
    owner: int
    group: int
    size: int


class Spared:
    """The files among `names`, below `directory` of a machine, that are the same there. Those whose names have line
    breaks or backslashes are not among them, nor are links."""

    def __init__(self, machine: Machine, directory: str, names: Iterable[str]) -> None:
        self._machine, self._directory = machine, directory
        self._facts = dict(self._ask_facts([name for name in names if name and not {"\n", "\\"} & set(name)]))
        self._sums: dict[str, str] | None = None

    def __call__(self, member: tarfile.TarInfo, path: Path) -> bool:
        """Whether a member is one that is the same, the content of which is that of the file `path`."""
        facts = self._facts.get(member.name)
        if facts is None or (facts.owner, facts.group) != (member.uid, member.gid):
            return False
        if stat.S_IMODE(facts.mode) != stat.S_IMODE(member.mode):
            return False
        if member.isdir():
            return stat.S_ISDIR(facts.mode)
        if not member.isreg() or not stat.S_ISREG(facts.mode) or facts.size != member.size:
            return False
        with path.open("rb") as file:
            return self._sum(member.name) == hashlib.file_digest(file, "sha256").hexdigest()

    def _ask_facts(self, names: list[str]) -> Iterable[tuple[str, _Facts]]:
        for line in self._ask(names, "stat", "-c", _FACTS, "--"):
            if told := _TOLD.fullmatch(line):
                mode, owner, group, size, name = told.groups()
                yield name, _Facts(int(mode, 16), int(owner), int(group), int(size))

    def _sum(self, name: str) -> str | None:
        if self._sums is None:
            files = [known for known, facts in self._facts.items() if stat.S_ISREG(facts.mode)]
            lines = (line.partition("  ") for line in self._ask(files, "sha256sum", "--"))
            self._sums = {known: digest for digest, _space, known in lines}
        return self._sums.get(name)

    def _ask(self, names: list[str], *program: str) -> list[str]:
        if not names:
            return []
        given = "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
        said = self._machine.read(("/bin/sh", "-c", _ASK, "sh", self._directory, *program), stdin=given)
        return said.decode(errors="surrogateescape").split("\n")
