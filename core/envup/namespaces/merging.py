"""Makes one tree of several overlayfs layers, as a program of its own: `merging TARGET IMAGE LAYER…`, the lowest first.

What a layer hides below it stays hidden (Documentation/filesystems/overlayfs.rst): whiteouts and opaque directories are
taken over, as the new tree lies over the image. A directory over what is none has nothing below it, marked so or not,
and becomes opaque. Where there is nothing to hide, overlayfs would list a whiteout as a file.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102, PTH108, PTH112, PTH114, PTH116, PTH208

from __future__ import annotations

import os
import shutil
import subprocess

from envup.namespaces import overlays


def main(arguments: list[str]) -> int:
    """See the module."""
    target, image, *layers = arguments
    opaque = overlays.opaque()
    os.mkdir(target)
    for layer in layers:
        _make_way(layer, target, opaque)
        done = subprocess.run(["cp", "-a", "--reflink=auto", "--remove-destination", "--", f"{layer}/.", target])
        if done.returncode:
            return done.returncode
    _uncover(target, image, opaque)
    return 0


def _make_way(layer: str, target: str, opaque: str) -> None:
    """Remove from the target what the layer replaces as a whole, and attributes of directories that it has no more."""
    for name in {*os.listxattr(target)} - {*os.listxattr(layer), opaque}:
        os.removexattr(target, name)
    for entry in os.scandir(layer):
        below = f"{target}/{entry.name}"
        is_directory = _is_directory(below)
        if is_directory and entry.is_dir(follow_symlinks=False) and not _is(entry.path, opaque):
            _make_way(entry.path, below, opaque)
        elif is_directory:
            shutil.rmtree(below)
        elif os.path.lexists(below):
            os.unlink(below)
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(below, 0o700)
                os.setxattr(below, opaque, b"y")


def _uncover(target: str, image: str, opaque: str) -> None:
    """Remove the whiteouts that hide nothing of the image."""
    waiting: list[tuple[str, str | None]] = [(target, image)]
    while waiting:
        directory, below = waiting.pop()
        times, names = os.stat(directory), _names(below)
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                shows = entry.name in names and not _is(entry.path, opaque)
                waiting.append((entry.path, f"{below}/{entry.name}" if shows else None))
            elif entry.name not in names and overlays.is_whiteout(entry.stat(follow_symlinks=False)):
                os.unlink(entry.path)
        os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))


def _names(directory: str | None) -> set[str]:
    """What is in it; nothing where it is none."""
    return {*os.listdir(directory)} if directory is not None and _is_directory(directory) else set()


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _is(directory: str, attribute: str) -> bool:
    return attribute in os.listxattr(directory, follow_symlinks=False) and os.getxattr(directory, attribute) == b"y"
