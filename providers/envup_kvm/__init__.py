"""The provider `kvm`: machines as virtual machines of libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.provider import Provider


@pluggy.HookimplMarker("envup")
def envup_provider() -> type[Provider]:
    """The KVM provider; it can package machines where this user may mount their disks."""
    import os

    from envup_kvm.provider import ExportingKvmProvider, KvmProvider

    return KvmProvider if os.geteuid() else ExportingKvmProvider
