"""Whether the mounts of a machine are still shared: virtiofsd has its log open, and that is locked until it ends.

A machine whose virtiofsd was killed waits for ever where it reads or writes a mount. For those who only look at
machines, so it imports nothing heavy.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

LOG = "shares.log"


def hold(log: IO[bytes]) -> None:
    """Lock a log for all who inherit it, after the end of those who have it. Errors: `OSError`."""
    fcntl.flock(log, fcntl.LOCK_EX)


def is_lost(place: Path) -> bool:
    """Whether a machine that runs has mounts that nobody shares any more. Errors: `OSError`."""
    try:
        with open(f"{place}/{LOG}", "rb") as log:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True
