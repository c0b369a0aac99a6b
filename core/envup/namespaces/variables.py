"""How a machine's variables travel in the environment of a host process: under names that mean nothing to the host."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "ENVUP_SET_"


def packed(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables as a host process carries them."""
    return {_PREFIX + name: value for name, value in variables.items()}


def unpacked(environment: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The machine's variables in a host process's environment, under their own names."""
    prefix = _PREFIX.encode()
    return {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}
