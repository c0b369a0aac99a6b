"""Where envup keeps what belongs to a user: the XDG directories, /var for root, or all of it below `ENVUP_HOME`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from envup.value import Value


class Home(Value):
    """Three directories, made when first asked for, readable by the user alone.

    `data` survives a reboot and holds images, machines, logs and `state.db`; `cache` can be deleted at any time;
    `runtime` is emptied by a reboot at the latest and holds locks and sockets.
    """

    data: Path
    cache: Path
    runtime: Path

    @classmethod
    def locate(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """The directories of this user, after the XDG Base Directory Specification 0.8 and `ENVUP_HOME`."""
        if home := environ.get("ENVUP_HOME"):
            root = Path(home).absolute()
            return cls(root / "data", root / "cache", root / "run")
        if os.geteuid() == 0:
            return cls(Path("/var/lib/envup"), Path("/var/cache/envup"), Path("/run/envup"))
        user = Path(environ.get("HOME") or "/")
        data = Path(environ.get("XDG_DATA_HOME") or user / ".local/share") / "envup"
        cache = Path(environ.get("XDG_CACHE_HOME") or user / ".cache") / "envup"
        runtime = environ.get("XDG_RUNTIME_DIR")
        return cls(data, cache, Path(runtime) / "envup" if runtime else data / "run")

    def make(self) -> Home:
        """Create what is missing; the same object. Rootless machines look through `data`, so others may traverse it."""
        for path in (self.data, self.cache, self.runtime):
            path.mkdir(mode=0o711, parents=True, exist_ok=True)
        return self
