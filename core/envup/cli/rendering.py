"""The renderer that the common options ask for."""

from __future__ import annotations

from envup.cli.answer import wants_color
from envup.cli.options import Arguments
from envup.report.choose import choose
from envup.report.renderer import Renderer


def renderer(arguments: Arguments) -> Renderer:
    """A context manager that shows the events of one command."""
    return choose(json=arguments.json, quiet=arguments.quiet, verbose=arguments.verbose, color=wants_color(arguments))
