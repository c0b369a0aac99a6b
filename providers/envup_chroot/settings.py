"""The keys under `chroot:` of a machine, checked by options.schema.json, as the values that the kernel takes."""

from __future__ import annotations

import re

from envup.namespaces import capabilities
from envup.provider import MachineSpec

NAME = "chroot"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def amount(text: str | int) -> int:
    """A count with a unit: `5k` is 5000, `1GiB` is 2**30. Errors: ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?i?)b?", str(text).strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"'{text}' is not a number with a unit such as k, MiB or GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def tmpfs(spec: MachineSpec) -> str | None:
    """Mount options of the tmpfs that holds what the machine writes, or None where it writes to the disk."""
    options = spec.options.get(NAME, {})
    if "tmpfs" not in options:
        return None
    wanted = options["tmpfs"] or {}
    sizes = [amount(wanted["size"])] if "size" in wanted else []
    sizes += [spec.resources.disk] if spec.resources.disk is not None else []
    parts = ["mode=755"]
    if sizes:
        parts.append(f"size={min(sizes)}")
    if "inodes" in wanted:
        parts.append(f"nr_inodes={amount(wanted['inodes'])}")
    return ",".join(parts)


def kept_capabilities(spec: MachineSpec) -> int:
    """The mask of capabilities that programs may have."""
    return capabilities.mask_of(list(spec.options.get(NAME, {}).get("cap_add", ())))
