"""Starting a machine, seen from the host: what the keeper, `launch` and LXC are told, and waiting for the machine."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import contextlib
import json
import marshal
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup import namespaces
from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.namespaces import confinement, limits, records, subids
from envup.namespaces.variables import packed
from envup.networks import addresses, network, resolver
from envup.networks.addresses import Place
from envup.provider import MachineSpec, ProviderContext
from envup_lxc import config, groups, launch, seeing, settings
from envup_lxc.client import Keeper, Launched
from envup_lxc.signs import Ended, Late, Signs

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOG = "start.log"
_APPARMOR = "run: apt-get install apparmor; where profiles cannot be loaded, as in a container, run as an ordinary user"


class Machine:
    """A machine that is to be started; its directory is locked. `trees` are its layers, the uppermost first, and its
    image, `group` names its control groups."""

    def __init__(
        self, directory: Path, facts: Mapping[str, Any], spec: MachineSpec, trees: Sequence[Path], group: str
    ) -> None:
        self.directory, self.facts, self.spec, self.trees, self.group = directory, facts, spec, trees, group
        self.environment: str = facts["labels"]["envup.environment"]
        self.rootless = os.geteuid() != 0
        self.failure = f"machine '{spec.name}' did not start"


def start(context: ProviderContext, machine: Machine) -> None:
    """Start it; when this returns, programs can run in it. Errors: `EnvupError`; then nothing of it runs."""
    spec = machine.spec
    wanted = network.of(spec, settings.NAME)
    place = addresses.allocate(
        context.data, machine.environment, spec.name, spec.peers, wanted, address=settings.address(spec)
    )
    loopback = settings.host_loopback(spec)
    with (
        Keeper.reach(context.runtime, machine.environment, network=wanted.name, host_loopback=loopback) as keeper,
        contextlib.ExitStack() as stack,
    ):
        first = not (machine.directory / records.FILE).exists()
        signs = Signs(str(machine.directory), stack)
        record = _first_record(machine, keeper, place)
        ports = keeper.forward(spec.name, place.address, spec.ports)
        record["ports"] = [[port.machine_port, port.host_port, port.address, port.protocol] for port in ports]
        _write(machine, record)  # before anything of the machine runs, so that it is found whatever happens
        launched = _launch(machine, keeper, place, signs.report, first=first)
        _write(machine, record := record | {"monitor": launched.pid, "monitor_start": launched.start})
        try:
            _wait(machine, launched, signs, record, context.emit)
        except Ended:
            said = _said(machine)
            hint = _APPARMOR if "apparmor" in said.lower() else ""
            raise EnvupError(machine.failure, details=said, hint=hint) from None
        _write(machine, record | {"ready": True})
        launched.settle()


def _wait(machine: Machine, launched: Launched, signs: Signs, record: dict[str, Any], emit: Emit) -> None:
    """Wait until programs can run, and complete the record. Errors: `Ended`, `EnvupError`."""
    signs.watch(launched.pid)
    record["init"], passed_over = signs.init()
    if passed_over:
        text = f"the image's {passed_over} needs control groups, and none is delegated to you; a small init stands in"
        emit(Event("warning", machine=machine.spec.name, text=text))
    signs.running()
    record |= _first_process(launched.pid)
    _limit(machine, record)
    if record["init"] == "systemd":
        seconds = settings.boot_timeout(machine.spec)
        try:
            signs.booted(seconds)
        except Late:
            hint = "`env logs` shows its console; lxc.boot_timeout gives it more time, lxc.init: small does without it"
            raise EnvupError(f"{machine.failure}: systemd did not boot within {seconds:g} s", hint=hint) from None


def _first_process(monitor: int) -> dict[str, Any]:
    """What is known of PID 1. Errors: `Ended`."""
    pid = seeing.child_of(monitor)
    started = records.start_time(pid) if pid else None
    if pid is None or started is None:
        raise Ended
    return {
        "pid": pid,
        "start": started,
        "namespaces": namespaces.namespaces_of(pid),
        "label": confinement.label_of(pid),
    }


def _limit(machine: Machine, record: dict[str, Any]) -> None:
    """Put the machine's limits and its groups in force. Errors: `EnvupError`."""
    record["cgroups"] = groups.joined(machine.group, rootless=machine.rootless)
    record["freezer"] = groups.freezer(record["cgroups"])
    mine = limits.change(record, machine.group, machine.spec.resources, rootless=machine.rootless)
    limits.move(record, mine[len(record["cgroups"]) :])
    record["cgroups"] = mine


