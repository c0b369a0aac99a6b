"""Makes a layer of what has changed in an upper directory since the layer before was made of it, as a program of its
own:

    differing note UPPER RECORD               write down what the directory holds
    differing make UPPER RECORD TREE BEFORE   and make TREE of what differs from the record BEFORE

Nothing may write to the directory meanwhile, and since the record before it only its overlayfs may have. Standard input
tells what may change later without a trace in its inode (`writing.shared`), a NUL behind each. Exit code 3: a tree of
the differences alone cannot be told from the record. There is no RECORD afterwards where nothing could be told from it.

An entry is unchanged when it has the inode and the time of change (ctime) that were recorded, and this was before the
moment of the record. No program can set a ctime; one at that very moment may stand for two changes.

What is gone without a whiteout is in no layer below the upper directory (Documentation/filesystems/overlayfs.rst), but
in that of the record, and gets a whiteout now. A directory that hides what is below it, as the one of the record did,
hides nothing of that one. One that hides nothing where the one of the record did has nothing below but that one:
otherwise it would have been made over a whiteout, and hide what is below.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH101, PTH102, PTH108, PTH116, PTH123

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

from envup.namespaces import overlays, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Entry = list[int]
    """Its type (stat.S_IFMT), inode, ctime in nanoseconds, and whether it is an opaque directory or a whiteout."""

UNFIT = 3
_MOST = 500_000
"""Bytes of names in one command line; the kernel takes 2 MiB."""


class _Unfit(Exception):
    """See the exit code."""


def main(arguments: list[str]) -> int:
    """See the module."""
    verb, upper, record, *rest = arguments
    opaque = overlays.opaque()
    os.chdir(upper)
    with open(record, "x", encoding="ascii") as file:
        status = os.fstat(file.fileno())
        try:
            now, links = _look(opaque)
            if verb == "make":
                tree, before = rest
                _Difference(now, links, _recorded(before), opaque).make(tree)
        except _Unfit:
            os.unlink(record)
            return UNFIT if verb == "make" else 0
        unsure = _unsure(sys.stdin.read().split("\0")[:-1])
        if unsure is None or status.st_dev != os.stat(".").st_dev:
            os.unlink(record)
            return 0
        for entry in now.values():
            if entry[1] in unsure:
                entry[2] = -1
        json.dump({"boot": records.boot(), "moment": status.st_ctime_ns, "entries": now}, file)
    return 0


def _unsure(shared: list[str]) -> set[int] | None:
    """Inodes of files that programs share in memory; None where one is not found."""
    try:
        return {os.lstat(f"./{path}").st_ino for path in shared}
    except (FileNotFoundError, NotADirectoryError):
        return None


def _recorded(file: str) -> tuple[Mapping[str, Entry], int]:
    try:
        with open(file, encoding="ascii") as stream:
            record = json.load(stream)
    except (FileNotFoundError, ValueError) as error:
        raise _Unfit from error
    if record["boot"] != records.boot():
        raise _Unfit
    return record["entries"], record["moment"]


def _look(opaque: str) -> tuple[dict[str, Entry], dict[int, list[str]]]:
    """What is below this directory, parents first, by its path; and the paths of files that have several."""
    now, links = {"": _entry(".", os.lstat("."), opaque)}, dict[int, list[str]]()
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(above or ".") as entries:
            for entry in entries:
                path, status = f"{above}/{entry.name}".lstrip("/"), entry.stat(follow_symlinks=False)
                now[path] = _entry(path, status, opaque)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path)
                elif status.st_nlink > 1 and not now[path][3]:
                    links.setdefault(status.st_ino, []).append(path)
    return now, links


def _entry(path: str, status: os.stat_result, opaque: str) -> Entry:
    hides = overlays.is_whiteout(status)
    if stat.S_ISDIR(status.st_mode):
        attributes = _attributes(path, opaque)
        hides = opaque in attributes and os.getxattr(path, opaque) == b"y"
    return [stat.S_IFMT(status.st_mode), status.st_ino, status.st_ctime_ns, int(hides)]


def _attributes(path: str, opaque: str) -> list[str]:
    """Errors: `_Unfit` for what overlayfs looks for below under another name, or in part."""
    attributes, prefix = os.listxattr(path), opaque.removesuffix("opaque")
    if f"{prefix}redirect" in attributes or f"{prefix}metacopy" in attributes:
        raise _Unfit
    return attributes


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and stat.S_ISDIR(entry[0])


class _Difference:
    """What must lie above a layer that was made of `before` at a `moment` for it to be as `now`."""

    def __init__(
        self,
        now: Mapping[str, Entry],
        links: Mapping[int, list[str]],
        before: tuple[Mapping[str, Entry], int],
        opaque: str,
    ) -> None:
        self._now, self._opaque = now, opaque
        self._before, self._moment = before
        self._whole = set[str]()
        self.directories: dict[str, bool] = {"": False}
        """Each with whether it hides what is below it."""
        self.files, self.whiteouts = set[str](), set[str]()
        for path, entry in now.items():
            self._take(path, entry)
        self.whiteouts.update(path for path in self._before if self._is_gone(path))
        for paths in links.values():
            if not self.files.isdisjoint(paths):
                self.files.update(paths)
        for path in (*self.files, *self.whiteouts, *tuple(self.directories)):
            for above in _above(path):
                self.directories.setdefault(above, False)

    def _is_gone(self, path: str) -> bool:
        """Whether it would come up again in a directory that is still there."""
        old, above = self._before[path], path.rpartition("/")[0]
        is_there = _is_directory(self._now.get(above)) and above not in self._whole
        return path not in self._now and is_there and (_is_directory(old) or not old[3])

    def _take(self, path: str, entry: Entry) -> None:
        """Take in what has changed; what is above it has been taken."""
        above = path.rpartition("/")[0]
        old = self._before.get(path) if not path or above not in self._whole else None
        if _is_directory(entry):
            self._take_directory(path, entry, old)
        elif self._has_changed(entry, old):
            if entry[3]:
                self.whiteouts.add(path)
                return
            if stat.S_ISREG(entry[0]):
                _attributes(path, self._opaque)
            self.files.add(path)

    def _has_changed(self, entry: Entry, old: Entry | None) -> bool:
        return entry != old or entry[2] >= self._moment

    def _take_directory(self, path: str, entry: Entry, old: Entry | None) -> None:
        if old is None or not _is_directory(old) or entry[3] > old[3]:
            self._whole.add(path)
            self.directories[path] = bool(entry[3]) or old is not None
        elif self._has_changed(entry, old):
            self.directories[path] = False

    def make(self, tree: str) -> None:
        """Make it as a directory."""
        for path in sorted(self.directories):
            os.mkdir(f"{tree}/{path}", 0o700)
        for path in self.whiteouts:
            os.mknod(f"{tree}/{path}", stat.S_IFCHR)
        files = sorted(self.files, key=lambda path: self._now[path][1])
        for names in _lines(files, [self._now[path][1] for path in files]):
            line = ["cp", "-a", "--reflink=auto", "--parents", "--target-directory", tree, "--", *names]
            if code := subprocess.run(line).returncode:
                sys.exit(code)
        for path in sorted(self.directories, reverse=True):
            marks = {self._opaque: b"y"} if self.directories[path] else {}
            _set_alike(f"./{path}", f"{tree}/{path}", marks, without=self._opaque)


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


def _lines(paths: list[str], inodes: list[int]) -> Iterator[list[str]]:
    """Such as a command line takes, names of one inode together."""
    line, size = list[str](), 0
    for number, path in enumerate(paths):
        if size > _MOST and inodes[number] != inodes[number - 1]:
            yield line
            line, size = [], 0
        line.append(path)
        size += len(os.fsencode(path)) + 9
    if line:
        yield line


def _set_alike(source: str, target: str, marks: dict[str, bytes], *, without: str) -> None:
    """Give a directory the owner, attributes, mode and times of another, but the attribute `without`."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    attributes = {name: os.getxattr(source, name) for name in _names(source, (without,))} | marks
    for name in _names(target, attributes):
        os.removexattr(target, name)
    for name, value in attributes.items():
        os.setxattr(target, name, value)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _names(path: str, without: Collection[str]) -> list[str]:
    return [name for name in os.listxattr(path) if name not in without]
