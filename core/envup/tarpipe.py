"""Tar streams between the host and a machine: packing what is on the host, unpacking what a machine sends.

A machine is not trusted: whatever its stream says, nothing is written outside the one target.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from envup.errors import EnvupError, InterruptedByUser
from envup.images.members import Refused, Rules
from envup.selection import Selection

Change = Callable[[tarfile.TarInfo], tarfile.TarInfo]
"""What becomes of a member's metadata on its way."""
_ALL = Selection()


def _nothing(_member: tarfile.TarInfo, _path: Path) -> bool:
    return False


@contextmanager
def filled_by(produce: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """The reading end of a pipe that `produce` fills from a thread. At the end, an error of `produce` is raised, unless
    it follows from one of the reader's own."""
    errors: list[BaseException] = []
    reading, writing = os.pipe()

    def work() -> None:
        try:
            with os.fdopen(writing, "wb", buffering=0) as sink:
                produce(sink)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="tar stream", daemon=True)
    thread.start()
    failed: BaseException | None = None
    try:
        with os.fdopen(reading, "rb", buffering=0) as source:
            yield source
    except BaseException as error:
        failed = error
    thread.join()
    cause = next((error for error in errors if not isinstance(error, BrokenPipeError)), None)
    follows = failed is None or (
        isinstance(failed, EnvupError | tarfile.TarError) and not isinstance(failed, Refused | InterruptedByUser)
    )
    if cause is not None and follows:
        raise cause
    if failed is not None:
        raise failed


def pack(
    sink: BinaryIO,
    source: Path,
    name: str,
    *,
    change: Change,
    directories: Sequence[str] = (),
    selection: Selection = _ALL,
    skipped: Callable[[Path], None],
    spared: Callable[[tarfile.TarInfo, Path], bool] = _nothing,
) -> None:
    """Write `source` under `name`, and before it the new `directories`; an empty `name` writes what is in `source`
    without itself. Of a directory's content only the `selection` is written. What cannot be sent (sockets, device
    nodes) is told to `skipped`, what is `spared` is left out. Errors: `OSError`."""
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for directory in directories:
            archive.addfile(new_directory(directory))
        for path, inside in walk(source, name, selection):
            status = path.lstat()
            if stat.S_ISSOCK(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                skipped(path)
            elif inside:
                archive.add(path, arcname=inside, recursive=False, filter=partial(_needed, path, change, spared))


def _needed(
    path: Path, change: Change, spared: Callable[[tarfile.TarInfo, Path], bool], member: tarfile.TarInfo
) -> tarfile.TarInfo | None:
    changed = change(member)
    return None if spared(changed, path) else changed


def new_directory(name: str) -> tarfile.TarInfo:
    """The member for a directory of root's that anybody may enter."""
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
    return member


def walk(path: Path, name: str, selection: Selection) -> Iterator[tuple[Path, str]]:
    """(path, name in the stream) of what `pack` writes. Errors: `OSError`."""
    yield path, name
    if path.is_dir() and not path.is_symlink():
        for inner, below in selection.below(path):
            yield inner, f"{name}/{below}" if name else below


def unpack(stream: BinaryIO, root: str, target: Path) -> None:
    """Unpack a stream whose names begin with `root` so that `root` becomes `target`. Directories that exist are added
    to and keep their mode; files are replaced. Owners are kept when root does it; set-id bits of files are not.

    Errors: `EnvupError` for a hostile stream, `tarfile.TarError` for a damaged one, `OSError`.
    """
    unpacker = _Unpacker(root, target)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            unpacker.put(archive, member)
    unpacker.finish()
    while stream.read(1 << 16):
        pass  # the padding after the end; the writer would take a closed pipe for a failure


class _Unpacker:
    def __init__(self, root: str, target: Path) -> None:
        self._root, self._target = root, target
        self._rules = Rules("what the machine sends", strict=True)
        self._checked: set[Path] = set()
        self._made: list[tuple[Path, tarfile.TarInfo]] = []

    def put(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        place = self._place(self._rules.admit(member))
        self._check_parents(place)
        if member.isdir():
            self._put_directory(place, member)
            return
        with suppress(FileNotFoundError):
            place.unlink()
        if member.issym():
            place.symlink_to(member.linkname)
        elif member.islnk():
            place.hardlink_to(self._place(self._rules.plain(member.linkname)))
            return
        elif member.isfifo():
            os.mkfifo(place, 0o600)
        else:
            _write_file(archive, member, place)
        _dress(place, member)

    def finish(self) -> None:
        """Directories get their attributes last, or a read-only one could not be filled."""
        for place, member in reversed(self._made):
            _dress(place, member)

    def _place(self, name: str) -> Path:
        first, _, rest = name.partition("/")
        if first != self._root:
            raise Refused(f"what the machine sends is refused: {name!r} is not below {self._root!r}")
        return self._target / rest if rest else self._target

    def _check_parents(self, place: Path) -> None:
        """A symbolic link that is on the host already leads out of the target as well."""
        if place == self._target:
            place.parent.mkdir(parents=True, exist_ok=True)
            return
        for parent in reversed(place.parents[: len(place.parts) - len(self._target.parts)]):
            if parent in self._checked:
                continue
            if parent.is_symlink() and parent != self._target:
                raise Refused(f"{parent} is a symbolic link on the host and a directory in the machine")
            parent.mkdir(exist_ok=True)
            self._checked.add(parent)

    def _put_directory(self, place: Path, member: tarfile.TarInfo) -> None:
        if place.is_symlink() and place != self._target:
            raise Refused(f"{place} is a symbolic link on the host and a directory in the machine")
        if not place.is_dir():
            place.mkdir(mode=0o700)
            self._made.append((place, member))


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    stream = archive.extractfile(member)
    assert stream is not None, "the member is a regular file"
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 18)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _dress(place: Path, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.chown(place, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        place.chmod(member.mode & (0o3777 if member.isdir() else 0o777))
    os.utime(place, (member.mtime, member.mtime), follow_symlinks=False)
