"""The image that the kit's machines are made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
from pathlib import Path

from envup.image import Image

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names of what uname(2) calls a machine."""


def describe(archive: Path) -> Image:
    """The image that an archive of this host's architecture is."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Image(f"sha256:{digest}", archive, _ARCHITECTURES.get(os.uname().machine, ""))


def built(name: str = "debian", *packages: str) -> Path:
    """A minimal Debian of this host's suite with these packages beside, built by the first who asks for `name` and kept
    below /var/tmp."""
    kept = Path("/var/tmp") / f"envup-tests-{os.geteuid()}"
    kept.mkdir(mode=0o755, exist_ok=True)
    assert kept.stat().st_uid == os.geteuid(), f"{kept} belongs to somebody else"
    path = kept / f"{name}.tar"
    with (kept / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            new = path.with_suffix(".new.tar")
            suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
            include = [f"--include={','.join(packages)}"] if packages else []
            command = ["mmdebstrap", "--variant=minbase", "--quiet", *include, suite, str(new)]
            subprocess.run(command, check=True, timeout=280)
            new.rename(path)
    return path
