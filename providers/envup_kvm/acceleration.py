"""Whether the host's processor can run machines, found out by running one.

/dev/kvm that exists, even one that makes virtual machines, proves nothing: a guest may hang on it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import records
from envup.provider import MachineSpec, options_of
from envup_kvm.kits import Kit

DEVICE = "/dev/kvm"
_FILE = "acceleration.json"
_SECONDS = 10
"""A processor that works boots a kernel and ends it in less than one."""


def chosen(spec: MachineSpec, data: Path, kit: Kit) -> bool:
    """Whether the machine is to be accelerated. Errors: `EnvupError` where it must be and cannot."""
    wanted = options_of(spec, "kvm").get("acceleration", "auto")
    if wanted == "tcg":
        return False
    works = _works(data, kit)
    if wanted == "kvm" and not works:
        raise EnvupError(
            f"kvm.acceleration: {DEVICE} runs no guest on this host",
            hint="load the module kvm_intel or kvm_amd, or write `acceleration: auto`",
        )
    return works


def _works(data: Path, kit: Kit) -> bool:
    """Asked once for this kernel, processor and user."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return False
    host = [platform.release(), _processor(), os.geteuid()]
    try:
        known = json.loads((data / _FILE).read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("host") != host:
        known = {"host": host, "works": _tried(kit)}
        records.replace(str(data / _FILE), json.dumps(known))
    return bool(known["works"])


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
