"""A failed action told in full: what failed, its details, the last lines of output, the log, what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from envup.events import Event
from envup.report.style import Style
from envup.report.text import clean, clean_lines
from envup.report.words import Names, verb_of

_LAST_LINES = 20


def describe(event: Event, names: Names, style: Style) -> Sequence[str]:
    """The lines that tell a `failed` event."""
    what = f"{names.doing(event.action)} failed" if event.action else "failed"
    head = f"{event.machine}: {what}" if event.machine else what
    lines = [f"{style.paint('red', style.bad)} {style.paint('bold', head)}: {clean(event.text)}"]
    tail = _last(event.data.get("tail"))
    if command := event.data.get("command"):
        lines += _labelled("command", str(command))
    details = clean_lines(str(event.data.get("details") or "").rstrip("\n"))
    if any(details) and details != list(tail):
        tail = () if _holds(details, tail) else tail
        lines += [f"  {line}" for line in details]
    if tail:
        lines.append(f"  last {len(tail)} lines of output:" if len(tail) > 1 else "  output:")
        lines += [f"  {style.paint('dim', '|')} {line}" for line in tail]
    if log := event.data.get("log"):
        lines.append(f"  whole log: {clean(str(log))}")
    if hint := event.data.get("hint") or _hint(event):
        lines += _labelled(style.paint("cyan", "to do"), str(hint))
    return lines


def _holds(details: Sequence[str], tail: Sequence[str]) -> bool:
    """Whether the details have the lines of output in them already."""
    starts = range(len(details) - len(tail) + 1)
    return any(list(details[start : start + len(tail)]) == list(tail) for start in starts)


def _labelled(label: str, text: str) -> list[str]:
    first, *rest = clean_lines(text)
    return [f"  {label}: {first}", *(f"    {line}" for line in rest)]


def _hint(event: Event) -> str:
    if verb_of(event.action) != "provision":
        return ""
    return f"mend the step, and `env up` goes on at it; `env shell {event.machine}` is for a look around"


def _last(tail: object) -> Sequence[str]:
    if not tail:
        return ()
    text = (
        tail if isinstance(tail, str) else "\n".join(map(str, tail)) if isinstance(tail, (list, tuple)) else str(tail)
    )
    return clean_lines(text.rstrip("\n"))[-_LAST_LINES:]
