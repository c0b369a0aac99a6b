"""Which account of this host QEMU's processes run as, who alone may reach the sockets that are made for them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from envup_kvm import connection

_LABEL = re.compile(r"\+(\d+):\+(\d+)")


def qemu(libvirtd: Any) -> tuple[int, int]:
    """(uid, gid): the base label of libvirt's security model `dac`, this process's own where a daemon has none, as that
    of an ordinary account. See https://libvirt.org/formatcaps.html. Errors: `EnvupError`."""
    with connection.telling("libvirt does not tell its capabilities"):
        told = xml.fromstring(libvirtd.getCapabilities())
    for model in told.iterfind("host/secmodel"):
        label = _LABEL.fullmatch(model.findtext("baselabel") or "")
        if model.findtext("model") == "dac" and label is not None:
            return int(label[1]), int(label[2])
    return os.geteuid(), os.getegid()


def give(path: Path, owner: tuple[int, int]) -> None:
    """Let this account, and nobody else but root, use a socket. Errors: `OSError`."""
    path.chmod(0o600)
    if owner != (os.geteuid(), os.getegid()):
        os.chown(path, *owner)
