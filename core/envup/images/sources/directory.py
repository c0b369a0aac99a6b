"""The image source `directory`: a directory tree, packed so that one tree always gives one digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup import content
from envup.envfile import NAMES, own_files
from envup.errors import EnvupError
from envup.image import FetchContext, Fetched, ImageSource
from envup.images import tools
from envup.model import Pin
from envup.namespaces import archives

_PACK = (*archives.REPRODUCIBLE, "--anchored", "--exclude=./dev/*")


class Directory(ImageSource):
    """`image: {directory: PATH}`. Other file systems mounted in the tree and what is below its /dev are left out. For
    an ordinary account, what it owns becomes root's in the image, as it would in a user namespace of its own. A lock
    file knows it by names, contents and what may be executed, as times and other modes differ between checkouts, and so
    does what is left out beside an Envfile in the tree."""

    name = "directory"

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """A digest of the metadata of everything in the tree."""
        root = _root(options)
        try:
            return {"tree": _fingerprint(root)}
        except OSError as error:
            raise EnvupError(f"image directory {root}: cannot read {error.filename}: {error.strerror}") from error

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        root = _root(options)
        try:
            pack(root, archive, context)
        except tools.ToolError as error:
            raise EnvupError(
                f"cannot pack the image directory {root}", details=error.details, hint=error.hint
            ) from error
        return Fetched(pin=Pin(f"sha256:{content.portable([root], root, own_files(root / NAMES[0]))}"))


def pack(root: Path, archive: Path, context: FetchContext, exclude: tuple[str, ...] = ()) -> None:
    """Pack the tree below `root`, without paths that match `exclude` (such as `./var/log/*`). Errors: `ToolError`."""
    owners: tuple[str, ...] = ()
    if os.geteuid():
        users, groups = context.work / "owners", context.work / "groups"
        users.write_text(f"+{os.getuid()} +0\n")
        groups.write_text(f"+{os.getgid()} +0\n")
        owners = (f"--owner-map={users}", f"--group-map={groups}")
    left_out = tuple(f"--exclude={pattern}" for pattern in exclude)
    files = ("--file", str(archive), "--directory", str(root), ".")
    tools.run(("tar", *_PACK, *owners, *left_out, *files), emit=context.emit)


def _root(options: Mapping[str, Any]) -> Path:
    root = Path(options["directory"])
    if not root.is_dir():
        missing = "is not a directory" if root.exists() else "does not exist"
        raise EnvupError(f"image directory {root} {missing}")
    return root


def _fingerprint(root: Path) -> str:
    whole = hashlib.sha256()
    for path, status in _walk(os.fspath(root)):
        facts = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        whole.update(f"{path}\0{facts}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _walk(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    yield directory, os.lstat(directory)
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        else:
            yield entry.path, entry.stat(follow_symlinks=False)
