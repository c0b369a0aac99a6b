"""SIGKILL at random moments, to commands and to what keeps machines: the next command goes on, and in the end
nothing is left.

`ENVUP_KILLS` is the number of kills of a test (default 2), `ENVUP_SEED` makes the moments those of an earlier run.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fault_help import KILLS, PROVIDERS, check_that_up_recovers, forget_image, pair_of, settle, told_choice
from leftovers import host
from real_machines import LIMIT, Project

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(3600)]

WAYS = (*PROVIDERS, "lxc-bridge")
CYCLE = ("up", "restart", "stop", "up", "destroy")
SOON = 10
"""Seconds that what a killed process held together has to end."""


def measured(project: Project) -> dict[str, float]:
    """Seconds that each verb takes."""
    taken = {}
    for verb in CYCLE:
        begun = time.monotonic()
        project.must(verb, "--yes")
        taken.setdefault(verb, time.monotonic() - begun)
    return taken


def recover(project: Project, moments: random.Random, *, patience: float = 0) -> bool:
    """Go on with `up` or with `destroy`; whether the machines run now."""
    if moments.random() < 0.5:
        check_that_up_recovers(project)
        return True
    settle(project, patience=patience)
    forget_image(project)
    return False


@pytest.mark.parametrize("way", WAYS)
def test_commands_killed_at_random_moments_are_gone_on_with(make_project: Callable[..., Project], way: str) -> None:
    project, there = make_project(pair_of(way)), False
    with told_choice() as moments:
        longest = measured(project)
        for _ in range(KILLS):
            verb = moments.choice(CYCLE[1:] if there else CYCLE[:1])
            moment = moments.uniform(0, longest[verb])
            print(f"kill {verb} after {moment:.3f} s")
            with project.start(verb, "--yes", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    process.wait(moment)
                except subprocess.TimeoutExpired:
                    process.kill()
            there = recover(project, moments)
    settle(project)


LXC = ("envup-keeper", "lxc-start", "first", "slirp4netns", "envup-slirp")
KVM = ("envup-keeper", "slirp4netns", "qemu-system-x86", "virtiofsd", "ssh")
VICTIMS = [*(("lxc", [name]) for name in LXC), *(("lxc-bridge", [name]) for name in LXC[:3]), ("kvm", KVM)]
"""Virtual machines take long to boot: what is killed is any of these each time."""


@pytest.mark.parametrize(("way", "victims"), VICTIMS)
def test_what_keeps_machines_killed_at_random_moments_is_made_anew(
    make_project: Callable[..., Project], way: str, victims: Sequence[str]
) -> None:
    project, there = make_project(pair_of(way)), False
    with told_choice() as moments:
        longest = measured(project)
        for _ in range(KILLS):
            victim = moments.choice(victims)
            if there and moments.random() < 0.3:
                kill_all(project, victim)
            else:
                verb = moments.choice(CYCLE[1:] if there else CYCLE[:1])
                kill_during(project, victim, verb, moments.uniform(0, longest[verb]))
            there = recover(project, moments, patience=SOON)
    settle(project, patience=SOON)


def kill_during(project: Project, victim: str, verb: str, seconds: float) -> None:
    """Kill them while a command works, which may succeed or fail but not hang, nor blame itself."""
    with project.start(verb, "--yes") as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=seconds)
        kill_all(project, victim)
        output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode in (0, 1), (output, errors)
    assert "bug" not in errors, errors


def kill_all(project: Project, victim: str) -> None:
    """Kill every process of a project that is called so; `first` is PID 1 of a machine."""
    for line in host.processes(project.home, project.directory, project.id):
        number = int(line.partition(":")[0])
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if victim == ("first" if is_first(number) else Path(f"/proc/{number}/comm").read_text().strip()):
                os.kill(number, signal.SIGKILL)


def is_first(number: int) -> bool:
    """Whether a process is PID 1 of a namespace."""
    status = Path(f"/proc/{number}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[2:] == ["1"]
