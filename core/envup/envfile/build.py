"""A document in its normal form, all values in it, to the model. What reaches this has been checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.envfile import units
from envup.model import Environment, ImageReference, MachineSpec, Mount, Place, Probe, Resources, Step

OWN = frozenset(
    ("provider", "requires", "image", "resources", "hostname", "user", "environment", "ports", "mounts")
) | frozenset(("depends_on", "ready", "provision"))
STEP = frozenset(("name", "environment", "user", "run", "on_failure"))
PATHS = {"tarball": ("tarball",), "directory": ("directory",), "dockerfile": ("dockerfile", "context")}
PATHS |= {"disk": ("disk",), "debootstrap": ("keyring",)}
"""Options of image sources that are paths on the host."""


def build(
    document: Mapping[str, Any], file: Path, outside: Mapping[Place, frozenset[str]], provider: str | None
) -> Environment:
    """The environment. `outside` holds by path what came from outside the Envfile; `provider` is that of
    every machine, where it is given."""
    builder = _Builder(document, file.parent, outside)
    machines = tuple(builder.machine(name, provider) for name in document["machines"])
    name = document["name"] or file.parent.name or "root"
    leading_out = tuple(dict.fromkeys(builder.leading_out))
    foreign, written = frozenset(builder.foreign), builder.written
    return Environment(name, file.parent, file, machines, leading_out, foreign, written)


class _Builder:
    def __init__(self, document: Mapping[str, Any], directory: Path, outside: Mapping[Place, frozenset[str]]) -> None:
        self._document, self._directory, self._outside = document, str(directory), outside
        self._real = os.path.realpath(directory)
        self.leading_out: list[str] = []
        self.foreign: set[str] = set()
        self.written: dict[Place, str] = {}

    def machine(self, name: str, provider: str | None) -> MachineSpec:
        value = self._document["machines"][name]
        environment = value.get("environment", {})
        options = {key: given for key, given in value.items() if key not in OWN}
        wanted = value.get("depends_on", {})
        return MachineSpec(
            name=name,
            image=self._image(value["image"], ("machines", name, "image")),
            provider=provider or value["provider"],
            isolation=value.get("requires", {}).get("isolation"),
            resources=_resources(value.get("resources", {})),
            hostname=value.get("hostname") or name,
            user=value["user"],
            environment=environment,
            ports=tuple(units.port(text) for text in value.get("ports", ())),
            mounts=tuple(self._mount(item) for item in value["mounts"]),
            depends_on=wanted if isinstance(wanted, dict) else dict.fromkeys(wanted, "started"),
            ready=_probe(value["ready"]) if "ready" in value else None,
            steps=tuple(self._steps(name, value.get("provision", ()))),
            options=options,
            secrets=self._secrets(environment, ("machines", name, "environment")),
            secret_options=frozenset((key, *at) for key in options for at in self._within(("machines", name, key))),
            peers=tuple(other for other in self._document["machines"] if other != name),
        )

    def _secrets(self, environment: Mapping[str, str], path: Place) -> frozenset[str]:
        found = frozenset(name for name in environment if (*path, name) in self._outside)
        self.foreign.update(*(self._outside[(*path, name)] for name in found))
        return found

    def _within(self, path: Place, *, but: Collection[Place] = ()) -> frozenset[Place]:
        """Where in the options at `path` a value came from outside, `but` left out."""
        if not self._outside:
            return frozenset()
        found = {at[len(path) :]: values for at, values in self._outside.items() if at[: len(path)] == path}
        places = frozenset(found).difference(but)
        self.foreign.update(value for at in places for value in found[at] if not _names_a_file(value))
        return places

    def _steps(self, machine: str, steps: list[dict[str, Any]]) -> Iterator[Step]:
        taken = {step["name"] for step in steps if "name" in step}
        for index, step in enumerate(steps):
            kind = next(key for key in step if key not in STEP)
            environment = step.get("environment", {})
            name = step.get("name") or f"{kind}-{index + 1}"
            while "name" not in step and name in taken:
                name = f"{name}'"
            path: Place = ("machines", machine, "provision", index)
            secrets, within = self._secrets(environment, (*path, "environment")), self._within((*path, kind))
            user, run, on_failure = step.get("user"), step["run"], step["on_failure"]
            yield Step(index, name, kind, step[kind], environment, user, run, secrets, within, on_failure)

    def _image(self, value: str | dict[str, Any], path: Place) -> ImageReference:
        if value == "host":
            return ImageReference("host")
        if isinstance(value, str):
            distribution, _, suite = value.partition("/")
            chosen = {"distribution": distribution, "suite": suite}
            return ImageReference("debootstrap", {**chosen, **self._debootstrap(chosen)})
        source = next(iter(value))
        own = value.get(source)
        options = dict(own) if isinstance(own, dict) else dict(value)
        paths = [key for key in PATHS.get(source, ()) if key in options and "://" not in options[key]]
        place = (*path, source) if isinstance(own, dict) else path
        for key in paths:
            text, options[key] = options[key], self._path(options[key])
            if not Path(options[key]).is_relative_to(os.path.normpath(self._directory)):
                self.written[(*place, key)] = text
        return ImageReference(source, options, self._within(place, but=[(key,) for key in paths]))

    def _debootstrap(self, chosen: Mapping[str, str]) -> dict[str, Any]:
        return {key: value for key, value in self._document["debootstrap"].items() if key not in chosen}

    def _mount(self, value: str | dict[str, object]) -> Mount:
        source, target, read_only = units.mount(value)
        return Mount(Path(self._path(source)), target, read_only)

    def _path(self, text: str) -> str:
        """Absolute; remembered where it leads out of the project."""
        path = os.path.normpath(os.path.join(self._directory, os.path.expanduser(text)))  # noqa: PTH111, PTH118
        real = os.path.realpath(path)
        if real != self._real and not real.startswith(self._real.rstrip("/") + "/"):
            self.leading_out.append(path)
        return path


def _names_a_file(value: str) -> bool:
    """Whether a value is the path of something on this host, which is no secret, and stands in many a message."""
    return os.path.isabs(value) and os.path.lexists(value)  # noqa: PTH117


def _resources(value: Mapping[str, Any]) -> Resources:
    memory, disk = (units.size(value[key]) if key in value else None for key in ("memory", "disk"))
    return Resources(value.get("cpus"), memory, disk, value.get("pids"))


def _probe(value: Mapping[str, Any]) -> Probe:
    kind = next(key for key in ("command", "tcp", "http") if key in value)
    return Probe(kind, value[kind], units.duration(value["timeout"]), units.duration(value["interval"]))
