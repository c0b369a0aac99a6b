"""The contract of a provider: the plugin that makes machines on one backend.

The engine owns naming, locks, order, journal, cleanup and retries; a provider writes the verbs of `Provider` and, where
the backend can do more, inherits the small classes below it (`Resize`, `Suspend`, …). What a provider inherits is what
it can do. A minimal plugin is a module that returns its class from the hook `envup_provider` and a manifest
`options.schema.json` beside it: the JSON schema of its key in the Envfile, with

    "x-envup": {"api": 1, "kinds": ["provider"], "isolation": "container", "install": "pip install 'envup[docker]'"}

Plugins import `envup.provider`, `envup.provisioner`, `envup.image`, `envup.machine`, `envup.model`, `envup.events`,
`envup.errors`, `envup.value`, `envup.children`, `envup.hookspecs`, `envup.namespaces`, `envup.networks` and in tests
`envup.testing`, and nothing else of the core.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup.events import Emit
from envup.image import Image
from envup.model import ImageReference, MachineSpec, Mount, Port, Resources
from envup.value import NOTHING, Value

if TYPE_CHECKING:
    import socket

__all__ = [
    "API",
    "Check",
    "Command",
    "Console",
    "Dial",
    "Export",
    "Flush",
    "HostCommand",
    "ImageForms",
    "Instance",
    "Layer",
    "Layers",
    "MachineSpec",
    "Mount",
    "OwnImages",
    "Pause",
    "Port",
    "Provider",
    "ProviderContext",
    "Resize",
    "Resources",
    "Snapshot",
    "Snapshots",
    "Suspend",
    "dialler",
]

API = 1
"""Version of the plugin contracts; a manifest's `x-envup.api` must equal it."""

ISOLATION = ("filesystem", "container", "machine")
"""Levels of isolation, weakest first."""

STATES = ("absent", "created", "running", "suspended", "stopped", "broken")
"""States of an instance. `created`: made and never started; `broken`: remains that only `destroy` can use."""


class Instance(Value):
    """One incarnation of a machine in a backend, as `observe` sees it.

    `id` differs between two incarnations. `labels` are those given to `create`: `envup.environment`, `envup.machine`,
    `envup.project`, `envup.spec`, `envup.image`, `envup.pin`, `envup.variables`, `envup.format`. `reason` says why a
    `broken` one is. `volatile`: what the machine has written is lost when it stops. `addresses` are the machine's own,
    as seen from the host; those that the host cannot reach are not among them."""

    id: str
    state: str
    labels: Mapping[str, str]
    reason: str = ""
    ports: tuple[Port, ...] = ()
    addresses: tuple[str, ...] = ()
    volatile: bool = False

    @property
    def machine(self) -> str:
        """The machine's name."""
        return self.labels["envup.machine"]


class Command(Value):
    """A program to run in a machine. `argv` arrives verbatim; empty asks for the user's login shell, as a login
    shell. `user` is `NAME`, `UID` or either with `:GROUP`; `workdir` None is the user's home. `environment` is added
    to what the machine was started with. `terminal`: standard input is a terminal that the program should get as its
    controlling one."""

    argv: tuple[str, ...]
    user: str = "root"
    workdir: str | None = None
    environment: Mapping[str, str] = NOTHING
    terminal: bool = False


