"""The first file system of a machine: BusyBox, the kernel modules that lead to the disk, and a script."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from envup.errors import EnvupError

MODULES = ("virtio_pci", "virtio_blk", "ext4", "virtio_console", "virtio_net", "virtio_rng", "virtio_balloon")
"""What a machine needs before its own modules can be reached, in this order; `ext4` names what it depends on."""
LATER = ("crc32c_generic", "crc32c_intel")
"""Wanted by others without being said, where they are no part of the kernel itself."""

PROGRAMS = "/programs"
"""Where our programs are in it."""

_DEPENDS = re.compile(rb"\0?depends=([^\0]*)\0")


def programs(sources: Mapping[str, Path]) -> bytes:
    """What is put behind `early`: the programs of this package, compiled where this host's own interpreter is the
    kit's, which comes from the same distribution."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name, source in sources.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, root / name)
        how = ("-q", "--invalidation-mode", "unchecked-hash", "-s", directory, "-p", f"/run/envup{PROGRAMS}")
        subprocess.run(
            ("/usr/bin/python3", "-I", "-m", "compileall", *how, directory), check=False, capture_output=True
        )
        paths = sorted(root.rglob("*"))
        entries = [(PROGRAMS.strip("/"), 0o040755, b"")]
        for path in paths:
            name = f"{PROGRAMS.strip('/')}/{path.relative_to(root)}"
            entries.append((name, 0o040755, b"") if path.is_dir() else (name, 0o100644, path.read_bytes()))
        return gzip.compress(_archive(entries), 6, mtime=0)


def early(modules: Path, busybox: Path, script: str) -> bytes:
    """The compressed archive. `modules` is the directory of one kernel release. Errors: `EnvupError`."""
    files = {path.name.partition(".ko")[0].replace("-", "_"): path for path in modules.rglob("*.ko*")}
    builtin = {
        Path(line).name.removesuffix(".ko").replace("-", "_")
        for line in (modules / "modules.builtin").read_text().splitlines()
    }
    ordered = list(_ordered([*LATER, *MODULES], files, builtin))
    entries = [(name, 0o040755, b"") for name in ("bin", "lib", "proc", "sys", "dev", "root", "kit", "facts")]
    entries.append(("bin/busybox", 0o100755, busybox.read_bytes()))
    entries.append(("init", 0o100755, script.encode()))
    entries.append(("lib/order", 0o100644, "".join(f"{name}\n" for name in ordered).encode()))
    entries += [(f"lib/{name}.ko", 0o100644, _content(files[name])) for name in ordered]
    return gzip.compress(_archive(entries), 6, mtime=0)


def _ordered(wanted: Sequence[str], files: dict[str, Path], builtin: set[str]) -> Iterator[str]:
    """Each module after those that it depends on."""
    seen: set[str] = set(builtin)
    waiting = list(wanted)[::-1]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        if name not in files:
            if name in LATER:
                continue
            raise EnvupError(f"the kernel of the guest kit has no module {name}")
        needs = [need for need in _depends(_content(files[name])) if need not in seen]
        if needs:
            waiting += [name, *needs[::-1]]
            continue
        seen.add(name)
        yield name


def _depends(module: bytes) -> list[str]:
    found = _DEPENDS.search(module)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def _content(module: Path) -> bytes:
    """A module as the kernel loads it."""
    tool = {".zst": ("zstd", "-dcq"), ".xz": ("xz", "-dcq")}.get(module.suffix)
    if tool is None:
        return module.read_bytes()
    return subprocess.run((*tool, str(module)), check=True, capture_output=True).stdout


def _archive(entries: Sequence[tuple[str, int, bytes]]) -> bytes:
    """In the format newc, see the kernel's Documentation/driver-api/early-userspace/buffer-format.rst."""
    parts = []
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        text = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(text), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + text
        parts += [head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)]
    return b"".join(parts)
