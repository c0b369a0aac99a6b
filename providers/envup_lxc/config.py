"""The configuration of a container as lxc.container.conf(5) has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from envup.networks import bridge
from envup.networks import network as networks
from envup.networks.addresses import Place
from envup.provider import MachineSpec
from envup_lxc import launch, settings

_MOUNTS = (
    "tmpfs dev/shm tmpfs nosuid,nodev,mode=1777,create=dir 0 0",
    "mqueue dev/mqueue mqueue nosuid,nodev,noexec,create=dir,optional 0 0",
)
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
CONSOLE, LOG = "console.log", "lxc.log"


def text(spec: MachineSpec, ids: tuple[str, str], network: Sequence[str], group: str, *, rootless: bool) -> str:
    """The file's text. `ids` are the maps of the container's users and groups, `network` lines for its interface,
    `group` its control groups' name below `envup/`. Paths are relative to the machine's directory, where LXC runs."""
    own_sys = "lxc.net.0.type = none" not in network
    lines = [
        f"lxc.uts.name = {spec.hostname or spec.name}",
        f"lxc.rootfs.path = dir:{launch.PRIVATE}/root",
        *(line for kind, maps in zip("ug", ids, strict=True) for line in _idmap(kind, maps)),
        *network,
        f"lxc.mount.auto = proc:mixed{' sys:ro' if own_sys else ''}",
        *(f"lxc.mount.entry = {mount}" for mount in _MOUNTS),
        *([] if own_sys else ["lxc.mount.entry = tmpfs sys tmpfs ro,nosuid,nodev,noexec,mode=755,create=dir 0 0"]),
        f"lxc.cap.drop = {' '.join(name.lower() for name in settings.dropped(spec))}",
        "lxc.autodev = 1",
        "lxc.tty.max = 0",
        "lxc.pty.max = 4096",
        f"lxc.console.logfile = {CONSOLE}",
        f"lxc.log.file = {LOG}",
        "lxc.log.level = ERROR",
        *(f"lxc.cgroup.dir.{key} = envup/{group}{suffix}" for key, suffix in _GROUPS.items()),
        "lxc.cgroup.dir.container.inner = ns",
        *_confinement(rootless=rootless),
    ]
    return "\n".join([*lines, ""])


def network(place: Place) -> list[str]:
    """The lines for the interface of a machine at `place`."""
    if place.network.kind == "host":
        return ["lxc.net.0.type = none"]
    if place.network.kind == "none":
        return ["lxc.net.0.type = empty", "lxc.net.0.flags = up"]
    return [
        "lxc.net.0.type = veth",
        f"lxc.net.0.link = {place.network.bridge or bridge.NAME}",
        "lxc.net.0.flags = up",
        "lxc.net.0.name = eth0",
        f"lxc.net.0.hwaddr = {place.hardware}",
        f"lxc.net.0.ipv4.address = {place.interface()}",
        f"lxc.net.0.ipv4.gateway = {networks.gateway(place.network)}",
    ]


_GROUPS = {"container": "/lxc", "monitor": ".monitor", "monitor.pivot": ".pivot"}


def _idmap(kind: str, maps: str) -> Iterator[str]:
    for extent in maps.split(","):
        yield f"lxc.idmap = {kind} {extent.replace(':', ' ')}"


def _confinement(*, rootless: bool) -> list[str]:
    """Where AppArmor is in force: the profile that LXC makes for a container by itself, which needs root."""
    if not has_apparmor():
        return []
    if rootless:
        return ["lxc.apparmor.profile = unconfined"]
    return ["lxc.apparmor.profile = generated", "lxc.apparmor.allow_nesting = 1"]


def has_apparmor() -> bool:
    """Whether AppArmor is in force on this host."""
    return _APPARMOR.exists() and _APPARMOR.read_text(encoding="ascii").startswith("Y")
