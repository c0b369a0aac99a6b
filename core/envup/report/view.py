"""The live view as text: one row a machine, composed to the size of the terminal. Knows no stream and no thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from envup.events import Event
from envup.report.style import Style
from envup.report.text import clean, duration, fit, pad, width
from envup.report.words import Names, verb_of


class Row:
    """What one machine does. `running` maps its actions to when they began, in seconds since the epoch."""

    def __init__(self, machine: str, planned: Iterable[str], begun: float) -> None:
        self.machine = machine
        self.left = set(planned)
        self.begun = begun
        self.running: dict[str, float] = {}
        self.done: list[str] = []
        self.failed = ""
        self.skipped = 0
        self.progress = ""
        self.output = ""

    def ended(self) -> bool:
        """Whether nothing more is to come for this machine."""
        return not self.left and not self.running


class View:
    """The rows, fed with events."""

    def __init__(self, names: Names, style: Style) -> None:
        self.rows: dict[str, Row] = {}
        self._planned: dict[str, list[str]] = {}
        self._names, self._style = names, style

    def plan(self, plan: Mapping[str, Any]) -> None:
        """Take which actions each machine has before it, from a plan as `Plan.as_json` gives it."""
        for action in plan.get("actions", ()):
            self._planned.setdefault(action["machine"], []).append(action["id"])

    def feed(self, event: Event, output: str = "") -> str:
        """Take an event of an action, with the newest line of its output; the line that remains when its machine ends
        with it, else empty."""
        row = self.rows.get(event.machine)
        if row is None:
            row = self.rows[event.machine] = Row(event.machine, self._planned.get(event.machine, ()), event.time)
        match event.kind:
            case "started":
                row.running[event.action] = event.time
                row.progress = row.output = ""
            case "progress":
                row.progress = clean(event.text)
            case "output":
                row.output = output
            case "finished" | "failed" | "skipped":
                self._end(row, event)
        return self._remaining(row, event.time) if row.ended() else ""

    def rest(self, now: float) -> Sequence[str]:
        """The remaining lines of machines that have not ended, when the command ends."""
        return [self._remaining(row, now) for row in list(self.rows.values()) if row.done or row.failed]

    def frame(self, columns: int, lines: int, now: float) -> Sequence[str]:
        """The rows of machines at work, none wider than `columns` and no more than `lines`."""
        rows = [row for row in self.rows.values() if row.running]
        shown = rows if len(rows) <= lines else rows[: max(lines - 1, 0)]
        names = max((width(row.machine) for row in shown), default=0)
        texts = [self._live(row, min(names, columns // 3), columns, now) for row in shown]
        if len(shown) < len(rows) and lines > 0:
            texts.append(fit(f"  {self._style.more} and {len(rows) - len(shown)} more", columns))
        return texts

    def _end(self, row: Row, event: Event) -> None:
        row.running.pop(event.action, None)
        row.left.discard(event.action)
        row.progress = row.output = ""
        if event.kind == "finished":
            row.done.append(event.action)
        elif event.kind == "failed":
            row.failed = f"{self._names.doing(event.action)} failed: {clean(event.text)}"
        else:
            row.skipped += 1

    def _live(self, row: Row, names: int, columns: int, now: float) -> str:
        action, since = next(reversed(row.running.items()))
        newest = row.output or row.progress
        parts = [self._names.doing(action), duration(now - since), *([newest] if newest else [])]
        name = pad(fit(row.machine, names, self._style.more), names)
        head = f"{self._style.busy} {name}  "
        rest = fit(f" {self._style.dot} ".join(parts), columns - width(head), self._style.more)
        return self._style.paint("cyan", head) + rest if rest else fit(head, columns, self._style.more)

    def _remaining(self, row: Row, now: float) -> str:
        self.rows.pop(row.machine, None)
        took = self._style.paint("dim", f"{self._style.dot} {duration(now - row.begun)}")
        if row.failed:
            return f"{self._style.paint('red', self._style.bad)} {row.machine}  {row.failed} {took}"
        if not row.done:
            return f"{self._style.paint('yellow', '-')} {row.machine}  skipped: what it waits for failed"
        if row.skipped:
            sign = self._style.paint("yellow", "-")
            return f"{sign} {row.machine}  {self._summary(row.done)}, and no further {took}"
        return f"{self._style.paint('green', self._style.ok)} {row.machine}  {self._summary(row.done)} {took}"

    def _summary(self, done: Sequence[str]) -> str:
        steps = sum(verb_of(action) == "provision" for action in done)
        words = [self._names.done(action) for action in done if verb_of(action) != "provision"]
        if steps:
            place = next(index for index, action in enumerate(done) if verb_of(action) == "provision")
            words.insert(place, self._names.done(done[place]) if steps == 1 else f"provisioned {steps} steps")
        return ", ".join(words)
