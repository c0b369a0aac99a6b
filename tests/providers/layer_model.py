"""What machines, layers and snapshots must be after each command, in plain Python."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Files = dict[str, str]
"""Content of each file below /srv, by path."""

IMAGE: Files = {"/srv/one": "image\n", "/srv/tree/old": "image\n"}
FILES = ("/srv/one", "/srv/two")


@dataclass(frozen=True)
class Step:
    """One step: what it does, to which file, with which word."""

    kind: str
    file: str
    word: str

    def declared(self) -> dict[str, Any]:
        """It in an Envfile, without a name."""
        if self.kind == "copy":
            return {"copy": {"from": "conf", "to": "/srv/conf"}}
        commands = {
            "write": f"echo {self.word} > {self.file}",
            "append": f"echo {self.word} >> {self.file}",
            "remove": f"rm -f {self.file}",
            "tree": f"rm -rf /srv/tree && mkdir /srv/tree && echo {self.word} > /srv/tree/{self.word}",
            "secret": 'echo "$TOKEN" > /srv/secret',
            "always": f"echo {self.word} >> /srv/always",
            "fail": "exit 1",
        }
        return {"shell": commands[self.kind]} | ({"run": "always"} if self.kind == "always" else {})

    def change(self, files: Files, conf: str, token: str) -> None:
        """Do to the files what it does."""
        if self.kind == "tree":
            for path in [path for path in files if path.startswith("/srv/tree/")]:
                del files[path]
        if self.kind == "remove":
            files.pop(self.file, None)
            return
        old = files.get(self.file, "") if self.kind == "append" else files.get("/srv/always", "")
        new = {
            "write": (self.file, f"{self.word}\n"),
            "append": (self.file, f"{old}{self.word}\n"),
            "tree": (f"/srv/tree/{self.word}", f"{self.word}\n"),
            "secret": ("/srv/secret", f"{token}\n"),
            "copy": ("/srv/conf", f"{conf}\n"),
            "always": ("/srv/always", f"{old}{self.word}\n"),
        }
        path, text = new[self.kind]
        files[path] = text

    @property
    def what(self) -> tuple[str, ...]:
        """Equal for steps that say the same."""
        return (json.dumps(self.declared(), sort_keys=True),)


Done = tuple[str, ...]
"""What a step that ran said, and what it read."""


@dataclass
class Kept:
    """The state of a machine that can come back: its files, and the steps that had run."""

    files: Files
    done: list[Done]

    def copy(self) -> Kept:
        """One that changes by itself."""
        return Kept(dict(self.files), list(self.done))


@dataclass
class Layer:
    """A layer; `step` names the one that it was kept after."""

    files: Files
    parent: str
    step: str


@dataclass
class Machine:
    """A machine; `base` is the layer that it stands on, empty for the image; `kept`, the last that was made of it."""

    state: Kept
    base: str
    kept: tuple[str, Layer | None] = ("", None)
    running: bool = True
    snapshots: dict[str, Kept] = field(default_factory=dict)


@dataclass
class Project:
    """What is declared, and what there is of it."""

    steps: list[Step]
    conf: str = "text-a"
    token: str = "token-a"
    machine: Machine | None = None

    def chain(self) -> Iterator[tuple[Step, str, str]]:
        """Each step with its name, and the key of the layer after it, which is empty where none is kept."""
        key, kept = json.dumps(self.token), True
        for place, step in enumerate(self.steps):
            if step.kind == "always":
                kept = False
                yield step, f"always-{place}", ""
                continue
            key = hashlib.sha256(json.dumps([key, *self.said(step)]).encode()).hexdigest()
            named = [other.what for other in self.steps[: place + 1] if other.kind != "always"]
            name = f"s{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:10]}"
            yield step, name, key if kept else ""

    def said(self, step: Step) -> Done:
        """What is recorded of a step that has run now."""
        return (*step.what, self.conf if step.kind == "copy" else "")

    def restore(self, name: str) -> None:
        """Bring the machine back to a snapshot; one that runs does again what it always does, as far as it had come."""
        assert self.machine is not None
        state = self.machine.state = self.machine.snapshots[name].copy()
        before = 0
        for step in self.steps if self.machine.running else ():
            before += step.kind != "always"
            if step.kind == "always" and before <= len(state.done):
                step.change(state.files, self.conf, self.token)

    def is_provisioned(self) -> bool:
        """Whether every step has run on the machine as it is declared now."""
        wanted = [self.said(step) for step in self.steps if step.kind != "always"]
        return self.machine is not None and self.machine.state.done == wanted

    def envfile(self, provider: str, archive: str, home: str) -> str:
        """The Envfile, which JSON is too."""
        steps = [{"name": name, **step.declared()} for step, name, _ in self.chain()]
        token = self.token if provider == "docker" else "${TOKEN}"  # whose machines with secrets have no layers
        return json.dumps(
            {
                "name": "random",
                "provider": provider,
                "image": {"tarball": archive},
                "mounts": [],
                "environment": {"MARK": home, "TOKEN": token},
                "provision": steps,
            }
        )


class Store:
    """All layers of a provider."""

    def __init__(self, projects: list[Project], deepest: int, *, differences: bool) -> None:
        """`deepest`: on how many layers a machine stands at most; `differences`: whether a layer stands on the one that
        was kept of the same machine before."""
        self.layers: dict[str, Layer] = {}
        self.projects, self.deepest, self.differences = projects, deepest, differences

    def up(
        self, project: Project, *, begin: str = "", cache: bool = True, shrink: bool = False
    ) -> tuple[list[str], bool]:
        """The names of the steps that run, and whether all succeed. `begin`: no layer holds this step or one behind
        it; `shrink`: no more layers may be kept than machines stand on."""
        chain, pristine, renews = list(project.chain()), False, bool(begin) or not cache
        if project.machine is not None and self._misfits(project):
            project.machine = None
        if project.machine is None:
            project.machine, pristine = self._made(project, begin, cache), True
        machine = project.machine
        machine.running, ran = True, list[str]()
        once = [step for step in project.steps if step.kind != "always"]
        left = next(
            (place for place, (done, step) in enumerate(zip(machine.state.done, once, strict=False))
             if done != project.said(step)),
            len(machine.state.done),
        )  # fmt: skip
        place = 0
        for step, name, key in chain:
            place += step.kind != "always"
            if step.kind != "always" and place <= left:
                continue
            ran.append(name)
            if step.kind != "always":
                del machine.state.done[place - 1 :]
            if step.kind == "fail":
                return ran, False
            step.change(machine.state.files, project.conf, project.token)
            if step.kind != "always":
                machine.state.done.append(project.said(step))
            pristine = pristine and bool(key) and (not renews or self._gave_way(chain, key))
            if not pristine:
                continue
            if key not in self.layers:
                self.layers[key] = Layer(dict(machine.state.files), self._below(machine), name)
                machine.kept = (key, self.layers[key])
            if shrink:
                self.free()
        return ran, True

    def _gave_way(self, chain: list[tuple[Step, str, str]], first: str) -> bool:
        """Remove a layer of a chain, those behind it and all that stand on them; whether none of them is used."""
        keys = [key for _step, _name, key in chain if key]
        going = {*keys[keys.index(first) :]}
        while more := {key for key, layer in self.layers.items() if layer.parent in going} - going:
            going |= more
        if going & self.used():
            return False
        for key in going:
            self.layers.pop(key, None)
        return True

    def _misfits(self, project: Project) -> bool:
        """Whether a step that ran is not wanted now."""
        assert project.machine is not None
        wanted = [step.what for step in project.steps if step.kind != "always"]
        ran = [done[:1] for done in project.machine.state.done]
        return ran != wanted[: len(ran)]

    def _made(self, project: Project, begin: str, cache: bool) -> Machine:
        machine, done = Machine(Kept(dict(IMAGE), []), ""), list[Done]()
        for step, name, key in project.chain():
            if not key or name == begin or not cache:
                break
            done.append(project.said(step))
            if key in self.layers:
                machine = Machine(Kept(dict(self.layers[key].files), list(done)), key)
        return machine

    def _stack(self, key: str) -> list[str]:
        return [key, *self._stack(self.layers[key].parent)] if key else []

    def _below(self, machine: Machine) -> str:
        """What a layer stands on that is kept of a machine."""
        key, layer = machine.kept
        if self.differences and self.layers.get(key) is layer is not None and len(self._stack(key)) < self.deepest:
            return key
        return machine.base if len(self._stack(machine.base)) < self.deepest else ""

    def used(self) -> set[str]:
        """Those that a machine stands on."""
        bases = [project.machine.base for project in self.projects if project.machine]
        return {key for base in bases for key in self._stack(base)}

    def free(self) -> None:
        """Remove all others."""
        used = self.used()
        self.layers = {key: layer for key, layer in self.layers.items() if key in used}

    def told(self) -> Counter[tuple[str, str, bool]]:
        """Of each layer its step, that of the one below, and whether it is in use."""
        used = self.used()
        return Counter(
            (layer.step, self.layers[layer.parent].step if layer.parent else "", key in used)
            for key, layer in self.layers.items()
        )
