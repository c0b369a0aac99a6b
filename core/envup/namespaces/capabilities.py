"""The capabilities that programs of a machine may have: Docker's default set and those an Envfile adds.

The bounding set is what is limited. The holder itself keeps more than the programs do, so none of them may trace it or
look through its /proc entries at the host's interpreter.
"""

from __future__ import annotations

from envup.namespaces import syscalls

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Names by number, after linux/capability.h."""

DEFAULT = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
"""What Docker leaves to a container (moby, oci/caps/defaults.go)."""


ALL = (1 << 64) - 1


def mask_of(added: list[str]) -> int:
    """A bit for each capability that is kept. `added` holds names without `CAP_`; an unknown one raises KeyError."""
    numbers = {name: number for number, name in enumerate(NAMES)}
    return sum(1 << number for number in {numbers[name] for name in [*DEFAULT, *added]})


def limit_to(mask: int) -> None:
    """Drop every other capability from the bounding set, and all from the inheritable one."""
    for number in range(64):
        if not mask >> number & 1 and not syscalls.drop_from_bounding_set(number):
            break
    syscalls.keep_capabilities(ALL)