class HostCommand(Value):
    """What to execute on the host to run a `Command`. `environment` is added to the caller's; values that must not be
    seen in a process list travel there, never in `argv`."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = NOTHING


class Check(Value):
    """One line of `doctor`: a need, whether it is met, and the command that mends it. One that is `ok` has a `remedy`
    only where it is not met and the provider does without."""

    name: str
    ok: bool
    message: str = ""
    remedy: str = ""


class ProviderContext(Value):
    """What the engine gives to a provider. `data` is a directory of the provider's own that survives a reboot;
    `runtime` one that need not. Both exist and are private to the user."""

    data: Path
    runtime: Path
    emit: Emit


class Provider(ABC):
    """Makes machines on one backend. One object serves several threads; each call concerns one instance, and the engine
    makes no two calls for one instance at once.

    Every method raises `EnvupError` (or a child) when the backend refuses or does not answer: a backend that cannot be
    asked is an error, never an empty answer.
    """

    name: ClassVar[str]
    isolation: ClassVar[str]
    modes: ClassVar[frozenset[str]]
    """Subset of {"root", "rootless"}."""
    touches: ClassVar[Mapping[str, str]] = {}
    """Where this backend needs more than the schema's `x-apply` to change a machine key: key to `live`, `restart` or
    `recreate`."""

    def __init__(self, context: ProviderContext) -> None:
        self.context = context

    @abstractmethod
    def doctor(self) -> Sequence[Check]:
        """Everything this provider needs on this host for this user, met or not. Changes nothing. The provider is
        usable when every check is ok. Must be quick (no more than a few system calls or one request)."""

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """Why this provider cannot honour `spec`, one sentence each, naming the key; empty when it can. Called before
        anything is changed, and after the user agreed to options that need consent; changes nothing."""
        return ()

    @abstractmethod
    def observe(self, environment: str | None) -> Sequence[Instance]:
        """The instances that carry this environment's id, or all of this user's when None, in one bulk question.
        Half-made or damaged ones are reported as `broken`. Takes no lock, changes nothing; other instances may be
        made and removed meanwhile."""

    @abstractmethod
    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """Make an instance in state `created`. `spec.environment` holds the variables that the image declares, those of
        the Envfile above them, as it does for `start`. Legal when none with these labels' environment and machine
        exists; one that does is an error. On failure or a crash, whatever remains is found by `observe` or removed by
        `destroy`."""

    @abstractmethod
    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """Start it as `spec` says now (mounts, ports, environment, limits), and return when a program can run in it.
        `spec.environment` holds the variables of the image that it was made from, as for `create`. Legal in `created`
        and `stopped`; does nothing in `running`. A volatile instance comes back with a new id."""

    @abstractmethod
    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """End every process of the machine: asked politely, then after `grace` seconds killed. Legal in every state;
        does nothing when it does not run."""

    @abstractmethod
    def destroy(self, instance: Instance) -> None:
        """Stop it without grace and remove all that was made for it. Legal in every state; succeeds when it is gone."""

    @abstractmethod
    def command(self, instance: Instance, command: Command) -> HostCommand:
        """The host command that runs a program inside; the core executes it, so streams, terminal and signals are the
        kernel's. Its exit code is the program's; 125 the transport failed, 126 not executable, 127 not found. TERM
        sent to it ends the program and its children; so does the end of its parent where `ENVUP_SUPERVISED` is set in
        its environment. Legal in `running`."""

    @abstractmethod
    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        """Unpack a tar stream below `directory`, which exists, keeping modes, owners by number, times, links and
        extended attributes. `archive` has a file descriptor. A truncated stream is an error. Legal in `running`."""

    @abstractmethod
    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        """Write `path` as a tar stream whose names begin with its last part; a missing path is an error. A symbolic
        link is packed as a link. `archive` has a file descriptor. Legal in `running`."""


class Resize(ABC):
    """Ability: limits of a running machine change without a restart."""

    @abstractmethod
    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """Apply `spec.resources` now and for later starts. Legal in `running`; the same values again do nothing."""

    def can_resize(self, instance: Instance, spec: MachineSpec) -> bool:
        """Whether `resize` can do that; else the machine is restarted. Legal in `running` and `suspended`; changes
        nothing."""
        return True


class Suspend(ABC):
    """Ability: freeze and thaw."""

    @abstractmethod
    def suspend(self, instance: Instance) -> None:
        """`running` to `suspended`; does nothing when suspended."""

    @abstractmethod
    def resume(self, instance: Instance) -> None:
        """`suspended` to `running`; does nothing when running."""


class Pause(ABC):
    """Ability: the programs of a machine stand still for a moment that ends with this process at the latest, however
    that ends."""

    @abstractmethod
    def paused(self, instance: Instance) -> AbstractContextManager[None]:
        """They stand still while the context lasts; the machine stays `running`. Its other methods may be called
        meanwhile. Does nothing where it does not run, or is suspended. Errors: `EnvupError`."""


class Snapshot(Value):
    """A named state of an instance. `created` is in seconds since the epoch. `memory`: what the machine had in memory
    is part of it; else it is the files alone."""

    name: str
    created: float
    memory: bool = False


class Snapshots(ABC):
    """Ability: named states of one instance, several of them, to go back to in any order. Mounts are no part of them.
    `destroy` removes them with the instance. A name has letters, digits, dots, dashes and underscores, 63 at most, a
    letter or digit first. All is legal in every state but `broken`."""

    @abstractmethod
    def snapshots(self, instance: Instance) -> Sequence[Snapshot]:
        """Those that can be restored, as the backend has them, the oldest first. Changes nothing."""

    def require_snapshots(self, instance: Instance) -> None:  # noqa: B027 - most can always
        """Errors: `EnvupError` where no snapshot can be taken of it as it is, as far as that is known before. Called
        for all machines before one is taken of any; changes nothing."""

    @abstractmethod
    def take_snapshot(self, instance: Instance, name: str) -> Snapshot:
        """Keep the state of this moment: files as the machine itself sees them, written or not, and memory where the
        provider can and the machine is `running` or `suspended`. It goes on as if nothing had been. A name that is
        taken is an error; after an error or a crash there is none of that name."""

    @abstractmethod
    def restore_snapshot(self, instance: Instance, name: str) -> Instance:
        """Go back to it, losing what is now; other snapshots stay, later ones too. With memory the machine is `running`
        afterwards, its clock right and reachable by `command`; without, it is `stopped`, or `created` when it had never
        been started. Programs that a command was running then have lost it, and are ended. A name that is unknown, and
        a state that does not fit the machine or the backend as they are now, are errors that change nothing."""

    @abstractmethod
    def copy_snapshot(self, source: Instance, name: str, spec: MachineSpec, labels: Mapping[str, str]) -> Instance:
        """`Provider.create`, with the files of a snapshot of another instance in the place of an image, which goes on
        as if nothing had been. Memory is no part of it, and what tells machines apart is made anew at the first start,
        as for any new one. `labels` name the image and the variables of `source`. Errors: `EnvupError` where there is
        no such snapshot, or one that does not fit `spec`."""

    @abstractmethod
    def delete_snapshot(self, instance: Instance, name: str) -> None:
        """Remove it; succeeds when it is gone. The machine goes on."""


class Export(ABC):
    """Ability: all files of a machine leave it as an image that others are made from."""

    def exports(self, instance: Instance) -> str:
        """What `export` writes: `tar`, its root file system, or `qcow2`, a whole disk that boots by itself. Legal in
        every state but `broken`; changes nothing."""
        return "tar"

    @abstractmethod
    def export(self, instance: Instance, file: BinaryIO) -> None:
        """Write them to `file`, which has a file descriptor and need not be one that can be rewound: as they are at one
        moment, without mounts and what the backend keeps for itself. Its programs stand still while they are read and
        go on. Legal in every state but `broken`. Errors: `EnvupError`."""


class Flush(ABC):
    """Ability: what a machine writes is on its disk some time later, as it has a kernel of its own."""

    @abstractmethod
    def flush(self, instance: Instance) -> None:
        """All that was written so far is on the disk, so that it outlives a loss of the machine's power. Called after
        each step, before its success is recorded. Legal in `running`. Errors: `EnvupError`."""


class Console(ABC):
    """Ability: what the machine's console, or its first program, says is kept."""

    @abstractmethod
    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        """The host command that prints all of it, and with `follow` goes on as more is said, until it is ended. Legal
        in every state but `broken`."""


