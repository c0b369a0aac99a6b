"""What machines need of the kernel, tried by `probe` in a scratch directory of a provider's data.

That everything is there is remembered in `tried` beside it, for this boot and file system: providers are asked at each
`env up`. What fails is tried again each time, as it may have been mended.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import programs, records

LAYERS = ("overlayfs", "idmapped layers")
"""Needs without which a machine is a copy of its image, where its provider can make one."""
_NONE = ("", "")


def failed(data: Path, maps: tuple[str, str] = _NONE, shifted: tuple[str, str] = _NONE) -> tuple[str, str]:
    """The first of `probe`'s needs that is not met, and why; both empty when all are. With `maps` it is tried in a user
    namespace, with `shifted` as well whether layers can be shown with those ids. Errors: `OSError` when `data` cannot
    be written."""
    known = f"{records.boot()} {data.stat().st_dev} {' '.join((*maps, *shifted))}\n"
    file = data / "tried"
    if _read(file) == known:
        return "", ""
    scratch = Path(tempfile.mkdtemp(prefix=".doctor-", dir=data))
    try:
        programs.run(programs.program("probe", str(scratch), *maps, *shifted), "probe")
    except EnvupError as error:
        last = error.details.splitlines()[-1] if error.details else error.brief
        need, _colon, reason = last.partition(": ")
        return need, reason
    finally:
        programs.remove(scratch)
    records.replace(str(file), known)
    return "", ""


def can_layer(data: Path, maps: tuple[str, str] = _NONE, shifted: tuple[str, str] = _NONE) -> bool:
    """Whether a machine below `data` can be an overlay above its image. Errors: `EnvupError`."""
    try:
        return failed(data, maps, shifted)[0] not in LAYERS
    except OSError as error:
        raise EnvupError(f"cannot write to {data}: {error.strerror}") from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""
