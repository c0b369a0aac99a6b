"""The file system of a guest kit, laid out from packages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import programs
from envup.value import Value
from envup_kvm import filesystems, initramfs, packages

PLACE = "/run/envup/kit"
"""Where a machine has it."""

_WASTE = ("usr/share", "var", "etc", "usr/lib/systemd", "usr/lib/udev", "usr/src", "usr/share/perl", "usr/lib/openssh")
_PASSWD = "root:x:0:0:root:/facts:/busybox\nsshd:x:65533:65534::/run/sshd:/busybox\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\n"


class _Parts(Value):
    """Paths of a kit, relative to it."""

    loader: str
    libraries: str
    python: str

    @classmethod
    def of(cls, tree: Path) -> _Parts:
        """The loader is the file itself: the name that programs know it by leads into the image in a machine. Errors:
        `EnvupError`."""
        loaders = [path for path in (tree / "usr/lib").glob("*/ld-linux*") if not path.is_symlink()]
        pythons = sorted((tree / "usr/bin").glob("python3.[0-9]*"))
        libraries = [path.parent for path in (tree / "usr/lib").glob("*/libc.so.6")]
        if not (loaders and pythons and libraries):
            raise EnvupError("the packages of this distribution hold no interpreter where it was expected")
        return cls(*(str(found[0].relative_to(tree)) for found in (loaders, libraries, pythons)))

    def line(self, tree: str, name: str, program: str) -> tuple[str, ...]:
        """The line that runs a program of the kit, under a name, wherever the kit is."""
        return (
            f"{tree}/{self.loader}",
            "--library-path",
            f"{tree}/{self.libraries}",
            "--argv0",
            name,
            f"{tree}/{program}",
        )


def make(new: Path, archives: Path) -> None:
    """Put kernel, first file system and disk into `new`. Errors: `EnvupError`, `OSError`."""
    tree = new / "tree"
    _lay_out(tree)
    for package in packages.fetch(archives):
        packages.unpack(package, tree)
    for waste in _WASTE:
        shutil.rmtree(tree / waste, ignore_errors=True)
    parts = _Parts.of(tree)
    _furnish(tree, parts)
    modules = next((tree / "usr/lib/modules").iterdir())
    programs.run((*parts.line(str(tree), "depmod", "usr/bin/kmod"), "-b", str(tree), modules.name), "depmod fails")
    _compile(tree, parts)
    script = Path(__file__).with_name("init.sh").read_text()
    (new / "early").write_bytes(initramfs.early(modules, tree / "busybox", script))
    shutil.copyfile(next((tree / "boot").glob("vmlinuz-*")), new / "kernel")
    shutil.rmtree(tree / "boot")
    filesystems.make(tree, new / "kit.img", journal=False)
    shutil.rmtree(tree)


def _lay_out(tree: Path) -> None:
    """Directories as Debian merges them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")


def _furnish(tree: Path, parts: _Parts) -> None:
    """Put in what no package has."""
    for name in ("dev", "facts", "etc", "run/sshd"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / "usr/bin/busybox", tree / "busybox")
    (tree / "etc/passwd").write_text(_PASSWD)
    (tree / "etc/group").write_text(_GROUP)
    python = (*parts.line(PLACE, f"{PLACE}/usr/bin/python3", parts.python), "-I", "-S", "-X", "utf8")
    _script(tree / "python", python)
    (tree / "python.line").write_text(" ".join(python))
    _script(tree / "modprobe", (*parts.line(PLACE, "modprobe", "usr/bin/kmod"), "-d", PLACE))
    checked = (*parts.line(str(tree), "sshd", "usr/sbin/sshd"), "-?")
    programs.run(checked, "OpenSSH's server of the kit does not start", fine=(0, 1))


def _script(path: Path, line: Sequence[str]) -> None:
    path.write_text(f'#!{PLACE}/busybox sh\nexec {" ".join(line)} "$@"\n')
    path.chmod(0o755)


def _compile(tree: Path, parts: _Parts) -> None:
    """Compile the interpreter's modules, so that none is compiled at each boot. Some packages hold files for tests that
    cannot be."""
    python = parts.line(str(tree), f"{tree}/usr/bin/python3", parts.python)
    how = ("-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", PLACE)
    modules = sorted((tree / "usr/lib").glob("python3.*"))
    line = (*python, "-I", "-S", "-m", "compileall", *how, *map(str, modules))
    programs.run(line, "the interpreter of the kit cannot be compiled", fine=(0, 1))
