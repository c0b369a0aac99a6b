"""What the chroot provider needs on this host, tried rather than guessed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import cgroups, programs, subids
from envup.provider import Check

_REMEDIES = {
    "user namespace": (
        "run as root: sysctl -w user.max_user_namespaces=65536; on Debian also kernel.unprivileged_userns_clone=1; on "
        "Ubuntu 24.04 also kernel.apparmor_restrict_unprivileged_userns=0"
    ),
    "namespaces": "run where mount, PID, UTS and IPC namespaces are allowed; a container needs CAP_SYS_ADMIN",
    "overlayfs": "set ENVUP_HOME to a directory on ext4, xfs, btrfs or tmpfs, or run as root: modprobe overlay",
    "mount_setattr": "use Linux 5.12 or later",
}


def examine(data: Path, *, rootless: bool) -> list[Check]:
    """Every need, met or not. A missing controller is told and is no obstacle until a machine asks for that limit."""
    found = [_tool("tar", "tar")]
    if rootless:
        found += [_tool("newuidmap", "uidmap"), _tool("newgidmap", "uidmap"), _subordinate_ids()]
    if all(check.ok for check in found):
        found += _tried(data)
    return [*found, _controllers(rootless)]


def _tool(program: str, package: str) -> Check:
    if shutil.which(program):
        return Check(program, True)
    return Check(program, False, f"the program {program} is missing", f"apt-get install {package}")


def _subordinate_ids() -> Check:
    try:
        subids.maps()
    except EnvupError as error:
        return Check("subordinate ids", False, error.brief, error.hint)
    return Check("subordinate ids", True)


def _tried(data: Path) -> Iterator[Check]:
    maps = subids.maps() or ("", "")
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".doctor-", dir=data))
    except OSError as error:
        remedy = f"make {data} writable, or set ENVUP_HOME to a directory that is"
        yield Check("data directory", False, f"{data}: {error.strerror}", remedy)
        return
    failed, reason = "", ""
    try:
        programs.run(programs.program("probe", str(scratch), *maps, directory=str(Path(__file__).parent)), "probe")
    except EnvupError as error:
        last = error.details.splitlines()[-1] if error.details else error.brief
        failed, _colon, reason = last.partition(": ")
    finally:
        programs.remove(scratch)
    needs = [need for need in _REMEDIES if maps[0] or need != "user namespace"]
    for need in needs:
        if need == failed or (failed and failed not in needs):
            yield Check(need, False, reason or failed, _REMEDIES[need])
            return
        yield Check(need, True)


def _controllers(rootless: bool) -> Check:
    known = cgroups.places(rootless=rootless)
    missing = [name for name in ("cpu", "memory", "pids") if name not in known]
    message = f"limits of {', '.join(missing)} cannot be set here" if missing else ""
    return Check("control groups", True, message)
