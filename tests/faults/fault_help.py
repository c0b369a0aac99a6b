"""The Envfiles of the fault tests, and what must hold at the end of each. `@ARCHIVE@` and `@HOME@` are filled in."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator

import pytest
from leftovers import engine
from leftovers import home as in_home
from real_machines import IS_ROOT, Project, remains

PROVIDERS = ("chroot", "docker", "lxc", "kvm")

QUICK = PROVIDERS[:3]
"""Those whose machines start in less than a second; what is much the same for all is held against these."""
EVERYWHERE = pytest.mark.parametrize("provider", QUICK)

NAMESPACED = pytest.mark.parametrize("provider", ["chroot", "lxc"])
"""Providers that keep their machines in the home."""

KILLS = int(os.environ.get("ENVUP_KILLS", "2"))
"""How often a test kills."""
SEED = int(os.environ.get("ENVUP_SEED", "0")) or random.randrange(1, 1 << 30)

_LINES = {
    "chroot": ("", "", "grep -w one /etc/hosts"),
    "docker": ("", "ports: ['127.0.0.1:0:80']", "ping -c 1 -W 10 one"),
    "lxc": ("", "ports: ['127.0.0.1:0:80']", "ping -c 1 -W 10 one"),
    "lxc-bridge": ("lxc: {network: lxcbr0}", "ports: ['127.0.0.1:0:80']", "grep -w one /etc/hosts"),
    "kvm": ("kvm: {acceleration: tcg}", "ports: ['127.0.0.1:0:80']", "ping -c 1 -W 10 one"),
}
"""Of each way to have machines: options, how a port is declared, and how one machine finds the other. `lxc-bridge`: the
host's rules may keep machines on its bridge apart."""

_PAIR = """\
provider: @PROVIDER@
defaults:
  image: {tarball: "@ARCHIVE@"}
  environment: {MARK: "@HOME@"}
  @OPTIONS@
machines:
  one:
    @LIMITS@
    @PORTS@
    provision:
      - {name: first, shell: echo first >> /root/log}
      - {name: second, shell: test -e /workspace/Envfile && echo second >> /root/log}
  two:
    depends_on: {one: provisioned}
    provision:
      - {name: first, shell: "@FIND@ && echo first >> /root/log"}
"""

_SINGLE = """\
provider: @PROVIDER@
image: {tarball: "@ARCHIVE@"}
mounts: ["@HOME@:/shared"]
environment: {MARK: "@HOME@"}
@OPTIONS@
provision:
"""


def pair_of(way: str) -> str:
    """The Envfile of two machines, the second waiting for the first and finding it by its name; the first has a port
    where the provider forwards any, and a limit where this account may set one."""
    options, ports, find = _LINES[way]
    limits = "resources: {memory: 200MiB}" if way == "kvm" else "resources: {pids: 200}" if IS_ROOT else ""
    lines = {"@PROVIDER@": way.partition("-")[0], "@OPTIONS@": options, "@PORTS@": ports, "@FIND@": find}
    lines["@LIMITS@"] = limits
    text = _PAIR
    for sign, line in lines.items():
        text = text.replace(sign, line)
    return text


def single_of(provider: str) -> str:
    """The beginning of the Envfile of one machine, up to its steps; it has the home at `/shared`."""
    return _SINGLE.replace("@PROVIDER@", provider).replace("@OPTIONS@", _LINES[provider][0])


@contextlib.contextmanager
def told_choice() -> Iterator[random.Random]:
    """Random numbers; how to get them again is told where the test fails."""
    print(f"ENVUP_SEED={SEED}")
    yield random.Random(SEED)


def settle(project: Project, *, patience: float = 0) -> None:
    """Destroy must work and leave nothing at all, but for half of an image, which a later command takes up or `prune`
    removes, and what ends by itself within `patience` seconds."""
    project.must("destroy", "--yes")
    left = remains(project, patience=patience)
    if set(left) == {"half-made images"}:
        project.must("prune")
        left = remains(project)
    assert left == {}, left


def forget_image(project: Project) -> None:
    """Have the Docker engine, where it is the provider, import the project's image anew."""
    if not (project.directory / "Envfile").read_text().startswith("provider: docker"):
        return
    for digest in in_home.digests(project.home):
        engine.forget_image(digest)


def check_that_up_recovers(project: Project) -> None:
    """The next `up` must bring both machines, with all of their steps done and their port forwarded."""
    project.must("up", "--yes")
    machines = project.machines()
    assert {name: machine["state"] for name, machine in machines.items()} == {"one": "running", "two": "running"}
    assert all(machine["provisioned"] for machine in machines.values())
    assert project.must("exec", "one", "--", "cat", "/root/log").split()[-1] == "second"
    declared = "ports:" in (project.directory / "Envfile").read_text()
    assert bool(machines["one"]["ports"]) == declared, machines
