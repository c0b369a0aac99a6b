"""One machine: where its parts are, and its domain."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from envup.namespaces import directories, programs, records
from envup.provider import ProviderContext
from envup.value import Value
from envup_kvm import connection, domain_labels
from envup_kvm.binding import libvirt

DISK, CONSOLE, BEGUN, BOOTED = "disk.qcow2", "console.log", "begun", "booted"
"""Its own disk; what it says; there once something has run on the disk; there once it was up."""
MEMORY_NOTE = "memory.json"
"""What is noted of a memory beside a layer."""
FACTS = "facts.tar"
"""What a machine is told, in its place until it is up."""
_STATES = {
    "VIR_DOMAIN_NOSTATE": "running",
    "VIR_DOMAIN_RUNNING": "running",
    "VIR_DOMAIN_BLOCKED": "running",
    "VIR_DOMAIN_SHUTDOWN": "running",
    "VIR_DOMAIN_PAUSED": "suspended",
    "VIR_DOMAIN_PMSUSPENDED": "suspended",
    "VIR_DOMAIN_SHUTOFF": "stopped",
    "VIR_DOMAIN_CRASHED": "stopped",
}


class Machine(Value):
    """`directory` outlives a reboot, `place` need not; `data` is the provider's own directory."""

    labels: Mapping[str, str]
    directory: Path
    place: Path
    data: Path

    @classmethod
    def of(cls, labels: Mapping[str, str], directory: Path, context: ProviderContext) -> Machine:
        """The machine in a directory. Its place has a short name, as sockets are in it."""
        short = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
        return cls(labels, directory, context.runtime / short, context.data)

    def state(self, libvirtd: Any) -> str:
        """`running`, `suspended`, or `stopped`, which is also that of what is gone. Errors: `EnvupError`."""
        domain = self.domain(libvirtd)
        if domain is None:
            return "stopped"
        with connection.telling("libvirt does not answer"):
            return state_of(domain)

    def domain(self, libvirtd: Any) -> Any | None:
        """Its domain, None where there is none. Errors: `EnvupError`."""
        return lookup(libvirtd, domain_labels.name(self.labels))

    def recorded(self) -> Mapping[str, Any] | None:
        """What its last start recorded of its network."""
        return directories.read(f"{self.directory}/{records.FILE}")

    def end(self, libvirtd: Any) -> None:
        """End its processor at once. Errors: `EnvupError`."""
        domain = self.domain(libvirtd)
        with connection.telling(f"cannot stop machine '{self.labels['envup.machine']}'"):
            if domain is not None:
                gone_is_fine(domain.destroy, libvirt.VIR_ERR_OPERATION_INVALID)

    def remove(self, libvirtd: Any) -> None:
        """End it, have libvirt forget it, and remove its place. Errors: `EnvupError`."""
        self.end(libvirtd)
        domain = self.domain(libvirtd)
        with connection.telling(f"cannot destroy machine '{self.labels['envup.machine']}'"):
            if domain is not None:
                gone_is_fine(lambda: undefine(domain, libvirt.VIR_DOMAIN_UNDEFINE_NVRAM))
        programs.remove(self.place)


def state_of(domain: Any) -> str:
    """As `Machine.state`. Errors: `libvirt.libvirtError`."""
    now = domain.state()[0]
    return next(state for name, state in _STATES.items() if getattr(libvirt, name) == now)


def trouble_of(domain: Any) -> str:
    """Why a machine is suspended that nobody suspended; nothing of any other. Errors: `libvirt.libvirtError`."""
    if domain.state() != [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]:
        return ""
    return "its disk cannot be written, as when the host's is full; when it can, `env resume` lets it go on"


def undefine(domain: Any, further: int) -> None:
    """Have libvirt forget a domain with all that it keeps of it, as the flags `further` say. Errors:
    `libvirt.libvirtError`."""
    domain.undefineFlags(
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | further
    )


def lookup(libvirtd: Any, name: str) -> Any | None:
    """The domain of that name, None where there is none. Errors: `EnvupError`."""
    try:
        return libvirtd.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        with connection.telling("libvirt does not answer"):
            raise


def gone_is_fine(act: Callable[[], object], *codes: int) -> None:
    """Do it; a domain that has gone meanwhile is no error, nor is one of `codes`."""
    try:
        act()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, *codes):
            raise
