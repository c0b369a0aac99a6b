"""The way in by SSH: what it costs, and how it carries a large file, against docker(1) on the same machine."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack

from measure import Contender, side_by_side
from project import ENVUP, Bench
from result import Figure

_SIZE = 200 << 20


def ssh(bench: Bench, rounds: int) -> list[Figure]:
    """A program and a file of 200 MiB, on machines that have no server of their own."""
    file = bench.work / "large"
    file.write_bytes(os.urandom(1 << 20) * (_SIZE >> 20))
    with ExitStack() as machines:
        shells = {name: bench.project(f"{name}-ssh", 1, provider=name) for name in ("docker", "chroot", "lxc")}
        configs = {}
        for name, shell in shells.items():
            machines.enter_context(bench.up(shell))
            told = subprocess.check_output((str(ENVUP), "ssh-config"), cwd=shell.directory, env=bench.environment)
            configs[name] = bench.work / f"{name}-ssh-config"
            configs[name].write_bytes(told)
        named = ("docker", "ps", "--filter", "name=-m0$", "--format", "{{.Names}}", "--latest")
        container = subprocess.check_output(named, text=True).strip()
        docker = shells["docker"]
        program = [
            Contender("docker: env exec m0 true", docker.program(ENVUP, "exec", "m0", "true")),
            Contender("docker: ssh m0 true", docker.program("ssh", "-F", configs["docker"], "m0", "true")),
        ]
        base = Contender("docker cp of 200 MiB", docker.program("docker", "cp", "-q", file, f"{container}:/root/large"))
        copies = [
            Contender(
                f"{name}: scp of 200 MiB", shell.program("scp", "-q", "-F", configs[name], file, "m0:/root/large")
            )
            for name, shell in shells.items()
        ]
        times = side_by_side(program, rounds * 3) | side_by_side([base, *copies], rounds)
    ratios = [Figure.ratio(times[copy.name], times[base.name], 2) for copy in copies]
    return [*(Figure.alone(times[one.name]) for one in (*program, base)), *ratios]
