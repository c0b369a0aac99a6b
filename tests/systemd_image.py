"""A root file system with systemd, for tests of machines that boot."""

from __future__ import annotations

from pathlib import Path

from envup.testing import images


def archive() -> Path:
    """A minimal Debian with systemd, see `images.built`."""
    return images.built("systemd", "systemd", "systemd-sysv", "dbus")
