"""A root file system with what tools want of a machine that they manage: Python for Ansible, and rsync."""

from __future__ import annotations

from pathlib import Path

from envup.testing import images


def archive() -> Path:
    """A minimal Debian with both, see `images.built`."""
    return images.built("managed", "python3", "rsync")
