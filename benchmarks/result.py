"""Figures and their goals, as the page that is committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Times

HEAD = """\
# Results

Written by `make bench`. Contenders take turns within one run, {rounds} rounds for the verbs and {fewer} for making
machines; values are medians, in brackets the 10th and 90th percentile. Only ratios of one run compare.
"""
NOTES = Path(__file__).with_name("notes.md")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was measured, the value, against what, the goal, and whether it was reached (None: no goal)."""

    name: str
    value: str
    relation: str = ""
    goal: str = ""
    reached: bool | None = None

    @classmethod
    def alone(cls, times: Times) -> Figure:
        """A time without a goal."""
        return cls(times.name, _in_words(times))

    @classmethod
    def ratio(cls, times: Times, base: Times, goal: float) -> Figure:
        """A time that may be at most `goal` times another."""
        ratio = times.median / base.median
        return cls(times.name, _in_words(times), f"{ratio:.2f} x {base.name}", f"<= {goal:g} x", ratio <= goal)

    @classmethod
    def above(cls, times: Times, base: Times, seconds: float) -> Figure:
        """A time that may be at most `seconds` more than another."""
        more = times.median - base.median
        goal = f"<= raw + {seconds * 1000:g} ms"
        return cls(times.name, _in_words(times), f"raw + {more * 1000:.0f} ms", goal, more <= seconds)

    @classmethod
    def faster(cls, times: Times, base: Times, factor: float) -> Figure:
        """A time that must be at least `factor` times shorter than another."""
        found = base.median / times.median
        return cls(times.name, _in_words(times), f"{found:.1f} x faster", f">= {factor:g} x", found >= factor)

    @classmethod
    def limit(cls, times: Times, seconds: float) -> Figure:
        """A time with a limit."""
        return cls(times.name, _in_words(times), "", f"<= {seconds * 1000:g} ms", times.median <= seconds)

    @classmethod
    def size(cls, name: str, value: int, limit: int) -> Figure:
        """Bytes with a limit."""
        return cls(name, f"{value / (1 << 20):.1f} MiB", "", f"< {limit >> 20} MiB", value < limit)


def _in_words(times: Times) -> str:
    low, high = times.spread
    return f"{times.median * 1000:.0f} ms ({low * 1000:.0f}-{high * 1000:.0f})"


def write(
    file: Path, facts: Sequence[tuple[str, str]], groups: Sequence[tuple[str, Sequence[Figure]]], *, rounds: int
) -> int:
    """Print the page and write it to `file`; 1 when a goal was missed, else 0. What `notes.md` says is added."""
    lines = [HEAD.format(rounds=rounds, fewer=max(3, rounds // 3)), "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in facts]
    for title, figures in groups:
        lines += ["", f"## {title}", "", "| | median | ratio | goal | |", "| --- | --- | --- | --- | --- |"]
        lines += [f"| {f.name} | {f.value} | {f.relation} | {f.goal} | {_verdict(f)} |" for f in figures]
    page = "\n".join(lines) + "\n" + (f"\n{NOTES.read_text()}" if NOTES.exists() else "")
    print(page)
    file.write_text(page)
    return int(any(figure.reached is False for _, figures in groups for figure in figures))


def _verdict(figure: Figure) -> str:
    return "" if figure.reached is None else "reached" if figure.reached else "**missed**"
