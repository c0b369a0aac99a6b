"""Packs or unpacks a tar stream inside a running machine: `transfer KEY=VALUE… -- pack|unpack PATH`.

The stream is standard output or input. Everything needed is loaded before the machine is entered, and every path is
resolved by the kernel with the machine's root, so no name and no link in a stream or in the machine leads out of it.
"""

from __future__ import annotations

import os
import sys
import tarfile

from envup.namespaces import capabilities, joining, packing, syscalls, unpacking
from envup.namespaces.signals import signal


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 with the reason on standard error; a line there with 0 is a warning."""
    way = joining.Way(arguments)
    verb, path = way.rest
    try:
        for cgroup in way.open_cgroups():
            os.write(cgroup, b"0")
            os.close(cgroup)
        way.join(processes=False)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        # With no more power than the machine's own root, no link through /proc leads to the interpreter's files.
        syscalls.keep_capabilities(capabilities.mask_of([]))
        os.umask(0)
        warnings = packing.pack(path, 1) if verb == "pack" else _unpack(path)
    except (OSError, tarfile.TarError, EOFError, ValueError, joining.NotRunning) as error:
        sys.stderr.write(f"{unpacking.explain(error)}\n")
        return 1
    sys.stderr.write("".join(f"{warning}\n" for warning in warnings))
    return 0


def _unpack(path: str) -> list[str]:
    with open(0, "rb", buffering=0) as stream:
        return unpacking.unpack(path, stream)
