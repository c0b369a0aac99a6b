"""What machines in namespaces need of this host, each as a line of `doctor`: tried rather than guessed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.namespaces import cgroups, trial
from envup.provider import Check

USERS = "user namespace"
_REMEDIES = {
    USERS: (
        "run as root: sysctl -w user.max_user_namespaces=65536; on Debian also kernel.unprivileged_userns_clone=1; on "
        "Ubuntu 24.04 also kernel.apparmor_restrict_unprivileged_userns=0"
    ),
    "namespaces": "run where mount, PID, UTS and IPC namespaces are allowed; a container needs CAP_SYS_ADMIN",
    "mount_setattr": "use Linux 5.12 or later",
    "overlayfs": "set ENVUP_HOME to a directory on ext4, xfs, btrfs or tmpfs, or run as root: modprobe overlay",
    "idmapped layers": "use Linux 5.19 or later, and set ENVUP_HOME to a directory on ext4, xfs, btrfs or tmpfs",
}


def tool(program: str, package: str) -> Check:
    """A program that a Debian package has."""
    if shutil.which(program):
        return Check(program, True)
    return Check(program, False, f"the program {program} is missing", f"apt-get install {package}")


def subordinate_ids(read: Callable[[], Any]) -> Check:
    """Whether `read`, of `subids`, finds what it needs."""
    try:
        read()
    except EnvupError as error:
        return Check("subordinate ids", False, error.brief, error.hint)
    return Check("subordinate ids", True)


def tried(
    data: Path, maps: tuple[str, str], shifted: tuple[str, str] = ("", ""), *, copies: bool = False
) -> Iterator[Check]:
    """What `trial.failed` finds. `copies` says that the provider copies the image where it cannot be a layer; then that
    is told and no obstacle."""
    try:
        failed, reason = trial.failed(data, maps, shifted)
    except OSError as error:
        remedy = f"make {data} writable, or set ENVUP_HOME to a directory that is"
        yield Check("data directory", False, f"{data}: {error.strerror}", remedy)
        return
    unused = {USERS} if not maps[0] else set()
    unused |= {"idmapped layers"} if not shifted[0] else set()
    needs = [need for need in _REMEDIES if need not in unused]
    for need in needs:
        if need == failed or (failed and failed not in needs):
            copied = copies and need in trial.LAYERS
            message = f"{reason}; each machine is a whole copy of its image" if copied else reason or failed
            yield Check(need, copied, message, _REMEDIES[need])
            return
        yield Check(need, True)


def controllers(*, rootless: bool) -> Check:
    """Which limits can be set. One that cannot is told and is no obstacle until a machine asks for it."""
    known = cgroups.places(rootless=rootless)
    missing = [name for name in ("cpu", "memory", "pids") if name not in known]
    message = f"limits of {', '.join(missing)} cannot be set here" if missing else ""
    remedy = cgroups.missing(missing[0], rootless=rootless)[1] if missing else ""
    return Check("control groups", True, message, remedy)
