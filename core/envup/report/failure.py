"""A failed action told in full: what failed, its details, the last lines of output, the log, what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from envup.events import Event
from envup.report.style import Style
from envup.report.text import clean, clean_lines
from envup.report.words import Names

_LAST_LINES = 20


def describe(event: Event, names: Names, style: Style) -> Sequence[str]:
    """The lines that tell a `failed` event."""
    what = f"{names.doing(event.action)} failed" if event.action else "failed"
    head = f"{event.machine}: {what}" if event.machine else what
    lines = [f"{style.paint('red', style.bad)} {style.paint('bold', head)}: {clean(event.text)}"]
    if details := event.data.get("details"):
        lines += [f"  {line}" for line in clean_lines(str(details).rstrip("\n"))]
    if tail := _last(event.data.get("tail")):
        lines.append(f"  last {len(tail)} lines of output:" if len(tail) > 1 else "  output:")
        lines += [f"  {style.paint('dim', '|')} {line}" for line in tail]
    if log := event.data.get("log"):
        lines.append(f"  whole log: {clean(str(log))}")
    if hint := event.data.get("hint"):
        first, *rest = clean_lines(str(hint))
        lines += [f"  {style.paint('cyan', 'to do')}: {first}", *(f"  {line}" for line in rest)]
    return lines


def _last(tail: object) -> Sequence[str]:
    if not tail:
        return ()
    text = (
        tail if isinstance(tail, str) else "\n".join(map(str, tail)) if isinstance(tail, (list, tuple)) else str(tail)
    )
    return clean_lines(text.rstrip("\n"))[-_LAST_LINES:]
