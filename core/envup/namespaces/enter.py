"""Runs a program in a running machine: joins its namespaces, starts the program there and stands in for it.

Called as `runner.py DIRECTORY enter KEY=VALUE… -- PROGRAM ARGUMENT…` by the line that `namespaces.enter` gives. Signals
that reach this process go on to the program, and its end, exit code or signal, becomes this process's own. 125: the
machine could not be entered; 126, 127: the program cannot be executed, is not found.
"""

from __future__ import annotations

import os

from envup.namespaces import accounts, executing, joining, outcomes, relay, syscalls, terminal
from envup.namespaces.executing import complain
from envup.namespaces.signals import signal
from envup.namespaces.variables import unpacked


def main(arguments: list[str]) -> int:
    """See the module. Returns only when the program could not be started."""
    caller = os.getppid()
    try:
        program = _Program(joining.Way(arguments))
    except joining.NotRunning as error:
        return complain(125, str(error))
    except accounts.UnknownAccount as error:
        return complain(126, str(error))
    except (FileNotFoundError, ProcessLookupError):
        return complain(125, "the machine is not running")
    except OSError as error:
        return complain(125, f"the machine cannot be entered: {error}")
    mask = relay.hold_signals()
    alive_reader, alive_writer = os.pipe()
    if b"ENVUP_SUPERVISED" in os.environb:
        relay.end_with(caller)
    child = program.fork()
    if child == 0:
        os.close(alive_writer)
        os._exit(program.start(mask, alive_reader))
    os.close(alive_reader)
    for cgroup in program.cgroups:
        os.close(cgroup)
    return outcomes.end_like(relay.stand_in(child, program.host_proc, program.pair))


class _Program:
    """The program to be, with all that it needs of the host; to make one joins the machine."""

    __slots__ = ("account", "cgroups", "host_proc", "kept", "pair", "pipes", "variables", "way")

    def __init__(self, way: joining.Way) -> None:
        self.way = way
        self.host_proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        self.variables = way.variables()
        self.kept = way.capabilities()
        self.cgroups = way.open_cgroups()
        self.pipes = way.lend_pipes()
        way.join(processes=True)
        self.account = accounts.find(os.fsencode(way.values["user"]))
        wants_terminal = way.values["terminal"] == "1" and os.isatty(0)
        self.pair = terminal.open_pair(self.account.uid) if wants_terminal else None

    def fork(self) -> int:
        """fork(2). Programs of the machine see the child, and its root may have every capability that there is: what
        the child has of the host stays closed to them until it has executed its program."""
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        child = os.fork()
        if child and self.way.has_processes():
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        return child

    def start(self, mask: set[int], alive: int) -> int:
        """What the child does. Returns an exit code, and only when the program could not be started."""
        try:
            os.setsid()
            for cgroup in self.cgroups:
                os.write(cgroup, b"0")
            if self.pair is not None:
                terminal.adopt(self.pair.slave)
            self.way.confine(self.kept, self.host_proc)
        except OSError as error:
            return complain(125, f"the machine cannot be entered: {error}")
        return self._become(mask, alive)

    def _become(self, mask: set[int], alive: int) -> int:
        """Turn the child into the program."""
        os.umask(0o022)
        account = self.account
        try:
            for pipe in self.pipes:
                os.fchown(pipe, account.uid, -1)
            executing.take_on(account)
        except OSError as error:
            return complain(126, f"cannot become user {account.uid}:{account.gid}: {error.strerror}")
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        relay.exit_when_orphaned(alive)
        workdir = os.fsencode(self.way.values["workdir"])
        try:
            executing.go_to(account, workdir)
        except OSError as error:
            return complain(126, f"working directory {os.fsdecode(workdir)}: {error.strerror}")
        variables = self._variables()
        os.closerange(3, 1 << 20)
        relay.restore_signals(mask)
        return executing.execute(account, [os.fsencode(argument) for argument in self.way.rest], variables)

    def _variables(self) -> dict[bytes, bytes]:
        """Later ones win: the terminal's, the machine's, this command's."""
        named = self.pair is not None and b"TERM" in os.environb
        return ({b"TERM": os.environb[b"TERM"]} if named else {}) | self.variables | unpacked(os.environb)
