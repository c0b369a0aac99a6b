"""Consent to what reaches beyond the machines: asked on a terminal, refused elsewhere unless `--trust` is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envup.cli.confirm import ask, can_ask
from envup.cli.options import Arguments, Option
from envup.errors import UsageError
from envup.events import Emit, Event

if TYPE_CHECKING:
    from envup.trust import Demand

TRUST = Option("--trust", "agree to what reaches beyond the machines, and remember it; see `env trust`")

_ASKED = "This Envfile asks for what reaches beyond its machines, with your own rights:"


def consent(demands: Sequence[Demand], arguments: Arguments, emit: Emit) -> None:
    """Return when the user agrees to all `demands`. `--yes` does not: it is about what would be lost.

    Errors: `UsageError` where nobody can be asked, `EnvupError` when the answer is no.
    """
    if not demands:
        return
    agreed = bool(getattr(arguments, "trust", False))
    if not agreed and can_ask(arguments):
        ask([_ASKED, *(f"  {demand}" for demand in demands)], "Do you agree?")
        return
    for demand in demands:
        data = {"kind": demand.kind, "digest": demand.digest, "agreed": agreed}
        emit(Event("consent", machine=demand.machine, text=demand.text, data=data))
    if not agreed:
        raise UsageError(
            "this Envfile asks for what reaches beyond its machines, and needs your consent; nothing was changed",
            details="\n".join(map(str, demands)),
            hint="look at it, then add `--trust`, or answer on a terminal; `env trust` shows it at any time",
        )
