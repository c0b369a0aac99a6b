"""Measures envup beside the interpreter it runs on and beside raw tools, and writes RESULTS.md.

    benchmarks/run.py [--tarball FILE] [--rounds N] [--output FILE]

Needs root, for the raw tools. The image is debian/bookworm, or the root file system archive that is given. Work is done
below benchmarks/work, which keeps the image for the next run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from containers import docker, growth, lxc, vagrant
from facts import facts
from kept import against_vagrant, anew, keeping
from measure import Contender, Shell, disk_usage, side_by_side
from peers import clean_up, raw_contenders
from project import ENVUP, Bench
from result import Figure, write
from virtual import kvm, vagrant_libvirt
from way_in import ssh

HERE = Path(__file__).resolve().parent
MANY, CROWD = 20, 100
PROVIDERS = ("chroot", "docker", "lxc", "kvm")


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
        Contender("env up, exec true, destroy", bench.life(one)),
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


def disk(bench: Bench) -> Figure:
    """What many machines of one image take beyond the image."""
    shell = bench.project("crowd", CROWD)
    images = [bench.home / "data/images", bench.home / "data/providers/chroot/images"]
    before = disk_usage(bench.home, without=images)
    with bench.up(shell):
        used = disk_usage(bench.home, without=images) - before
    return Figure.size(f"disk of {CROWD} machines beyond the image", used, 64 << 20)


def containers(bench: Bench, rounds: int) -> list[Figure]:
    """Docker and LXC on the image that the other groups use."""
    archive = next((bench.home / "data/images/blobs/sha256").glob("*.tar"))
    return [*docker(bench, archive, rounds), *lxc(bench, archive, rounds)]


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
    for provider in PROVIDERS:
        with bench.up(bench.project("warm", 1, provider=provider)):
            pass
    fewer = max(3, given.rounds // 3)
    try:
        groups = [
            ("Verbs on a running machine", verbs(bench, given.rounds)),
            ("Making machines from an image in the store", making(bench, fewer)),
            ("Disk", [disk(bench)]),
            ("Docker and LXC against their own tools, image present", containers(bench, fewer)),
            ("Docker against Vagrant's docker provider", vagrant(bench, 3)),
            ("SSH to a machine without a server for it", ssh(bench, fewer)),
            ("KVM without hardware acceleration, image present", kvm(bench, max(3, fewer // 2))),
            ("KVM against Vagrant's libvirt provider, one shell step", vagrant_libvirt(bench)),
            ("A provisioned machine made anew, steps in layers", anew(bench, fewer)),
            ("The same against Vagrant's libvirt provider", against_vagrant(bench)),
            ("Keeping a layer", [figure for name in PROVIDERS for figure in keeping(bench, name, 3)]),
            ("Many machines", [growth(bench, name, MANY, fewer) for name in PROVIDERS]),
        ]
    finally:
        for path in work.iterdir():
            if path.is_file():
                path.unlink()
            elif path != bench.home:
                shutil.rmtree(path)
    return write(given.output, facts(bench.home), groups, rounds=given.rounds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
