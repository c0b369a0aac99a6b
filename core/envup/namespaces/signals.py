"""`signal` without its enumerations, which cost a third of a bare start; for the small programs only."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
