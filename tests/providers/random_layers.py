"""Random commands of two projects that share a home, held against `layer_model` after each of them."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from forked import ForkedProject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from layer_model import FILES, Files, Machine, Project, Step, Store
from real_machines import remains

from envup.namespaces import layers as kept_layers
from envup.provider import Snapshots
from envup_chroot.provider import ChrootProvider
from envup_docker.provider import DockerProvider
from envup_lxc.provider import LxcProvider

WORDS = st.sampled_from(["red", "blue"])
PROJECTS = st.integers(0, 1)
PLACES = st.integers(0, 7)
NAMES = st.sampled_from(["early", "late"])
NEXT = st.sampled_from(["nothing", "up", "up", "anew", "anew"])
"""What follows a change of what is declared."""
STEPS = st.builds(
    Step,
    st.sampled_from(["write", "append", "append", "remove", "tree", "secret", "copy", "always", "fail"]),
    st.sampled_from(FILES),
    WORDS,
)
FIRST = [Step("append", "/srv/one", "red"), Step("tree", "", "red"), Step("copy", "", ""), Step("secret", "", "")]
PROVIDERS: dict[str, type] = {"chroot": ChrootProvider, "docker": DockerProvider, "lxc": LxcProvider}
HALF_MADE = ("layers/.*.*", "machines/*/*.new", "machines/*/old.*", "machines/*/copying.*", "machines/*/snapshots/.*")
"""In the directory of a provider, what a command must have taken away."""


class Commands(RuleBasedStateMachine):
    """Commands of two projects in the directory `place`; `engine` is the address of a Docker engine that is theirs
    alone, as `prune` frees what others have in it too."""

    provider: ClassVar[str]
    place: ClassVar[Path]
    archive: ClassVar[Path]
    engine: ClassVar[str]
    count: ClassVar[int]
    """Of operations so far."""

    def __init__(self) -> None:
        super().__init__()
        self.models = [Project(list(FIRST)), Project(list(FIRST))]
        self.touched = {0, 1}
        self.store = Store(self.models, kept_layers.DEEPEST, differences=self.provider != "docker")
        self.own = Path(tempfile.mkdtemp(dir=self.place))
        self.own.chmod(0o711)
        self.real = [self._real(name) for name in ("first", "second")]
        for number in (0, 1):
            self._write(number)

    def _real(self, name: str) -> ForkedProject:
        return ForkedProject(self.own / name, self.own / "home", {"DOCKER_HOST": self.engine})

    def _write(self, number: int) -> None:
        model, real = self.models[number], self.real[number]
        real.write(model.envfile(self.provider, str(self.archive), str(real.home)))
        (real.directory / "conf").write_text(f"{model.conf}\n")
        real.environment["TOKEN"] = model.token

    def _do(self, number: int, *arguments: str, code: int = 0) -> str:
        self.touched.add(number)
        return self._run(number, *arguments, code=code)

    def _run(self, number: int, *arguments: str, code: int = 0) -> str:
        done = self.real[number].run(*arguments)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "bug" not in done.stderr, done.stderr
        return done.stdout

    def _up(self, number: int, *options: str, **how: Any) -> None:
        expected, whole = self.store.up(self.models[number], **how)
        told = self._do(number, "up", "--yes", "--json", *options, code=0 if whole else 1)
        events = [json.loads(line) for line in told.splitlines()]
        unkept = [event for event in events if "left is not kept" in event.get("text", "")]
        assert how.get("shrink") or not unkept, unkept
        plan = next(event["plan"] for event in events if event["event"] == "plan")
        names = {action["id"]: action["detail"] for action in plan["actions"] if action["verb"] == "provision"}
        begun = [names[event["action"]] for event in events if event["event"] == "started" and event["action"] in names]
        assert begun == expected

    def _follow(self, number: int, then: str) -> None:
        """Declare what the model says, and have it."""
        self._write(number)
        if then == "anew":
            self.destroy(number)
        if then != "nothing":
            self._up(number)

    def _machine(self, number: int) -> Machine:
        """The machine, made first where there is none."""
        if self.models[number].machine is None:
            self._up(number)
        machine = self.models[number].machine
        assert machine is not None
        return machine

    @rule(number=PROJECTS)
    def up(self, number: int) -> None:
        """Bring the machine to what is declared."""
        self._up(number)

    @rule(number=PROJECTS)
    def make_anew(self, number: int) -> None:
        """Destroy and up."""
        self.destroy(number)
        self._up(number)

    @rule(number=PROJECTS, place=PLACES)
    def make_anew_from(self, number: int, place: int) -> None:
        """The same, but no layer is used of a step and of those behind it."""
        self.destroy(number)
        chain = list(self.models[number].chain())
        name = chain[place % len(chain)][1]
        self._up(number, "--refresh", name, begin=name)

    @rule(number=PROJECTS)
    def make_anew_without_layers(self, number: int) -> None:
        """The same, but no layer is used."""
        self.destroy(number)
        self._up(number, "--no-cache", cache=False)

    @rule(number=PROJECTS)
    def make_anew_with_little_space(self, number: int) -> None:
        """The same, with room for no layer but those that machines stand on."""
        self.destroy(number)
        self.real[number].environment["ENVUP_LAYERS"] = "1B"
        self._up(number, shrink=True)
        del self.real[number].environment["ENVUP_LAYERS"]

    @rule(number=PROJECTS, place=PLACES, step=STEPS, then=NEXT)
    def change_step(self, number: int, place: int, step: Step, then: str) -> None:
        """Another step in the place of one."""
        steps = self.models[number].steps
        steps[place % len(steps)] = step
        self._follow(number, then)

    @rule(number=PROJECTS, place=PLACES, step=STEPS, then=NEXT)
    def insert_step(self, number: int, place: int, step: Step, then: str) -> None:
        """One more."""
        steps = self.models[number].steps
        if len(steps) < 6:
            steps.insert(place % (len(steps) + 1), step)
        self._follow(number, then)

    @rule(number=PROJECTS, place=PLACES, then=NEXT)
    def drop_step(self, number: int, place: int, then: str) -> None:
        """One less."""
        steps = self.models[number].steps
        if len(steps) > 1:
            del steps[place % len(steps)]
        self._follow(number, then)

    @rule(number=PROJECTS, word=WORDS, then=NEXT)
    def change_what_is_read(self, number: int, word: str, then: str) -> None:
        """Another file to copy."""
        self.models[number].conf = f"text-{word}"
        self._follow(number, then)

    @rule(number=PROJECTS, word=WORDS, then=NEXT)
    def change_secret(self, number: int, word: str, then: str) -> None:
        """Another secret."""
        self.models[number].token = f"token-{word}"
        self._follow(number, then)

    @rule(number=PROJECTS)
    def destroy(self, number: int) -> None:
        """Remove the machine and its snapshots."""
        self._do(number, "destroy", "--yes")
        self.models[number].machine = None

    @rule(number=PROJECTS)
    def stop(self, number: int) -> None:
        """Stop the machine."""
        self._do(number, "stop")
        if machine := self.models[number].machine:
            machine.running = False

    @rule(number=PROJECTS, path=st.sampled_from([*FILES, "/srv/tree/old", "/srv/by-hand"]), word=WORDS)
    def work(self, number: int, path: str, word: str) -> None:
        """Write a file by hand."""
        machine = self._machine(number)
        if not machine.running:
            self._up(number)
        self._do(number, "exec", "--", "sh", "-c", f"mkdir -p /srv/tree && echo {word} > {path}")
        machine.state.files[path] = f"{word}\n"

    @rule()
    def prune(self) -> None:
        """Free what nothing refers to."""
        self._do(0, "prune")
        self.store.free()
        self.touched |= {0, 1}

    @precondition(lambda self: self.has_snapshots)
    @rule(number=PROJECTS, name=NAMES)
    def take_snapshot(self, number: int, name: str) -> None:
        """Keep the machine under a name."""
        machine = self._machine(number)
        free = name not in machine.snapshots
        self._do(number, "snapshot", "create", name, code=0 if free else 2)
        if free:
            machine.snapshots[name] = machine.state.copy()

    @precondition(lambda self: self.has_snapshots)
    @rule(number=PROJECTS, name=NAMES)
    def restore_snapshot(self, number: int, name: str) -> None:
        """Go back."""
        machine = self._machine(number)
        there = name in machine.snapshots
        self._do(number, "snapshot", "restore", name, "--yes", code=0 if there else 2)
        if there:
            self.models[number].restore(name)

    @precondition(lambda self: self.has_snapshots)
    @rule(number=PROJECTS, name=NAMES)
    def delete_snapshot(self, number: int, name: str) -> None:
        """Forget a name."""
        machine = self._machine(number)
        there = name in machine.snapshots
        self._do(number, "snapshot", "delete", name, code=0 if there else 2)
        if there:
            del machine.snapshots[name]

    @property
    def has_snapshots(self) -> bool:
        """Whether the provider has the ability."""
        return issubclass(PROVIDERS[self.provider], Snapshots)

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        """What commands have touched since the last time."""
        type(self).count += 1
        if self.touched:
            self._check_store()
        self._check_states()

    def _check_store(self) -> None:
        """Layers, machines and what they are made from are those of the model."""
        home = self.own / "home"
        told = json.loads(self._run(0, "images", "--json"))
        layers = [layer for layer in told["layers"] if layer["provider"] == self.provider]
        steps = {"": "", **{layer["key"]: layer["step"] for layer in layers}}
        kept = Counter((layer["step"], steps[layer["parent"]], layer["in_use"]) for layer in layers)
        assert kept == self.store.told()
        assert len(told["images"]) <= 1
        half_made = [str(path) for pattern in HALF_MADE for path in home.glob(f"data/providers/*/{pattern}")]
        assert [*half_made, *home.glob("data/claims/*"), *home.glob("data/images/work/[!g]*")] == []

    def _check_states(self) -> None:
        """Their states, and whether all steps have run."""
        for number, model in enumerate(self.models):
            if number not in self.touched:
                continue
            (told,) = json.loads(self._run(number, "status", "--json"))["machines"]
            machine = model.machine
            state = "absent" if machine is None else "running" if machine.running else "stopped"
            assert (told["state"], told["provisioned"]) == (state, model.is_provisioned())
            self._check_files(number)
        self.touched.clear()

    def _check_files(self, number: int) -> None:
        machine = self.models[number].machine
        if machine is None or not machine.running:
            return
        done = self.real[number].run("exec", "--", "grep", "-r", "", "/srv")
        assert done.returncode in (0, 1), done
        found: Files = {}
        for line in done.stdout.splitlines():
            path, _, text = line.partition(":")
            found[path] = found.get(path, "") + f"{text}\n"
        assert found == machine.state.files

    def teardown(self) -> None:
        """Nothing is left once the machines are destroyed and what they left is freed."""
        for number in (0, 1):
            self._check_files(number)
            self.destroy(number)
        self.prune()
        for number in (0, 1):
            assert remains(self.real[number]) == {}
        assert json.loads(self._run(0, "images", "--json")) == {"images": [], "layers": []}
