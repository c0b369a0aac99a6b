"""virtiofsd, the program that shares directories of this host with a machine: where it is and how it is called.

QEMU's own, which Debian 12 has, and its successor in Rust take different options.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import programs
from envup.provider import Check

REMEDY = "apt-get install virtiofsd, which is part of qemu-system-common in Debian 12 and Ubuntu 22.04"
_DEVICES = "-mknod"
"""Capabilities that it does without: nobody in a machine makes device nodes on this host."""


def find() -> Path | None:
    """The program, after the descriptions of vhost-user backends (QEMU, docs/interop/vhost-user.json: the first by
    name, one in an earlier directory stands in for others of its name). Errors: `EnvupError`."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (Path("/usr/share"), Path("/etc"), own)
    files = {file.name: file for place in places for file in (place / "qemu/vhost-user").glob("*.json")}
    for _name, file in sorted(files.items()):
        text = file.read_text(encoding="utf-8")
        try:
            told = json.loads(text) if text else {}
        except ValueError as error:
            raise EnvupError(f"{file} is no description of a vhost-user backend", details=str(error)) from error
        if told.get("type") == "fs" and os.access(told["binary"], os.X_OK):
            return Path(told["binary"])
    return None


def need() -> Check:
    """What `doctor` tells."""
    if (program := find()) is None:
        return Check("virtiofsd", True, "it is missing, machines have no mounts", REMEDY)
    return Check("virtiofsd", True, str(program))


def line(program: Path, directory: str, listener: int) -> tuple[str, ...]:
    """The line that shares a directory, and what is mounted below it, with whoever connects to the socket that it
    inherits as `listener`. What the host writes is seen at once: nothing is kept that is not asked for again. Errors:
    `EnvupError`."""
    start = (str(program), f"--fd={listener}")
    if "separate-options" in _features(program):
        told = (f"--shared-dir={directory}", "--cache=never", "--allow-mmap", "--xattr", "--posix-acl")
        return (*start, *told, "--announce-submounts", f"--modcaps={_DEVICES}", "--log-level=warn")
    how = "cache=auto,timeout=0,xattr,posix_acl,announce_submounts,log_level=warn"
    return (*start, "-f", "-o", f"source={directory},{how},modcaps={_DEVICES}")


def _features(program: Path) -> list[str]:
    """What it says of itself, see the same document; QEMU's own says it to root only."""
    line = (*programs.as_owner(), str(program), "--print-capabilities")
    done = subprocess.run(line, check=False, capture_output=True, text=True, cwd="/")
    try:
        features: list[str] = json.loads(done.stdout).get("features", [])
    except ValueError as error:
        raise EnvupError(f"{program} does not say what it can", details=done.stderr or str(error)) from error
    return features
