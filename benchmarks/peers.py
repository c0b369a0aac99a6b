"""The same work by hand: overlay and chroot(8), unshare(1), schroot(1) where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from measure import Contender, Shell, Work

SCHROOT = "envup-bench"
_CONFIGURATION = Path("/etc/schroot/chroot.d") / SCHROOT


def raw_contenders(work: Path, tree: Path) -> list[Contender]:
    """Each runs `true` once over the unpacked image at `tree` and leaves nothing. Needs root."""
    shell = Shell(work, dict(os.environ))
    found = [
        Contender("mount overlay, chroot true, umount", _overlay(work / "raw", tree)),
        Contender("unshare, chroot true", shell.program(*_unshare(tree))),
    ]
    if shutil.which("schroot"):
        _configure_schroot(tree)
        found.append(
            Contender(
                "schroot, overlay session, true", shell.program("schroot", "-c", SCHROOT, "-d", "/", "--", "true")
            )
        )
    return found


def _unshare(tree: Path) -> tuple[str, ...]:
    return ("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "chroot", str(tree), "true")


def _overlay(place: Path, tree: Path) -> Work:
    parts = {name: place / name for name in ("upper", "work", "root")}

    def work() -> None:
        for path in parts.values():
            path.mkdir(parents=True)
        options = f"lowerdir={tree},upperdir={parts['upper']},workdir={parts['work']}"
        _call("mount", "-t", "overlay", "-o", options, "overlay", str(parts["root"]))
        _call("chroot", str(parts["root"]), "true")
        _call("umount", str(parts["root"]))
        shutil.rmtree(place)

    return work


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True)


def _configure_schroot(tree: Path) -> None:
    lines = (
        "type=directory",
        f"directory={tree}",
        "union-type=overlay",
        "root-users=root",
        "users=root",
        "profile=minimal",
    )
    _CONFIGURATION.write_text("\n".join((f"[{SCHROOT}]", *lines, "")))


def clean_up() -> None:
    """Remove what `raw_contenders` configured."""
    _CONFIGURATION.unlink(missing_ok=True)
