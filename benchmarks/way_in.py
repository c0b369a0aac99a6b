"""The way in by SSH: what it costs, and how it carries a large file, against docker(1) on the same machine."""

from __future__ import annotations

import subprocess

from measure import Contender, side_by_side
from project import ENVUP, Bench
from result import Figure

_SIZE = 200 << 20


def ssh(bench: Bench, rounds: int) -> list[Figure]:
    """A program and a file of 200 MiB, on a machine that has no server of its own."""
    shell = bench.project("ssh", 1, provider="docker")
    config, file = bench.work / "ssh-config", bench.work / "large"
    with file.open("wb") as out:
        out.truncate(_SIZE)
    with bench.up(shell):
        told = subprocess.check_output((str(ENVUP), "ssh-config"), cwd=shell.directory, env=bench.environment)
        config.write_bytes(told)
        named = ("docker", "ps", "--filter", "name=-m0$", "--format", "{{.Names}}", "--latest")
        container = subprocess.check_output(named, text=True).strip()
        program = [
            Contender("docker: env exec m0 true", shell.program(ENVUP, "exec", "m0", "true")),
            Contender("ssh m0 true", shell.program("ssh", "-F", config, "m0", "true")),
        ]
        copy = [
            Contender("docker cp of 200 MiB", shell.program("docker", "cp", "-q", file, f"{container}:/root/large")),
            Contender("scp of 200 MiB", shell.program("scp", "-q", "-F", config, file, "m0:/root/large")),
        ]
        times = side_by_side(program, rounds * 3) | side_by_side(copy, rounds)
    one, through, base, ours = (times[contender.name] for contender in (*program, *copy))
    return [Figure.alone(one), Figure.alone(through), Figure.alone(base), Figure.ratio(ours, base, 2)]
