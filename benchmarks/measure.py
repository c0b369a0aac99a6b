"""Timing programs side by side: contenders take turns, so that a slow moment of the machine falls on all of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Work = Callable[[], None]


def nothing() -> None:
    """Does nothing."""


def in_turn(*works: Work) -> Work:
    """One after the other, as one."""

    def work() -> None:
        for one in works:
            one()

    return work


@dataclass(frozen=True, slots=True)
class Contender:
    """One thing that is timed. `before` and `after` run around each timed `work` and are not timed."""

    name: str
    work: Work
    before: Work = nothing
    after: Work = nothing


@dataclass(slots=True)
class Times:
    """What a contender took, in seconds, one value a round."""

    name: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The 10th and the 90th percentile; of one value, that value."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        tenths = statistics.quantiles(self.values, n=10, method="inclusive")
        return tenths[0], tenths[-1]


def side_by_side(contenders: Sequence[Contender], rounds: int) -> dict[str, Times]:
    """Time every contender once a round, in turn. The round before the first is not counted."""
    times = {contender.name: Times(contender.name) for contender in contenders}
    for number in range(-1, rounds):
        for contender in contenders:
            contender.before()
            begun = time.perf_counter()
            contender.work()
            took = time.perf_counter() - begun
            contender.after()
            if number >= 0:
                times[contender.name].values.append(took)
    return times


@dataclass(frozen=True, slots=True)
class Shell:
    """Where programs are run from: a directory and variables. Their output is dropped; a failure ends the benchmark."""

    directory: Path
    environment: Mapping[str, str]

    def program(self, *argv: str | Path) -> Work:
        """What runs that program to its end."""
        words = [str(word) for word in argv]

        def work() -> None:
            done = subprocess.run(
                words,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")

        return work


def disk_usage(directory: Path, *, without: Sequence[Path] = ()) -> int:
    """Bytes that the files below a directory take on disk, each hard link once, some of its parts left out."""
    seen: dict[tuple[int, int], int] = {}
    for folder, names, files in os.walk(directory):
        names[:] = [name for name in names if Path(folder, name) not in without]
        for name in [*files, *names]:
            status = Path(folder, name).lstat()
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
