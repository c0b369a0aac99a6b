"""The chroot provider: machines as copy-on-write directory trees with processes and mounts of their own.

Registration only; the implementation is in `provider`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.provider import Provider


@pluggy.HookimplMarker("envup")
def envup_provider() -> type[Provider]:
    """The chroot provider."""
    from envup_chroot.provider import ChrootProvider

    return ChrootProvider
