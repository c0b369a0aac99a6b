"""Which renderer fits the options and the place where the output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

from envup.report.renderer import Renderer
from envup.report.style import Style


def choose(
    *,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    color: bool = True,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Renderer:
    """The renderer that fits the options and where the output goes. A context manager; close it before the process
    ends. `verbose` shows the whole output of programs, also on a terminal."""
    out = stream or sys.stdout
    if json:
        from envup.report.ndjson import Ndjson

        return Ndjson(out)
    terminal = out.isatty() and environ.get("TERM", "dumb") != "dumb"
    style = Style.of(out, color=color and terminal)
    if quiet:
        from envup.report.plain import Quiet

        return Quiet(out, style)
    if terminal and not verbose:
        from envup.report.live import Live

        return Live(out, style)
    from envup.report.plain import Plain

    return Plain(out, style)
