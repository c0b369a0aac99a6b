"""The files inside a machine that envup writes at each start: /etc/hosts, /etc/hostname, /etc/resolv.conf; at the
first one also /etc/machine-id, where it has an id.

Runs with the machine as root directory, `write_below` apart. What a user wrote is kept: in /etc/hosts only the marked
block is ours, and /etc/resolv.conf is replaced while its first line is ours, or at the first start of a machine that
begins with an image.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH104, PTH108, PTH114, PTH123

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
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_ID_LENGTH = 32
_MOST = 1 << 20
"""Characters that are read of a file: the machine decides what is behind its name."""
_RESOLVER_MARK = "# Written by envup at each start; remove this line to keep your own.\n"


def write(hostname: str, addresses: list[tuple[str, str]], resolver: str | None, *, first: bool) -> None:
    """Bring all of them up to date. `addresses` are (address, name) of this machine and its peers, `resolver` is the
    text of resolv.conf; None leaves the machine's alone."""
    os.makedirs("/etc", exist_ok=True)
    before = _read("/etc/hosts")
    is_new = first and _BEGIN not in (before or "").splitlines()
    _replace("/etc/hosts", hosts(before, addresses), before)
    before = _read("/etc/hostname")
    _replace("/etc/hostname", f"{hostname}\n", before)
    before = _read("/etc/resolv.conf")
    if resolver is not None and (is_new or before is None or before.startswith(_RESOLVER_MARK)):
        _replace("/etc/resolv.conf", _RESOLVER_MARK + resolver, before)
    if first:
        _renew_machine_id()


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
    kept = _outside(before or "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    names: dict[str, str] = {}
    for address, name in addresses:
        names.setdefault(name, address)
    block = [_BEGIN, *(f"{address}\t{name}" for name, address in names.items() if name not in ("", "localhost"))]
    return "\n".join([*kept, *block, _END]) + "\n"


def without_block(text: str) -> str:
    """/etc/hosts without our block."""
    return "".join(f"{line}\n" for line in _outside(text))


def _outside(text: str) -> list[str]:
    """Lines that are in no block of ours."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line in (_BEGIN, _END):
            inside = line == _BEGIN
        elif not inside:
            kept.append(line)
    return kept


def is_own_resolver(text: str) -> bool:
    """Whether a resolv.conf is one that `write` replaces."""
    return text.startswith(_RESOLVER_MARK)


def _renew_machine_id() -> None:
    """Have the machine be another one than that which left the layer or the image: machine-id(5)."""
    before = _read(_MACHINE_IDS[0])
    if before is None or len(before.strip()) != _ID_LENGTH:
        return
    new = os.urandom(_ID_LENGTH // 2).hex() + "\n"
    for path in _MACHINE_IDS:
        if not os.path.islink(path) and _read(path) == before:
            _replace(path, new, before)


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
