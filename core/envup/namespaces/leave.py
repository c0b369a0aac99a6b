"""Asks every program of a machine to end, and ends when they have: `leave KEY=VALUE… -- PID…`, see `joining.Way`. For
machines whose PID 1 does not do so; the programs that the machine numbers PID… are left alone, as PID 1 is."""

from __future__ import annotations

import os
import sys

from envup.namespaces import everyone, joining, syscalls


def main(arguments: list[str]) -> int:
    """Exit code 0, also where the machine does not run; 1 with the reason on standard error."""
    way = joining.Way(arguments)
    host_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        kept = way.capabilities()
        way.join(processes=True)
        # Programs of the machine see the child, and may ignore what it asks: it is closed to them from the start.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        way.confine(kept, host_proc)
    except (joining.NotRunning, FileNotFoundError, ProcessLookupError):
        return 0
    except OSError as error:
        sys.stderr.write(f"the machine cannot be entered: {error}\n")
        return 1
    os.close(host_proc)
    child = os.fork()
    if child == 0:
        os._exit(_ask([int(process) for process in way.rest]))
    _process, status = os.waitpid(child, 0)
    return 0 if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _ask(spared: list[int]) -> int:
    try:
        everyone.end(lambda: None, spared=spared)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return 1
    return 0
