"""A root file system with systemd, for tests of machines that boot."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
from pathlib import Path


def archive() -> Path:
    """A minimal Debian of this host's suite with systemd, built by the first who asks and kept below /var/tmp."""
    kept = Path("/var/tmp") / f"envup-tests-{os.geteuid()}"
    kept.mkdir(mode=0o755, exist_ok=True)
    path = kept / "systemd.tar"
    with (kept / "systemd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            new = path.with_suffix(".new.tar")
            suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
            packages = "--include=systemd,systemd-sysv,dbus"
            command = ["mmdebstrap", "--variant=minbase", "--quiet", packages, suite, str(new)]
            subprocess.run(command, check=True, timeout=280)
            new.rename(path)
    return path
