"""`env shell`: a login shell in a machine."""

from __future__ import annotations

from envup.cli.entering import enter
from envup.cli.exec import OPTIONS
from envup.cli.options import MACHINE, Arguments

ARGUMENTS = (MACHINE,)
__all__ = ["ARGUMENTS", "OPTIONS", "run"]


def run(arguments: Arguments) -> int:
    """Become the login shell of the user."""
    return enter(arguments, arguments.machine, ())
