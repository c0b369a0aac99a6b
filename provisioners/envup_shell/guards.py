"""What says that a script is not to be run, as what it does is done already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.provisioner import Machine

_EXISTS = '[ -e "$1" ] || [ -L "$1" ]'


def needless(options: Mapping[str, Any], machine: Machine, how: Mapping[str, Any]) -> str:
    """Why, or nothing. Guards are run as the script would be. Errors: `TransportError`."""

    def succeeds(*arguments: str) -> bool:
        return machine.run(("/bin/sh", "-c", *arguments), **how, check=False, quiet=True).exit_code == 0

    if "creates" in options and succeeds(_EXISTS, "sh", options["creates"]):
        return f"{options['creates']} exists"
    if "unless" in options and succeeds(options["unless"]):
        return "what `unless` says holds"
    if "only_if" in options and not succeeds(options["only_if"]):
        return "what `only_if` says does not hold"
    return ""
