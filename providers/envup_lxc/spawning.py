"""Starts a machine's program as a child that does not outlive the keeper."""

from __future__ import annotations

import fcntl
import os

from envup.namespaces import records, syscalls
from envup.namespaces.signals import signal
from envup.networks.descriptors import close_all_but
from envup_lxc import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def spawn(request: Mapping[str, Any], descriptors: list[int], most_open: tuple[int, int] | None) -> tuple[int, str]:
    """(pid, start time) of a new child with the argv, environment and numbered descriptors of `request`; without argv
    it is `launch`, which this process has at hand. `most_open` is its limit of open files where that is another than
    this process's."""
    keeper = os.getpid()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        try:
            _become(request, descriptors, most_open, keeper, reader)
        except OSError as error:
            name = (*request["argv"], "launch")[0]
            os.write(2, f"{name}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
        finally:
            os._exit(127)
    os.close(reader)
    start = records.start_time(child) or ""
    os.close(writer)  # only now may it end
    return child, start


def _become(
    request: Mapping[str, Any], descriptors: list[int], most_open: tuple[int, int] | None, keeper: int, go: int
) -> None:
    """Turn the child into the program."""
    os.read(go, 1)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(127)
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and programs do not expect it
        signal.signal(number, signal.SIG_DFL)
    if most_open is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, most_open)
    _take(descriptors, request["numbers"])
    if request["argv"]:
        os.execve(request["argv"][0], request["argv"], request["environment"])
    os._exit(launch.main(keeper, request["environment"]))


def _take(descriptors: list[int], numbers: list[int]) -> None:
    """Give the descriptors their numbers, empty streams to those of 0, 1 and 2 that have none, and close all else."""
    above = max(2, *numbers, 2) + 1
    null = os.open("/dev/null", os.O_RDWR)
    sources = dict.fromkeys((0, 1, 2), null) | dict(zip(numbers, descriptors, strict=True))
    moved = {number: fcntl.fcntl(source, fcntl.F_DUPFD, above) for number, source in sources.items()}
    for number, source in moved.items():
        os.dup2(source, number)
    close_all_but(set(moved))
