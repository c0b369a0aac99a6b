"""The LXC provider: system containers with a root of their own, that has no power over the host.

Registration only; the implementation is in `provider`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.provider import Provider


@pluggy.HookimplMarker("envup")
def envup_provider() -> type[Provider]:
    """The LXC provider; it can suspend machines where the kernel lets this user."""
    import os

    from envup_lxc import groups
    from envup_lxc.provider import FreezingLxcProvider, LxcProvider

    return FreezingLxcProvider if groups.can_freeze(rootless=os.geteuid() != 0) else LxcProvider
