"""What is open in a process that is about to become another."""

from __future__ import annotations

import os


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor of this process that is not among `kept`."""
    above = max(kept) + 1
    for number in set(range(above)) - kept:
        try:
            os.close(number)
        except OSError:
            continue
    os.closerange(above, 1 << 20)
