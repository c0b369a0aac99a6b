"""libvirt's Python binding, imported when it is first used: it takes 50 milliseconds, and may not be installed."""

from __future__ import annotations

import importlib
from typing import Any

from envup.errors import EnvupError


class _Binding:
    """The module `libvirt`. Errors: `EnvupError` where it is missing."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = getattr(importlib.import_module("libvirt"), name)
        except ModuleNotFoundError as error:
            raise EnvupError("the Python package libvirt is missing", hint="pip install 'envup[kvm]'") from error
        setattr(self, name, value)
        return value


libvirt: Any = _Binding()
