"""The images of one plan: what several machines are made from fails once, not once for each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from envup.errors import EnvupError, InterruptedByUser
from envup.image import Image
from envup.model import MachineSpec


@dataclass(slots=True)
class _Wanted:
    turn: threading.Lock = field(default_factory=threading.Lock)
    failed_for: str = ""


class Fetching:
    """Has one machine after the other get the same image of the same provider. Any thread may call it."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, str], _Wanted] = {}
        self._lock = threading.Lock()

    def get(self, spec: MachineSpec, obtain: Callable[[], Image]) -> Image:
        """What `obtain` gives. It is not called again for an image that it failed to get. Errors: `EnvupError`."""
        with self._lock:
            wanted = self._wanted.setdefault((spec.provider, repr(spec.image)), _Wanted())
        with wanted.turn:
            if wanted.failed_for:
                raise EnvupError(f"the same image failed for machine '{wanted.failed_for}'")
            try:
                return obtain()
            except InterruptedByUser:
                raise
            except EnvupError:
                wanted.failed_for = spec.name
                raise
