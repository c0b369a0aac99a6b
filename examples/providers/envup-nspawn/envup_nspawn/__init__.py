"""Machines of envup as systemd-nspawn containers. Registration only; the implementation is in `provider`."""

from envup.hookspecs import hookimpl
from envup.provider import Provider


@hookimpl
def envup_provider() -> type[Provider]:
    """The provider `nspawn`."""
    from envup_nspawn.provider import NspawnProvider

    return NspawnProvider
