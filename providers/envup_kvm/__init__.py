"""The provider `kvm`: machines as virtual machines of libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.provider import Provider


@pluggy.HookimplMarker("envup")
def envup_provider() -> type[Provider]:
    """The provider's class."""
    from envup_kvm.provider import KvmProvider

    return KvmProvider
