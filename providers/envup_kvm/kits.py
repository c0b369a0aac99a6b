"""Guest kits: what a machine needs beside its image, made once and shared by all machines.

    kits/<key>/
        kernel              what machines boot
        early               their first file system, see `initramfs`
        programs-<key>      the programs of this package that run in a machine, a compressed archive
        initrd-<key>        `early` and the programs
        kit.img             a disk, mounted at /run/envup/kit: an interpreter, OpenSSH's server, the kernel's modules

Everything but our own programs comes from packages of this host's distribution. The image of a machine stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import programs
from envup.value import Value
from envup_kvm import initramfs, kit_tree, packages
from envup_kvm.machines import MEMORY_NOTE

_INSIDE = (
    "__init__",
    "agent",
    "boot",
    "carrying",
    "children",
    "dialling",
    "disk_boot",
    "disk_names",
    "first",
    "identity",
    "link",
    "masks",
    "mounting",
    "power",
    "server",
    "session",
    "processors",
    "upkeep",
    "wire",
)
"""Modules of this package that run in a machine."""
_CARRYING = ("__init__", "loop", "streams", "wire")
"""Modules of `envup.networks` that do."""
_RECIPE = (initramfs.__file__, kit_tree.__file__, packages.__file__, str(Path(__file__).with_name("init.sh")))


class Kit(Value):
    """One that is made."""

    kernel: Path
    initrd: Path
    disk: Path
    programs: Path


def ensure(data: Path, progress: Callable[[str], None]) -> Kit:
    """The kit that fits this envup, made first where it is missing. Errors: `EnvupError`."""
    sources = _sources()
    directory = data / "kits" / _digest(Path(file) for file in _RECIPE)
    key = _digest(sources.values())
    initrd, archive = directory / f"initrd-{key}", directory / f"programs-{key}"
    if not initrd.exists():
        with _locked(data / "kits"):
            if not directory.is_dir():
                progress("makes the guest kit: kernel, interpreter and OpenSSH from this host's distribution")
                _make(directory)
                _remove_others(data, directory)
            if not initrd.exists():
                content = initramfs.programs(sources)
                _write(archive, content)
                _write(initrd, (directory / "early").read_bytes() + content)
    return Kit(directory / "kernel", initrd, directory / "kit.img", archive)


def _remove_others(data: Path, current: Path) -> None:
    """Kits that nobody starts a machine with any more: one that runs has its files open. The memory of a snapshot or
    of a layer needs those that it names."""
    notes = [*(data / "machines").glob("*/snapshots/*.json"), *(data / "layers").glob(f"*/{MEMORY_NOTE}")]
    noted = [path.read_text(encoding="utf-8") for path in notes]
    for kit in (data / "kits").iterdir():
        if kit.is_dir() and kit != current and not any(f"{kit}/" in text for text in noted):
            programs.remove(kit)


def _write(path: Path, content: bytes) -> None:
    """The whole file or none, as whole sectors of a disk."""
    new = path.with_suffix(".new")
    new.write_bytes(content + bytes(-len(content) % 512))
    new.chmod(0o644)
    new.rename(path)


def _sources() -> dict[str, Path]:
    """Where our programs lie in a machine, below their directory, and where here."""
    here, shared = Path(__file__).parent, Path(programs.__file__).parent
    found = {f"envup/namespaces/{path.name}": path for path in sorted(shared.glob("*.py"))}
    found |= {f"envup/networks/{name}.py": shared.parent / f"networks/{name}.py" for name in _CARRYING}
    return found | {f"envup_kvm/{name}.py": here / f"{name}.py" for name in _INSIDE}


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(directory: Path) -> None:
    """It appears whole or not at all; the lock is held."""
    new = directory.parent / "new"
    archives = directory.parent / "packages"
    archives.mkdir(exist_ok=True)
    try:
        programs.remove(new)
        new.mkdir(mode=0o711)
        kit_tree.make(new, archives)
        for file in new.iterdir():
            file.chmod(0o644)
        new.rename(directory)
        shutil.rmtree(archives)
    except OSError as error:
        raise EnvupError(f"cannot make {error.filename}: {error.strerror}") from error
