"""Loading an Envfile: the way into this package.

An Envfile that was loaded before comes from the cache, and then neither YAML nor JSON schema is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup.envfile.build import build
from envup.envfile.cache import Cache
from envup.envfile.interpolate import Variables, resolved
from envup.envfile.source import read
from envup.value import replace

if TYPE_CHECKING:
    from envup.model import Environment
    from envup.plugins import Host


def load(
    file: Path, host: Host, *, environ: Mapping[str, str] = os.environ, provider: str | None = None
) -> Environment:
    """The environment that `file` declares; `provider` overrides that of every machine. Errors: `EnvfileError` with
    every problem of the file, `UsageError` when it cannot be read or no such provider is installed."""
    file = file.absolute()
    if provider not in (None, "auto"):
        host.info("provider", str(provider))
    content = read(file)
    variables = Variables(environ, file.parent / ".env")
    cache = Cache(file, content, host, provider)
    document: Mapping[str, Any] | None = cache.get(variables)
    if document is None:
        from envup.envfile.examine import examine

        document, variables = examine(content, file, host, environ=environ, provider=provider)
        cache.put(document, variables)
    whole, outside, written = resolved(document, variables)
    environment = build(whole, file, outside, provider)
    return replace(environment, written={**environment.written, **written})
