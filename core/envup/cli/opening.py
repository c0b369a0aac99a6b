"""The project that a verb which only looks works on: what is to be known of it is told on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from envup.project import Project

if TYPE_CHECKING:
    from envup.cli.options import Arguments
    from envup.events import Event


def project_of(arguments: Arguments) -> Project:
    """See `Project.open`."""
    return Project.open(arguments.file, emit=_warn)


def _warn(event: Event) -> None:
    if event.kind == "warning":
        from envup.report.text import clean

        sys.stderr.write(f"envup: warning: {clean(event.text)}\n")
