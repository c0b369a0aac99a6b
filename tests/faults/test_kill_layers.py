"""SIGKILL at random moments to commands that make, use and free layers and snapshots: none that is half made is ever
used, none that a machine stands on is lost, and what was left is taken away.

`ENVUP_KILLS` is the number of kills of a test, `ENVUP_SEED` makes the moments those of an earlier run.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from docker_daemon import daemon
from fault_help import QUICK, told_choice
from real_machines import Project, remains

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = {"chroot": 8, "lxc": 8, "docker": 4}
"""How often a test kills, unless `ENVUP_KILLS` says it."""
ENVFILE = """\
provider: @PROVIDER@
image: {tarball: "@ARCHIVE@"}
mounts: []
environment: {MARK: "@HOME@"}
provision:
  - {name: number, shell: "mkdir -p /srv/many; echo @ROUND@ > /srv/a"}
  - {name: many, shell: "for n in $(seq 300); do echo $n > /srv/many/$n; done"}
  - {name: large, shell: "yes large | head -c 20000000 > /srv/large; rm -f /srv/many/7"}
  - {name: last, shell: "rm -rf /srv/many; mkdir /srv/many; echo last > /srv/many/last; echo made > /srv/state"}
"""
LOOK = "cat /srv/a /srv/state; md5sum < /srv/large; ls /srv /srv/many"
SHOWN = "{}\n{}\nf284704f10f0e4fedab378a3cbcdabf2  -\n/srv:\na\nlarge\nmany\nstate\n\n/srv/many:\nlast\n"
HALF_MADE = ("layers/.*.*", "machines/*/*.new", "machines/*/old.*", "machines/*/copying.*", "machines/*/snapshots/.*")


class Subject:
    """A project with one machine. Each of its Envfiles, which a number tells apart, has layers of its own."""

    def __init__(self, project: Project, provider: str) -> None:
        self.project = project
        self._envfile, self._number = (project.directory / "Envfile").read_text(), 0
        self.verbs = ("up", "prune") if provider == "docker" else ("up", "prune", "take", "restore")

    def prepare(self, verb: str, moments: random.Random) -> tuple[list[str], set[str]]:
        """Have something for `verb` to do: its command line, and the states in which the machine may be afterwards."""
        if self._number == 0 or moments.random() < 0.5:
            self._number += 1
            self.project.write(self._envfile.replace("@ROUND@", str(self._number)))
        if verb == "up":
            self.project.must("destroy", "--yes")
            return ["up", "--yes"], {"made"}
        self.project.must("up", "--yes")
        for name in ("early", "late") if verb in ("take", "restore") else ():
            if name in self.project.must("snapshot", "list"):
                self.project.must("snapshot", "delete", name)
        if verb == "restore":
            self.write("early")
            self.project.must("snapshot", "create", "early")
        self.write("late")
        lines = {
            "prune": ["prune"],
            "take": ["snapshot", "create", "late"],
            "restore": ["snapshot", "restore", "early", "--yes"],
        }
        return lines[verb], {"early", "late"} if verb == "restore" else {"late"}

    def write(self, state: str) -> None:
        """Bring the machine to a state."""
        self.project.must("exec", "--", "sh", "-c", f"echo {state} > /srv/state")

    def check(self, verb: str, states: set[str]) -> None:
        """The next commands must find all as it was or as it was to be, and take away what was left."""
        self.project.must("up", "--yes")
        assert self._shown() in {SHOWN.format(self._number, state) for state in states}
        if verb == "take" and "late" in self.project.must("snapshot", "list"):
            self.write("other")
            self.project.must("snapshot", "restore", "late", "--yes")
            assert self._shown() == SHOWN.format(self._number, "late")
        self.project.must("prune")
        home = self.project.home
        assert [path for pattern in HALF_MADE for path in home.glob(f"data/providers/*/{pattern}")] == []
        layers = json.loads(self.project.must("images", "--json"))["layers"]
        assert {layer["parent"] for layer in layers} <= {"", *(layer["key"] for layer in layers)}
        assert all(layer["in_use"] for layer in layers)
        self.project.must("destroy", "--yes")
        self.project.must("up", "--yes")
        assert self._shown() == SHOWN.format(self._number, "made")

    def _shown(self) -> str:
        return self.project.must("exec", "--", "sh", "-c", LOOK)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an engine of the tests' own where the provider is Docker: `prune` frees what others have too."""
    if request.getfixturevalue("provider") != "docker":
        yield "unix:///no/engine.sock"
        return
    with daemon() as own:
        yield own.address


@pytest.mark.parametrize("provider", QUICK)
def test_layers_and_snapshots_survive_kills_at_random_moments(
    make_project: Callable[..., Project], provider: str, engine: str
) -> None:
    project = make_project(ENVFILE.replace("@PROVIDER@", provider))
    project.environment["DOCKER_HOST"] = engine
    subject = Subject(project, provider)
    with told_choice() as moments:
        longest = {verb: measured(subject, verb, moments) for verb in subject.verbs}
        for number in range(int(os.environ.get("ENVUP_KILLS") or KILLS[provider])):
            verb = subject.verbs[number % len(subject.verbs)]
            line, states = subject.prepare(verb, moments)
            kill(project, line, moments.uniform(0, longest[verb]), whole=moments.random() < 0.5)
            subject.check(verb, states)
    project.must("destroy", "--yes")
    project.must("prune")
    assert remains(project) == {}


def measured(subject: Subject, verb: str, moments: random.Random) -> float:
    """Seconds that a verb takes."""
    line, states = subject.prepare(verb, moments)
    begun = time.monotonic()
    subject.project.must(*line)
    taken = time.monotonic() - begun
    subject.check(verb, states)
    return taken


def kill(project: Project, line: Sequence[str], seconds: float, *, whole: bool) -> None:
    """Start a command and kill it after so long, alone or as a `whole` with the programs that it started."""
    print(f"kill {line} after {seconds:.3f} s, whole: {whole}")
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with project.start(*line, **options) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            for number in (*descendants(process.pid), process.pid) if whole else (process.pid,):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)


def descendants(parent: int) -> list[int]:
    """Processes that a process has started, and those that they did."""
    told = subprocess.run(["pgrep", "--parent", str(parent)], capture_output=True, text=True, check=False).stdout
    children = [int(number) for number in told.split()]
    return [number for child in children for number in (child, *descendants(child))]
