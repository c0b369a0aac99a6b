"""Whether the host's processor can run machines, found out by running one.

/dev/kvm that exists, even one that makes virtual machines, proves nothing: a guest may hang on it.
"""

# os rather than pathlib, as access(2) is asked beside.
# ruff: noqa: PTH110

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import records
from envup.provider import Check, MachineSpec, options_of
from envup.value import Value
from envup_kvm.kits import Kit

DEVICE = "/dev/kvm"
COST = "about ten times slower"
_FILE = "acceleration.json"
_SECONDS = 10
"""A processor that works boots a kernel and ends it in less than one."""
_NO_GUEST = f"{DEVICE} runs no guest on this host"
_REMEDY = "load the module kvm_intel or kvm_amd; join the group kvm"


class Acceleration(Value):
    """Whether there is any; `reason` says why there is none where it was looked for."""

    works: bool
    reason: str = ""


def chosen(spec: MachineSpec, data: Path, kit: Kit) -> Acceleration:
    """What the machine is to have. The first time on a host a guest is run, for ten seconds at most. Errors:
    `EnvupError` where it must be accelerated and cannot."""
    wanted = options_of(spec, "kvm").get("acceleration", "auto")
    if wanted == "tcg":
        return Acceleration(False)
    reason = _closed() or ("" if _works(data, kit) else _NO_GUEST)
    if wanted == "kvm" and reason:
        raise EnvupError(f"kvm.acceleration: {reason}", hint=f"{_REMEDY}; or write `acceleration: auto`")
    return Acceleration(not reason, reason)


def need(data: Path) -> Check:
    """What `doctor` tells of it, without running a guest."""
    reason = _closed()
    known = _known(data)
    if not reason and known is False:
        reason = _NO_GUEST
    if reason:
        return Check("acceleration", True, f"{reason}; machines are {COST}", _REMEDY)
    return Check("acceleration", True, DEVICE if known else f"{DEVICE}, tried when the first machine starts")


def _closed() -> str:
    """Why nobody need try; empty where the device can be opened."""
    if not os.path.exists(DEVICE):
        return f"{DEVICE} is missing"
    return "" if os.access(DEVICE, os.R_OK | os.W_OK) else f"{DEVICE} is closed to this account"


def _works(data: Path, kit: Kit) -> bool:
    """Asked once for this kernel, processor and user."""
    known = _known(data)
    if known is None:
        known = _tried(kit)
        records.replace(str(data / _FILE), json.dumps({"host": _host(), "works": known}))
    return known


def _known(data: Path) -> bool | None:
    """What was found out on this host; None where nothing was."""
    try:
        known = json.loads((data / _FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return bool(known["works"]) if known.get("host") == _host() else None


def _host() -> list[object]:
    return [platform.release(), _processor(), os.geteuid()]


def _tried(kit: Kit) -> bool:
    """Boot the kit's kernel, whose first program ends it at once."""
    line = (
        f"qemu-system-{platform.machine()}", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults",
        "-no-user-config", "-display", "none", "-no-reboot", "-kernel", str(kit.kernel), "-initrd", str(kit.initrd),
        "-append", "envup.probe quiet panic=-1",
    )  # fmt: skip
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    except OSError as error:
        raise EnvupError(f"cannot run {line[0]}: {error.strerror}", hint="apt-get install qemu-system") from error
    return done.returncode == 0


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
