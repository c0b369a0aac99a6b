"""What systemd is told of a machine: which of its units cannot work, as the image lacks their program, and that the
guest kit is none of its business when it ends the machine."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH110, PTH123, PTH211

from __future__ import annotations

import os

_UNITS = {
    "kmod-static-nodes.service": ("/bin/kmod", "/usr/bin/kmod"),
    "serial-getty@ttyS0.service": ("/lib/systemd/systemd-udevd", "/usr/lib/systemd/systemd-udevd"),
    "serial-getty@ttyAMA0.service": ("/lib/systemd/systemd-udevd", "/usr/lib/systemd/systemd-udevd"),
}
"""With what each needs. The kernel's modules, which the image did not bring, and the console call for them; a console
that udev never announces is waited for during 90 seconds."""
_PLACE = "/run/systemd/system"


def make() -> None:
    """Before systemd starts; gone with the machine's end. Errors: `OSError`."""
    os.makedirs(_PLACE, exist_ok=True)
    for unit, programs in _UNITS.items():
        if not any(os.path.exists(program) for program in programs):
            os.symlink(os.devnull, f"{_PLACE}/{unit}")
    os.makedirs(f"{_PLACE}/run-envup-.mount.d", exist_ok=True)
    with open(f"{_PLACE}/run-envup-.mount.d/envup.conf", "w", encoding="ascii") as file:
        file.write("[Unit]\nDefaultDependencies=no\n")
