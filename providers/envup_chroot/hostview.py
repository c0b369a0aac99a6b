"""The image `host`: what of the running system a machine may see. A layer above the host's / hides the rest.

The layer lies on a tmpfs of the holder and is made anew at each start: hidden directories are opaque empty ones,
hidden files are whiteouts (Documentation/filesystems/overlayfs.rst), and account files have their password hashes
taken out.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH101, PTH102, PTH112, PTH114, PTH116, PTH123, PTH208

from __future__ import annotations

import os
import stat

_SHOWN = {"bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr", "var"}
"""Of /; everything else is the host's own business."""

_SHOWN_OF_VAR = {"cache", "lib", "lock"}
_HIDDEN_OF_VAR_LIB = {
    "NetworkManager", "bluetooth", "containerd", "containers", "docker", "lxc", "lxd", "libvirt", "machines", "mysql",
    "postgresql", "private", "samba", "sss", "systemd", "tpm", "udisks2",
}  # fmt: skip
_HIDDEN = (
    "etc/NetworkManager/system-connections", "etc/ssl/private", "etc/krb5.keytab", "etc/wireguard", "etc/openvpn",
    "etc/shadow-", "etc/gshadow-", "etc/security/opasswd", "etc/machine-id",
    "var/cache/debconf/passwords.dat", "var/cache/envup", "var/lib/envup",
)  # fmt: skip
_PRIVATE_BUT_NEEDED = {"etc/shadow", "etc/gshadow", "etc/sudoers", "etc/sudoers.d"}


def mask(layer: str, own: list[str]) -> None:
    """Fill the empty directory `layer`. `own` are further absolute paths to hide."""
    for name in os.listdir("/"):
        if name not in _SHOWN:
            _hide(layer, name)
    for name in _names("/var"):
        if name not in _SHOWN_OF_VAR:
            _hide(layer, f"var/{name}")
    for path in (*_HIDDEN, *(f"var/lib/{name}" for name in _HIDDEN_OF_VAR_LIB), *(path.lstrip("/") for path in own)):
        _hide(layer, path)
    for directory in ("etc", "var/lib", "var/cache"):
        _hide_private(layer, directory)
    for name in ("shadow", "gshadow"):
        _without_hashes(layer, f"etc/{name}")


def _hide_private(layer: str, directory: str) -> None:
    """Hide what ordinary users of the host may not read: keys, passwords, queues."""
    for name in _names(f"/{directory}"):
        path = f"{directory}/{name}"
        try:
            mode = os.lstat(f"/{path}").st_mode
        except OSError:
            continue
        if not stat.S_ISLNK(mode) and not mode & stat.S_IROTH and path not in _PRIVATE_BUT_NEEDED:
            _hide(layer, path)
        elif stat.S_ISDIR(mode) and directory.startswith("etc"):
            _hide_private(layer, path)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _hide(layer: str, path: str) -> None:
    """Hide /`path`, unless a directory above it is hidden already or it does not exist."""
    try:
        status = os.lstat(f"/{path}")
    except OSError:
        return
    if os.path.lexists(f"{layer}/{path}") or not _parents(layer, path):
        return
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(f"{layer}/{path}")
        _like(f"{layer}/{path}", status)
        os.setxattr(f"{layer}/{path}", "trusted.overlay.opaque", b"y")
    else:
        os.mknod(f"{layer}/{path}", stat.S_IFCHR, os.makedev(0, 0))


def _parents(layer: str, path: str) -> bool:
    """Make the directories above `path` in the layer, as they are on the host; False when one of them is hidden."""
    parts = path.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        parent = "/".join(parts[:end])
        if os.path.isdir(f"{layer}/{parent}"):
            if "trusted.overlay.opaque" in os.listxattr(f"{layer}/{parent}"):
                return False
            continue
        if os.path.islink(f"/{parent}") or os.path.lexists(f"{layer}/{parent}"):
            return False
        os.mkdir(f"{layer}/{parent}")
        _like(f"{layer}/{parent}", os.stat(f"/{parent}"))
    return True


def _like(path: str, status: os.stat_result) -> None:
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))


def _without_hashes(layer: str, path: str) -> None:
    """Copy an account file with every password locked."""
    try:
        with open(f"/{path}", encoding="utf-8", errors="surrogateescape") as file:
            entries = [line.split(":") for line in file.read().splitlines()]
        status = os.stat(f"/{path}")
    except FileNotFoundError:
        return
    _parents(layer, path)
    with open(f"{layer}/{path}", "x", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(":".join([entry[0], "*", *entry[2:]]) + "\n" for entry in entries if len(entry) > 2)
    _like(f"{layer}/{path}", status)
