"""The files inside a machine that envup writes at each start: /etc/hosts, /etc/hostname, /etc/resolv.conf.

Runs with the machine as root directory, `write_below` apart. What a user wrote is kept: in /etc/hosts only the marked
block is ours, and /etc/resolv.conf is replaced while its first line is ours, or at the first start.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH104, PTH108, PTH123

from __future__ import annotations

import errno
import os

from envup.namespaces import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envup.provider import MachineSpec

_BEGIN = "# envup begin"
_END = "# envup end"
_MOST = 1 << 20
"""Characters that are read of a file: the machine decides what is behind its name."""
_RESOLVER_MARK = "# Written by envup at each start; remove this line to keep your own.\n"


def write(hostname: str, addresses: list[tuple[str, str]], resolver: str | None, *, first: bool) -> None:
    """Bring all three up to date. `addresses` are (address, name) of this machine and its peers, `resolver` is the text
    of resolv.conf; None leaves the machine's alone."""
    os.makedirs("/etc", exist_ok=True)
    before = _read("/etc/hosts")
    _replace("/etc/hosts", hosts(before, addresses), before)
    before = _read("/etc/hostname")
    _replace("/etc/hostname", f"{hostname}\n", before)
    before = _read("/etc/resolv.conf")
    if resolver is not None and (first or before is None or before.startswith(_RESOLVER_MARK)):
        _replace("/etc/resolv.conf", _RESOLVER_MARK + resolver, before)


def on_host_network(spec: MachineSpec, *, first: bool) -> dict[str, Any]:
    """What `write` takes for a machine that shares the host's network with its peers. Read on the host."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            resolver = file.read()
    except FileNotFoundError:
        resolver = None
    hostname = spec.hostname or spec.name
    addresses = [("127.0.0.1", name) for name in (hostname, *spec.peers)]
    return {"hostname": hostname, "addresses": addresses, "resolver": resolver, "first": first}


def write_below(
    root: str, hostname: str, addresses: list[tuple[str, str]], resolver: str | None, *, first: bool
) -> None:
    """`write` for a machine whose root is a directory of the host, which this process can change to. Errors:
    `OSError`."""
    child = os.fork()
    if child == 0:
        failure = errno.EIO
        try:
            syscalls.seal_imports()
            os.chroot(root)
            os.chdir("/")
            write(hostname, addresses, resolver, first=first)
            failure = 0
        except OSError as error:
            failure = error.errno or failure
        finally:
            os._exit(failure)
    if failure := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(abs(failure), os.strerror(abs(failure)), "/etc of the machine")


def hosts(before: str | None, addresses: list[tuple[str, str]]) -> str:
    """/etc/hosts with our block at its end; the first address of a name counts."""
    kept: list[str] = []
    inside = False
    for line in (before or "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n").splitlines():
        if line in (_BEGIN, _END):
            inside = line == _BEGIN
        elif not inside:
            kept.append(line)
    names: dict[str, str] = {}
    for address, name in addresses:
        names.setdefault(name, address)
    block = [_BEGIN, *(f"{address}\t{name}" for name, address in names.items() if name not in ("", "localhost"))]
    return "\n".join([*kept, *block, _END]) + "\n"


def _read(path: str) -> str | None:
    """The text of a regular file, None where there is none (a dangling link is none)."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_MOST)
    except FileNotFoundError:
        return None


def _replace(path: str, text: str, before: str | None) -> None:
    if text == before:
        return
    temporary = f"{path}.envup"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.rename(temporary, path)
