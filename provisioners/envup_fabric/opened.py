"""A file of the machine that is open, in the place of `paramiko.SFTPFile`: a copy on the host, which goes back when it
is closed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from paramiko.file import BufferedFile


class File(BufferedFile):
    """Reads and writes `content`, a file of the host that is its own; `store` is given it at the end where something
    was written."""

    def __init__(self, content: IO[bytes], mode: str, bufsize: int, store: Callable[[IO[bytes]], object]) -> None:
        super().__init__()
        self._content, self._store = content, store
        self._pos = self._realpos = 0
        self._changed = False
        self._set_mode(mode, bufsize)

    def seek(self, offset: int, whence: int = 0) -> None:
        """As of a file."""
        self.flush()
        start = (0, self._pos, self._get_size())[whence]
        self._pos = self._realpos = start + offset
        self._rbuffer = b""

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Write it back. A second call does nothing. Errors: `OSError`."""
        if self._closed:
            return
        super().close()
        with self._content:
            if self._changed:
                self._content.seek(0)
                self._store(self._content)

    def _read(self, size: int) -> bytes:
        return os.pread(self._content.fileno(), size, self._realpos)

    def _write(self, data: bytes) -> int:
        self._changed = True
        return os.pwrite(self._content.fileno(), data, self._realpos)

    def _get_size(self) -> int:
        return os.fstat(self._content.fileno()).st_size
