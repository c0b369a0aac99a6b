"""The installed command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios

from cli_shop import ENVUP, Shop


class Console:
    """envup on a terminal of its own."""

    def __init__(self, shop: Shop, *argv: str, environment: dict[str, str] | None = None) -> None:
        self._parent, child = pty.openpty()
        settings = shop.environment | {"TERM": "xterm"} | (environment or {})
        self.text = ""
        self._process = subprocess.Popen(
            [ENVUP, *argv], cwd=shop.directory, env=settings, stdin=child, stdout=child, stderr=child,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), start_new_session=True,
        )  # fmt: skip
        os.close(child)

    def until(self, wanted: str) -> None:
        while wanted not in self.text:
            assert self._read(), f"{wanted!r} did not come in {self.text!r}"

    def type(self, text: str) -> None:
        os.write(self._parent, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._parent)
        return self._process.wait(30)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._parent], [], [], 30)
        assert ready, f"nothing more came after {self.text!r}"
        try:
            data = os.read(self._parent, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)
