"""The provisioner `fabric`: tasks of a fabfile, run on the host. Only the registration lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.provisioner import Provisioner

_hookimpl = pluggy.HookimplMarker("envup")


@_hookimpl
def envup_provisioner() -> type[Provisioner]:
    """The class, imported when it is used."""
    from envup_fabric.fabric import Fabric

    return Fabric
