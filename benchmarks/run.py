"""Measures envup beside the interpreter it runs on and beside raw tools, and writes RESULTS.md.

    benchmarks/run.py [--tarball FILE] [--rounds N] [--output FILE]

Needs root, for the raw tools. The image is debian/bookworm, or the root file system archive that is given. Work is done
below benchmarks/work, which keeps the image for the next run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from facts import facts
from measure import Contender, Shell, disk_usage, side_by_side
from peers import clean_up, raw_contenders
from result import Figure, write

HERE = Path(__file__).resolve().parent
ENVUP = Path(sys.executable).with_name("envup")
MANY, CROWD = 20, 100


class Bench:
    """Projects with machines of one image, in one home."""

    def __init__(self, work: Path, image: str) -> None:
        self.work, self.home, self.image = work, work / "home", image
        self.environment = {**os.environ, "ENVUP_HOME": str(self.home)}
        self.environment.pop("ENVUP_FILE", None)

    def project(self, name: str, machines: int, step: bool = False) -> Shell:
        """A project of that many machines, with one shell step each or none."""
        directory = self.work / name
        directory.mkdir(parents=True, exist_ok=True)
        body = f"provider: chroot\ndefaults:\n  image: {self.image}\n  mounts: []\n"
        body += "  provision: [{shell: 'true'}]\n" if step else ""
        body += "machines:\n" + "".join(f"  m{number}: {{}}\n" for number in range(machines))
        (directory / "Envfile").write_text(body)
        return Shell(directory, self.environment)

    @contextmanager
    def up(self, shell: Shell) -> Iterator[Shell]:
        """The project with its machines running."""
        shell.program(ENVUP, "up", "--yes")()
        try:
            yield shell
        finally:
            shell.program(ENVUP, "destroy", "--yes")()


def verbs(bench: Bench, rounds: int) -> list[Figure]:
    """The verbs that are felt, against a start of the interpreter."""
    with bench.up(bench.project("one-step", 1, step=True)) as shell:
        contenders = [
            Contender("python -c pass", shell.program(sys.executable, "-c", "pass")),
            Contender("env status --json", shell.program(ENVUP, "status", "--json")),
            Contender("env up, nothing to do", shell.program(ENVUP, "up")),
            Contender("env exec m0 true", shell.program(ENVUP, "exec", "m0", "true")),
        ]
        times = side_by_side(contenders, rounds)
    base = times.pop("python -c pass")
    goals = {"env status --json": 5, "env up, nothing to do": 5, "env exec m0 true": 6}
    return [Figure.alone(base), *(Figure.ratio(value, base, goals[name]) for name, value in times.items())]


def making(bench: Bench, rounds: int) -> list[Figure]:
    """Making machines from an image in the store, against making one by hand."""
    one, many = bench.project("one", 1), bench.project("many", MANY)
    tree = next(path for path in (bench.home / "data/providers/chroot/images").iterdir() if path.is_dir())
    raw = raw_contenders(bench.work, tree)
    contenders = [
        _up("env up, one machine", one),
        _up(f"env up, {MANY} machines", many),
        Contender("env up, exec true, destroy", _in_turn(one)),
        *raw,
    ]
    try:
        times = side_by_side(contenders, rounds)
    finally:
        clean_up()
    single = times["env up, one machine"]
    return [
        Figure.limit(single, 0.250),
        Figure.ratio(times[f"env up, {MANY} machines"], single, 6),
        Figure.alone(times["env up, exec true, destroy"]),
        *(Figure.alone(times[contender.name]) for contender in raw),
    ]


def _up(name: str, shell: Shell) -> Contender:
    destroy = shell.program(ENVUP, "destroy", "--yes")
    return Contender(name, shell.program(ENVUP, "up", "--yes"), after=destroy)


def _in_turn(shell: Shell) -> Callable[[], None]:
    commands = [shell.program(ENVUP, *words) for words in (("up",), ("exec", "m0", "true"), ("destroy", "--yes"))]

    def work() -> None:
        for command in commands:
            command()

    return work


def disk(bench: Bench) -> Figure:
    """What many machines of one image take beyond the image."""
    shell = bench.project("crowd", CROWD)
    images = [bench.home / "data/images", bench.home / "data/providers/chroot/images"]
    before = disk_usage(bench.home, without=images)
    with bench.up(shell):
        used = disk_usage(bench.home, without=images) - before
    return Figure.size(f"disk of {CROWD} machines beyond the image", used, 64 << 20)


def main(arguments: Sequence[str]) -> int:
    """Run all; exit code 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tarball", type=Path, help="a root file system archive to take in place of debian/bookworm")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    given = parser.parse_args(arguments)
    work = HERE / "work"
    image = f"{{tarball: {given.tarball.resolve()}}}" if given.tarball else "debian/bookworm"
    bench = Bench(work, image)
    with bench.up(bench.project("warm", 1)):
        pass
    try:
        groups = [
            ("Verbs on a running machine", verbs(bench, given.rounds)),
            ("Making machines from an image in the store", making(bench, max(3, given.rounds // 3))),
            ("Disk", [disk(bench)]),
        ]
    finally:
        for path in work.iterdir():
            if path != bench.home:
                shutil.rmtree(path)
    return write(given.output, facts(bench.home), groups, rounds=given.rounds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
