"""What makes a machine itself, as the host tells it: its name, its addresses, its keys. A machine that goes on from the
memory of another is told so on the disk that it was told on before, and becomes the one that the host means.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH112, PTH123, PTH208

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import struct
import tarfile

from envup.namespaces import guestfiles, syscalls
from envup_kvm import server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PLACE = f"{server.KIT}/facts"
_SERIAL = "envup-facts"
_FLUSH = 0x1261
"""BLKFLSBUF of linux/fs.h: what was read of the disk before is forgotten."""
_ADD_ENTROPY, _RESEED = 0x40085203, 0x5207
"""RNDADDENTROPY and RNDRESEEDCRNG of linux/random.h, see random(4)."""
_BOOT_ID, _OWN_BOOT_ID = "/proc/sys/kernel/random/boot_id", "/run/envup/boot_id"
_CARD = "/sys/class/net/eth0/device"
_DRIVER = "/sys/bus/virtio/drivers/virtio_net"


def take(facts: Mapping[str, Any], resolver: str | None) -> None:
    """Have the machine bear its name, in its files as well. Errors: `OSError`."""
    syscalls.sethostname(facts["hostname"])
    addresses = [(address, name) for address, name in facts["addresses"]]
    guestfiles.write(facts["hostname"], addresses, resolver, first=facts["first"])


def join_network(facts: Mapping[str, Any]) -> None:
    """Lines for BusyBox, which say on the console what fails."""
    line = (f"{server.KIT}/busybox", "sh", "-c", facts["network"])
    process = os.posix_spawn(line[0], line, {"PATH": "/nothing"})
    with contextlib.suppress(ChildProcessError):  # the kernel has reaped it, as the agent's signals say
        os.waitpid(process, 0)


class Told:
    """What the host last told this machine."""

    def __init__(self) -> None:
        self._disk = _disk()
        self._last = self._read()

    def change(self) -> dict[str, Any] | None:
        """The facts of the machine that this one is to be from now on; None where it is who it was. Everything but the
        agent knows of it then. Errors: `OSError`, `tarfile.TarError`."""
        now = self._read()
        if now == self._last or not now.strip(b"\0"):
            return None
        facts = _become(now)
        self._last = now
        return facts

    def _read(self) -> bytes:
        disk = os.open(self._disk, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(disk, _FLUSH, 0)
            with open(disk, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(disk)


def _disk() -> str:
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/serial", encoding="ascii") as file:
                if file.read() == _SERIAL:
                    return f"/dev/{name}"
        except FileNotFoundError:
            continue
    raise FileNotFoundError(f"there is no disk {_SERIAL}")


def _become(content: bytes) -> dict[str, Any]:
    """The keys come last: with them the host is let in."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        facts = _facts(archive)
        _take_over(facts)
        archive.extractall(PLACE)
    return facts


def _facts(archive: tarfile.TarFile) -> dict[str, Any]:
    file = archive.extractfile("machine.json")
    if file is None:
        raise ValueError("what the host says holds no facts")
    facts: dict[str, Any] = json.loads(file.read().decode("utf-8", "surrogateescape"))
    return facts


def _take_over(facts: Mapping[str, Any]) -> None:
    _stir(bytes.fromhex(facts["random"]))
    _renew_boot_id()
    take(facts, facts["resolver"])
    _replug()
    join_network(facts)
    _restart_journal()


def _stir(random: bytes) -> None:
    """Have the kernel give other random bytes than the machines that went on from the same memory."""
    device = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _ADD_ENTROPY, struct.pack("ii", len(random) * 8, len(random)) + random)
        fcntl.ioctl(device, _RESEED)
    finally:
        os.close(device)


def _renew_boot_id() -> None:
    """The kernel's own cannot be changed, so another is mounted over it."""
    with open("/proc/sys/kernel/random/uuid", encoding="ascii") as file:
        new = file.read()
    is_mounted = os.path.exists(_OWN_BOOT_ID)
    with open(_OWN_BOOT_ID, "w", encoding="ascii") as file:
        file.write(new)
    if not is_mounted:
        syscalls.mount(_OWN_BOOT_ID, _BOOT_ID, None, syscalls.MS_BIND)


def _replug() -> None:
    """Have the network card be found anew: it has the address of the machine that went before until it is reset."""
    if not os.path.exists(_CARD):
        return
    name = os.path.realpath(_CARD).rpartition("/")[2]
    for way in ("unbind", "bind"):
        with open(f"{_DRIVER}/{way}", "w", encoding="ascii") as file:
            file.write(name)


def _restart_journal() -> None:
    """It keeps what is said under the ids that it found when it started. Nobody waits for it."""
    if os.path.isdir("/run/systemd/system"):
        line = ("systemctl", "--no-block", "try-restart", "systemd-journald.service")
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (1, 2)]
        os.posix_spawnp(line[0], line, {"PATH": "/usr/bin:/bin"}, file_actions=quiet)
