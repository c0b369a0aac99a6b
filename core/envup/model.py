"""What an Envfile declares, as frozen values. Only data lives here: no reading, no checking, no backend.

Sizes are bytes, times are seconds, paths on the host are absolute; paths in a machine are POSIX strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.value import NOTHING, Value

Place = tuple[str | int, ...]
"""Where a value stands within options: keys and indices from the outside in; of options that are one text, nothing."""
_NOWHERE: Mapping[Place, str] = {}


class Pin(Value):
    """What a lock file says of an image. `digest` (`sha256:…`) stands for it on every host; `facts` say how to get it
    again, in names of its source's own; those with one word before the first dot belong together. `title` is what the
    lock file calls the image, empty for a pin that is not from there."""

    digest: str
    facts: Mapping[str, str] = NOTHING
    title: str = ""


class ImageReference(Value):
    """An image as the Envfile names it. `source` is the plugin's name (`debootstrap`, `tarball`, …), `options` its keys
    after defaults; host paths in them are absolute. `secrets` says where in them a value came from outside the
    Envfile. `pin` is what it is locked at, if it is."""

    source: str
    options: Mapping[str, Any] = NOTHING
    secrets: frozenset[Place] = frozenset()
    pin: Pin | None = None


class Resources(Value):
    """Limits of a machine; None is unlimited. `cpus` in cores (0.5 is half of one), `memory` and `disk` in bytes,
    `pids` counts processes and threads."""

    cpus: float | None = None
    memory: int | None = None
    disk: int | None = None
    pids: int | None = None


class Port(Value):
    """One forwarded port. `address` None is every address of the host; `host_port` 0 asks for a free one;
    `protocol` is `tcp` or `udp`."""

    machine_port: int
    host_port: int
    address: str | None = None
    protocol: str = "tcp"


class Mount(Value):
    """A host path seen inside a machine."""

    source: Path
    target: str
    read_only: bool = False


class Probe(Value):
    """How to tell that a machine is ready: `kind` is `command`, `tcp` or `http`, `value` its argument as in the Envfile
    (a shell line; a port; a mapping of `port`, `path`, `status`)."""

    kind: str
    value: Any
    timeout: float = 60.0
    interval: float = 1.0


class Step(Value):
    """One entry of `provision:`. `kind` is the provisioner's name, `options` its value after that plugin's schema (a
    string stays a string), `run` is `once`, `always` or `never`, `on_failure` is `stop` or `continue`. `secrets` names
    the variables of `environment` whose value came from outside the Envfile, `secret_options` says where in `options`
    one did."""

    index: int
    name: str
    kind: str
    options: Any
    environment: Mapping[str, str] = NOTHING
    user: str | None = None
    run: str = "once"
    secrets: frozenset[str] = frozenset()
    secret_options: frozenset[Place] = frozenset()
    on_failure: str = "stop"


class MachineSpec(Value):
    """One machine as declared. `provider` may be `auto` until it is resolved; `options` holds the keys of each
    provider (`docker:`, `kvm:` …) by that provider's name; `depends_on` maps a machine to `started`, `ready` or
    `provisioned`; `secrets` names the variables of `environment` whose value came from outside the Envfile,
    `secret_options` says where in `options` one did; `peers` are the environment's other machines, once resolved those
    of the same provider, which it finds by name."""

    name: str
    image: ImageReference
    provider: str = "auto"
    isolation: str | None = None
    resources: Resources = Resources()
    hostname: str = ""
    user: str = "root"
    environment: Mapping[str, str] = NOTHING
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    depends_on: Mapping[str, str] = NOTHING
    ready: Probe | None = None
    steps: tuple[Step, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = NOTHING
    secrets: frozenset[str] = frozenset()
    secret_options: frozenset[Place] = frozenset()
    peers: tuple[str, ...] = ()


class HostCode(Value):
    """What a plugin runs on the host with the user's own rights. `what` says it in a line that goes on from the name of
    a machine or step ("runs fabfile.py on this host"), without values from outside the Envfile. `reads` are the files
    and directories that decide what is run, as in `Provisioner.reads`: where their content changes, the user is asked
    again."""

    what: str
    reads: tuple[Any, ...] = ()


class Environment(Value):
    """All machines of one Envfile, in the order of the file. `outside` lists paths that lead out of the project,
    `foreign` the values from outside the Envfile that are part of an `environment:` or of options of an image, a
    provider or a step; of the latter none that names a file of this host. `written` has by its place in the file each
    text that refers to such values, and each path of an image that leads out of the project, as it stands there."""

    name: str
    directory: Path
    file: Path
    machines: tuple[MachineSpec, ...]
    outside: tuple[str, ...] = ()
    foreign: frozenset[str] = frozenset()
    written: Mapping[Place, str] = _NOWHERE

    def machine(self, name: str) -> MachineSpec | None:
        """The machine of that name, or None."""
        return next((machine for machine in self.machines if machine.name == name), None)

    def secret_values(self) -> frozenset[str]:
        """Every value of an `environment:` that came from outside the Envfile, whole and by its foreign parts, and the
        foreign parts of options; never to be shown or stored."""
        holders: list[MachineSpec | Step] = [*self.machines, *(step for spec in self.machines for step in spec.steps)]
        return self.foreign | {holder.environment[name] for holder in holders for name in holder.secrets}
