"""What no schema can say: names that must exist or be unlike, ports that collide, circles, and units out of range."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import ip_address
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from envup.envfile import units
from envup.envfile.faults import Fault, suggestion
from envup.envfile.tree import Path

if TYPE_CHECKING:
    from envup.model import Port
    from envup.plugins import Host

Machine = Mapping[str, Any]
STRENGTH = {"filesystem": 0, "container": 1, "machine": 2}
MISSING_IMAGE = "the key 'image' is missing"
ANYWHERE = frozenset((None, "0.0.0.0", "::"))


def check(machines: Mapping[str, Machine], host: Host, whole: Collection[str]) -> Iterator[Fault]:
    """Faults of a document in its normal form, with paths that begin at `machines`. Only machines in `whole` held
    against the schema, and are looked into; the names of the others count."""
    sound = {name: machine for name, machine in machines.items() if name in whole}
    for name, machine in sound.items():
        for part in (_image, _provider, _units, _mounts, _steps):
            for fault in part(machine, host):
                yield fault._replace(path=("machines", name, *fault.path))
    yield from _dependencies(sound, machines)
    yield from _ports(sound)


def _image(machine: Machine, _host: Host) -> Iterator[Fault]:
    image = machine.get("image")
    if image is None:
        yield Fault((), MISSING_IMAGE, True)
    elif isinstance(image, dict) and "://" in image.get("tarball", "") and "sha256" not in image:
        yield Fault(("image",), "a tarball from a URL needs its sha256", True)


def _provider(machine: Machine, host: Host) -> Iterator[Fault]:
    name = machine["provider"]
    names = host.names("provider")
    if name == "auto":
        return
    if name not in names:
        there = f"; installed: {', '.join(names)}" if names else ""
        yield Fault(("provider",), f"no provider '{name}' is installed{suggestion(name, ['auto', *names])}{there}")
        return
    wanted = machine.get("requires", {}).get("isolation")
    given = host.info("provider", name).envup.get("isolation")
    if wanted and given and STRENGTH[wanted] > STRENGTH[given]:
        message = f"isolation '{wanted}' is required, and the provider {name} gives only '{given}'"
        yield Fault(("requires", "isolation"), message)


def _units(machine: Machine, _host: Host) -> Iterator[Fault]:
    for path, value, parse in _measured(machine):
        try:
            parse(value)
        except ValueError as error:
            yield Fault(path, str(error))


def _measured(machine: Machine) -> Iterator[tuple[Path, Any, Callable[[Any], object]]]:
    for key in ("memory", "disk"):
        if key in (resources := machine.get("resources", {})):
            yield ("resources", key), resources[key], units.size
    for key in ("timeout", "interval"):
        if key in (ready := machine.get("ready", {})):
            yield ("ready", key), ready[key], units.duration
    for index, text in enumerate(machine.get("ports", ())):
        yield ("ports", index), text, _port
    for index, value in enumerate(machine["mounts"]):
        yield ("mounts", index), value, units.mount


def _port(text: str) -> Port:
    port = units.port(text)
    if port.address:
        try:
            ip_address(port.address)
        except ValueError as error:
            raise ValueError(f"'{text}': {port.address} is not an IP address") from error
    return port


def _mounts(machine: Machine, _host: Host) -> Iterator[Fault]:
    targets: dict[str, int] = {}
    for index, value in enumerate(machine["mounts"]):
        try:
            target = units.mount(value)[1]
        except ValueError:
            continue
        if target in targets:
            yield Fault(("mounts", index), f"'{target}' is already the target of mounts[{targets[target]}]")
        targets.setdefault(target, index)


def _steps(machine: Machine, _host: Host) -> Iterator[Fault]:
    names: dict[str, int] = {}
    for index, step in enumerate(machine.get("provision", ())):
        name = step.get("name")
        if name in names:
            yield Fault(("provision", index, "name"), f"'{name}' is already the name of provision[{names[name]}]")
        if name is not None:
            names.setdefault(name, index)


def _dependencies(sound: Mapping[str, Machine], machines: Mapping[str, Machine]) -> Iterator[Fault]:
    for name, machine in sound.items():
        wanted = machine.get("depends_on", ())
        for index, other in enumerate(wanted):
            path: Path = ("machines", name, "depends_on", other if isinstance(wanted, dict) else index)
            if other == name:
                yield Fault(path, f"'{name}' cannot depend on itself", True)
            elif other not in machines:
                yield Fault(path, f"there is no machine '{other}'{suggestion(other, machines)}", True)
    if circle := _circle({name: tuple(machine.get("depends_on", ())) for name, machine in sound.items()}):
        told = ", ".join(f"{a} needs {b}" for a, b in pairwise(circle))
        yield Fault(("machines", circle[0], "depends_on"), f"the machines wait for each other: {told}", True)


def _circle(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A circle of more than one machine, its first name again at its end; empty where there is none."""
    done: set[str] = set()
    for start in needs:
        trail: list[str] = [start]
        ahead = [iter(needs[start])]
        while trail:
            following = next((name for name in ahead[-1] if name in needs and name not in done), None)
            if following is None:
                done.add(trail.pop())
                ahead.pop()
            elif following == trail[-1]:
                continue
            elif following in trail:
                return [*trail[trail.index(following) :], following]
            else:
                trail.append(following)
                ahead.append(iter(needs[following]))
    return []


def _ports(sound: Mapping[str, Machine]) -> Iterator[Fault]:
    taken: dict[tuple[int, str], dict[str | None, str]] = {}
    for name, machine in sound.items():
        for index, text in enumerate(machine.get("ports", ())):
            try:
                port = _port(text)
            except ValueError:
                continue
            owners = taken.setdefault((port.host_port, port.protocol), {})
            if port.host_port and (owner := _owner(port.address, owners)):
                message = f"host port {port.host_port}/{port.protocol} is already taken by machine '{owner}'"
                yield Fault(("machines", name, "ports", index), message)
            owners.setdefault(port.address, name)


def _owner(address: str | None, owners: Mapping[str | None, str]) -> str | None:
    """Whose port collides with one at `address`: the same address, or one of the two is every address."""
    if address in ANYWHERE:
        return next(iter(owners.values()), None)
    return next((owners[rival] for rival in (address, *ANYWHERE) if rival in owners), None)
