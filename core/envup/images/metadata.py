"""What a root file system archive says of itself: JSON in the comment of its global pax header.

Every tar reads over it, and unlike a file beside the archive it is renamed, compressed and downloaded with it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError

_KEY, _MARK = "comment", "envup "


def header(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The global pax header that says it."""
    return {_KEY: _MARK + json.dumps(dict(metadata), sort_keys=True)}


def variables(archive: Path) -> dict[str, str]:
    """The variables that an uncompressed archive declares; none where it says nothing of itself. Errors: `EnvupError`
    where what it says cannot be understood; a damaged archive is told elsewhere."""
    try:
        with tarfile.open(archive, "r:") as opened:
            text = opened.pax_headers.get(_KEY, "")
    except (tarfile.TarError, ValueError):
        return {}
    if not text.startswith(_MARK):
        return {}
    try:
        found = json.loads(text.removeprefix(_MARK))["environment"]
    except (ValueError, LookupError, TypeError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise EnvupError("what the archive says of itself is damaged", hint="package the machine again")
    return found