def _first_record(machine: Machine, keeper: Keeper, place: Place) -> dict[str, Any]:
    """The record of a machine whose PID 1 is not there yet."""
    return {
        "pid": 0,
        "start": "",
        "boot": records.boot(),
        "ready": False,
        "monitor": 0,
        "monitor_start": "",
        "keeper": keeper.pid,
        "network": place.network.name,
        "address": place.address,
        "capabilities": settings.kept(machine.spec),
        "cgroups": [],
        "freezer": "",
    }


def _write(machine: Machine, record: Mapping[str, Any]) -> None:
    records.replace(f"{machine.directory}/{records.FILE}", json.dumps(record))


def _launch(machine: Machine, keeper: Keeper, place: Place, report: int, *, first: bool) -> Launched:
    """Have the keeper run `launch`."""
    shifted = None if machine.rootless else subids.shifted()
    ids = shifted or _within_keeper()
    text = config.text(machine.spec, ids, config.network(place), machine.group, rootless=machine.rootless)
    (machine.directory / "config").write_text(text, encoding="utf-8")
    told = _told(machine, place, shifted) | {"first": first}
    environment = {"PATH": _SEARCH_PATH, **packed(machine.spec.environment)}
    with open(machine.directory / _LOG, "wb") as log, _memory(marshal.dumps(told)) as stdin:
        descriptors = {0: stdin.fileno(), 1: log.fileno(), 2: log.fileno(), launch.REPORT: report}
        return keeper.launch(machine.spec.name, (), environment, descriptors)


def _told(machine: Machine, place: Place, shifted: tuple[str, str] | None) -> dict[str, Any]:
    """What `launch` is told."""
    spec = machine.spec
    ordered = sorted(spec.mounts, key=lambda mount: len(Path(mount.target).parts))
    hostname = spec.hostname or spec.name
    return {
        "machine": str(machine.directory),
        "lowers": [str(tree) for tree in machine.trees],
        "maps": shifted,
        "owner": [int(ids.split(":")[1]) for ids in shifted] if shifted else [0, 0],
        "disk": machine.facts["disk"],
        "copied": (machine.directory / "root").exists(),
        "mounts": [(str(mount.source), mount.target, mount.read_only) for mount in ordered],
        "init": settings.init(spec),
        "hostname": hostname,
        "addresses": [(place.address or "127.0.1.1", hostname), *((at, name) for name, at in place.names.items())],
        "resolver": resolver.text(place.network),
        "own_network": place.network.kind == "private",
        "rootless": machine.rootless,
        "group": next(iter(groups.joined(machine.group, rootless=True)), "") if machine.rootless else "",
        "program": _lxc_start(),
        "line": ["lxc-start", "-F", "-P", "/run", "-n", machine.directory.name, "-f", "config"],
    }


def _lxc_start() -> str:
    program = shutil.which("lxc-start", path=_SEARCH_PATH)
    if program is None:
        raise EnvupError("the program lxc-start is missing", hint="apt-get install lxc")
    return program


def _within_keeper() -> tuple[str, str]:
    """The ids of the keeper's user namespace, each standing for itself: nested, so that the machine's root has no power
    over the keeper's. The kernel wants each extent to lie in one of the outer ones."""
    maps = subids.maps() or ("", "")
    return _identity(maps[0]), _identity(maps[1])


def _identity(outer: str) -> str:
    extents = [extent.split(":") for extent in outer.split(",")]
    return ",".join(f"{inside}:{inside}:{count}" for inside, _outside, count in extents)


@contextlib.contextmanager
def _memory(data: bytes) -> Any:
    """A file in memory, to be read from its beginning."""
    with open(os.memfd_create("envup"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file


def _said(machine: Machine) -> str:
    """What `launch` or LXC said before they ended."""
    return (machine.directory / _LOG).read_text(encoding="utf-8", errors="replace").strip()