class Layer(Value):
    """The files of a machine as they were after some steps. `key` names it, `parent` the layer that its machine began
    with, or is empty; `size` is in bytes, what it takes beside its parent; times are in seconds since the epoch; `note`
    is what `keep_layer` was given; `in_use` tells whether a machine stands on it, or on one above it."""

    key: str
    parent: str
    size: int
    created: float
    last_used: float
    note: Mapping[str, Any]
    in_use: bool = False


class Layers(ABC):
    """Ability: the files of a machine are kept under a key, and others begin with them: `create` is given the key as
    `image.layer`. What is mounted is no part of it. A key has lower-case hexadecimal digits."""

    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """All that machines can begin with. One bulk query; changes nothing."""

    @abstractmethod
    def keeps_layers(self, spec: MachineSpec) -> bool:
        """Whether machines declared so can be kept and begin with layers. Changes nothing."""

    @abstractmethod
    def keep_layer(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        """Keep the files of a machine as they are now; `note` is JSON, `image` in it the image's digest. It goes on as
        if nothing had been. Does nothing where there is a layer of that key. After an error or a crash there is none,
        or the whole. Legal in `running` and `stopped`. Errors: `EnvupError`; `TransportError` where the machine has
        not come back as it was."""

    @abstractmethod
    def remove_layer(self, key: str) -> None:
        """Remove one; succeeds when it is gone. Errors: `EnvupError` while a machine or another layer stands on
        it."""

    def mend_layers(self) -> None:  # noqa: B027 - not every provider has such
        """Remove what is none of `layers`: what commands that died had half made, and what was damaged. By default
        there is no such thing. Errors: `EnvupError`."""


class MemoryLayers(Layers):
    """Ability: a layer may hold the memory of a running machine as well. Machines that begin with it go on from there
    when they start for the first time, each as itself: name, addresses, identities, clock and random numbers are its
    own. Where its memory does not fit a machine, that boots from the files."""

    @abstractmethod
    def keep_layer_with_memory(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        """As `keep_layer`, and the memory with it where it can be saved. Legal in `running`."""


class Dial(ABC):
    """Ability: services of a machine are reached in its own network, whatever of that the host can reach."""

    @abstractmethod
    def dial(self, instance: Instance, port: int, *, timeout: float = 10.0) -> socket.socket:
        """A TCP connection to a port of the machine, made in the machine's own network, loopback included. It is the
        caller's to close. `timeout` is in seconds, and then the socket's own. Each call makes another connection. Legal
        in `running`. Errors: the `OSError` of connect(2) as it is, `TimeoutError` among them; `TransportError` when
        the machine does not run or its network cannot be entered."""

    def can_dial(self, instance: Instance) -> bool:
        """Whether `dial` can do that for this machine, which runs. Changes nothing."""
        return True


def dialler(provider: Provider, instance: Instance) -> Dial | None:
    """The provider, if it reaches ports of this machine in the machine's own network."""
    return provider if isinstance(provider, Dial) and provider.can_dial(instance) else None


class OwnImages(ABC):
    """Ability: the provider gets images of some sources by itself and needs no hub form of them."""

    sources: ClassVar[frozenset[str]]
    """Names of those sources."""

    @abstractmethod
    def obtain(self, reference: ImageReference, emit: Emit, *, refresh: bool = False) -> Image:
        """The image that `reference` is locked at or stands for, fetched first where the backend lacks it or `refresh`
        asks for it anew; its `digest` is what `create` knows it by. Errors: `EnvupError` with a remedy."""

    def find(self, reference: ImageReference) -> Image | None:
        """The same where nothing has to be fetched or made for it, else None, as always where no machine of these
        images has layers. Changes nothing. Errors: `EnvupError`."""
        return None


class ImageForms(ABC):
    """Ability: the provider keeps images in a form of its own (a directory, a disk) that can be listed and freed."""

    @abstractmethod
    def forms(self) -> Sequence[tuple[str, int]]:
        """(image digest, bytes on disk) of every form that is kept."""

    @abstractmethod
    def remove_form(self, digest: str) -> None:
        """Remove it; succeeds when it is gone. An error when an instance uses it, or a layer that would not fit it made
        again."""


def options_of(spec: MachineSpec, provider: str) -> Mapping[str, Any]:
    """The keys that the Envfile gives for one provider, empty when it gives none."""
    return spec.options.get(provider, {})
