"""Downloading a file over HTTP, digested on the way."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from envup import children
from envup.errors import EnvupError, InterruptedByUser
from envup.events import Emit, Event

TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as silent."""

_CHUNK = 1 << 18
_PROGRESS = 1.0
"""Seconds between two events."""


def download(url: str, target: Path, emit: Emit) -> str:
    """Write what `url` gives to `target`; its SHA-256 as hexadecimal. Redirects are followed, proxies are used.

    Errors: `EnvupError` when the server refuses, is silent or ends early; `OSError` for the disk; `InterruptedByUser`.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            return _receive(response, target, emit, url)
    except urllib.error.HTTPError as error:
        error.close()
        raise EnvupError(f"cannot download {url}: the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise EnvupError(
            f"cannot download {url}: {reason}", hint="check the address, and the network of this host"
        ) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise EnvupError(f"cannot download {url}: {error or type(error).__name__}") from error
    except ValueError as error:
        raise EnvupError(f"cannot download {url}: it is not a valid address") from error


def _receive(response: http.client.HTTPResponse, target: Path, emit: Emit, url: str) -> str:
    digest, received, told = hashlib.sha256(), 0, 0.0
    declared = response.headers.get("Content-Length", "")
    total = int(declared) if declared.isdecimal() else None
    with target.open("wb") as file:
        while chunk := _read(response):
            digest.update(chunk)
            file.write(chunk)
            received += len(chunk)
            if time.monotonic() - told > _PROGRESS:
                told = time.monotonic()
                emit(Event("progress", text=_words(received, total)))
    if total is not None and received != total:
        raise EnvupError(f"cannot download {url}: it ended after {received} of {total} bytes", hint="try again")
    return digest.hexdigest()


def _read(response: IO[bytes] | http.client.HTTPResponse) -> bytes:
    if children.cancelled():
        raise InterruptedByUser("the download was interrupted")
    return response.read(_CHUNK)


def _words(received: int, total: int | None) -> str:
    whole = f" of {total >> 20}" if total else ""
    return f"downloading, {received >> 20}{whole} MiB"
