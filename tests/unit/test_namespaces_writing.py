"""Files that programs of a machine share in memory are found, whatever the kernel tells of them; or it is said that not
all can be."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.namespaces import pausing, writing

pytestmark = pytest.mark.root

MACHINE = """
import mmap, os, signal, sys
from envup.namespaces import syscalls
place, path, binding = sys.argv[1:]
options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
syscalls.mount("overlay", f"{place}/merged", "overlay", 0, options)
os.chdir(f"{place}/merged")
if binding == "in the machine":
    syscalls.mount("bound", "at", None, syscalls.MS_BIND)
syscalls.pivot_root(".", ".")
syscalls.unmount(".")
if binding == "in a program's own namespace":
    os.fork() == 0 or signal.pause()
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("/bound", "/at", None, syscalls.MS_BIND)
file = open(path, "rb" if path == "read" else "r+b")
page = mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Directories of an overlay that has files below and above."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        place = Path(directory)
        for name in ("lower", "upper/at", "upper/bound", "work", "merged"):
            (place / name).mkdir(parents=True)
        for name in ("lower/copied", "lower/read", "upper/own", "upper/at/file", "upper/bound/file"):
            (place / name).write_bytes(bytes(4096))
        yield place


@contextlib.contextmanager
def mapped(place: Path, path: str, binding: str) -> Iterator[int]:
    """The first process of a machine that stands still and has a file mapped."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--"]
    line = [*unshare, sys.executable, "-c", MACHINE, str(place), path, binding]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as host:
        try:
            assert host.stdout is not None
            assert host.stdout.readline() == b"ready\n"
            first = int(Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()[0])
            assert writing.shared(first, place / "upper") is None, "it does not stand still"
            with pausing.paused(first):
                yield first
        finally:
            host.kill()


@pytest.mark.parametrize(("path", "told"), [("own", ["/own"]), ("copied", ["/copied"]), ("read", [])])
def test_files_are_told_that_programs_may_write_to(place: Path, path: str, told: list[str]) -> None:
    with mapped(place, path, "") as first:
        assert writing.shared(first, place / "upper") == told


@pytest.mark.parametrize("binding", ["in the machine", "in a program's own namespace"])
def test_a_path_that_is_another_file_of_the_upper_directory_is_not_taken_for_it(place: Path, binding: str) -> None:
    with mapped(place, "at/file", binding) as first:
        assert writing.shared(first, place / "upper") is None
