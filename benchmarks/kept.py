"""Layers: making a provisioned machine anew, and what it costs to keep one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path

from measure import Contender, Shell, Work, in_turn, side_by_side
from project import ENVUP, Bench
from result import Figure
from virtual import vagrant_project

WEB = Path(__file__).resolve().parents[1] / "examples" / "web"
STEP = "sleep 2; cp -r /usr/share /srv/share; for n in $(seq 500); do echo $n > /srv/$n; done"
"""Takes more than two seconds, and writes what a package does."""
IMAGE = "envup-bench-web"
PACKAGES = "apt-get update && apt-get install -y --no-install-recommends nginx-light"


def anew(bench: Bench, rounds: int) -> list[Figure]:
    """`destroy`, `up` and the first program of the example with nginx, whose steps are in layers, against running a
    container of what docker(1) commits of it."""
    names = ("chroot", "lxc", "docker", "kvm")
    shells = {name: _web(bench, name) for name in names}
    for shell in shells.values():
        shell.program(ENVUP, "up", "--yes")()
    _commit(shells["docker"])
    try:
        contenders = [Contender(_title(name), _again(shell)) for name, shell in shells.items()]
        raw = Contender("docker rm -f, run, exec true, of the committed image", _raw(bench))
        times = side_by_side([*contenders, raw], rounds)
    finally:
        Shell(bench.work, dict(os.environ)).program("docker", "rm", "-f", IMAGE)()
        for shell in shells.values():
            shell.program(ENVUP, "destroy", "--yes")()
        Shell(bench.work, dict(os.environ)).program("docker", "rmi", IMAGE)()
    base = times[raw.name]
    return [
        Figure.limit(times[_title("chroot")], 0.3),
        Figure.limit(times[_title("lxc")], 0.7),
        Figure.alone(base),
        Figure.ratio(times[_title("docker")], base, 1.5),
        Figure.limit(times[_title("kvm")], 5.0),
    ]


def against_vagrant(bench: Bench) -> list[Figure]:
    """The same machine as Vagrant's libvirt provider makes it, which runs the step each time. Once, as that takes
    minutes."""
    shell = _web(bench, "kvm")
    with vagrant_project(bench, PACKAGES) as vagrant:
        lines = (("destroy", "-f"), ("up",), ("ssh", "-c", "true"))
        theirs = in_turn(*(vagrant.program("vagrant", *line) for line in lines))
        raw = Contender("vagrant (libvirt): destroy, up, ssh true, its step run", theirs)
        ours = Contender(_title("kvm"), _again(shell))
        times = side_by_side([raw, ours], 1)
        shell.program(ENVUP, "destroy", "--yes")()
    return [Figure.alone(times[raw.name]), Figure.faster(times[ours.name], times[raw.name], 20)]


def keeping(bench: Bench, provider: str, rounds: int) -> list[Figure]:
    """`up` with a step that is kept, against the same with one that never is."""
    shells = {name: _project(bench, provider, name, "") for name in ("kept", "always")}
    kept, base = f"{provider}: up, one step, kept", f"{provider}: up, one step, run always"
    contenders = [_step(kept, shells["kept"], "once"), _step(base, shells["always"], "always")]
    times = side_by_side(contenders, rounds)
    return [Figure.alone(times[base]), Figure.ratio(times[kept], times[base], 1.1)]


def _step(name: str, shell: Shell, run: str) -> Contender:
    """Of a step that says something else each time."""
    envfile, numbers = shell.directory / "Envfile", count(time.time_ns())
    text = envfile.read_text()

    def declare() -> None:
        envfile.write_text(f"{text}  - {{shell: '{STEP} # {next(numbers)}', run: {run}}}\n")

    up, destroy = shell.program(ENVUP, "up", "--yes"), shell.program(ENVUP, "destroy", "--yes")
    return Contender(name, up, before=declare, after=destroy)


def _title(provider: str) -> str:
    return f"{provider}: destroy, up, exec true, steps in layers"


def _again(shell: Shell) -> Work:
    words = (("destroy", "--yes"), ("up", "--yes"), ("exec", "default", "true"))
    return in_turn(*(shell.program(ENVUP, *line) for line in words))


def _web(bench: Bench, provider: str) -> Shell:
    """The steps of the example that are no `run: always`."""
    shell = _project(
        bench,
        provider,
        "web",
        f"  - shell: {PACKAGES}\n"
        "    environment: {DEBIAN_FRONTEND: noninteractive}\n"
        '  - copy: {from: nginx.conf, to: /etc/nginx/nginx.conf, mode: "0644"}\n',
    )
    shutil.copy(WEB / "nginx.conf", shell.directory)
    return shell


def _project(bench: Bench, provider: str, name: str, steps: str) -> Shell:
    directory = bench.work / f"{provider}-{name}"
    directory.mkdir(parents=True, exist_ok=True)
    text = f"provider: {provider}\nimage: {bench.image}\nmounts: []\nprovision:\n{steps}"
    (directory / "Envfile").write_text(text)
    return Shell(directory, bench.environment)


def _commit(shell: Shell) -> None:
    """As docker(1) keeps the machine that envup has made; a container of it runs then."""
    status = subprocess.check_output([str(ENVUP), "status", "--json"], cwd=shell.directory, env=shell.environment)
    of = f"label=envup.environment={json.loads(status)['environment']['id']}"
    container = subprocess.check_output(["docker", "ps", "--quiet", "--filter", of], text=True).strip()
    shell.program("docker", "commit", container, IMAGE)()
    shell.program("docker", "run", "-d", "--name", IMAGE, IMAGE, "sleep", "inf")()


def _raw(bench: Bench) -> Work:
    shell = Shell(bench.work, dict(os.environ))
    return in_turn(
        shell.program("docker", "rm", "-f", IMAGE),
        shell.program("docker", "run", "-d", "--name", IMAGE, IMAGE, "sleep", "inf"),
        shell.program("docker", "exec", IMAGE, "true"),
    )
