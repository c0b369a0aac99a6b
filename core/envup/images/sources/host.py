"""The image `host`: this very system. It has no archive; providers that can use it do so by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.image import FetchContext, Fetched, ImageSource


class Host(ImageSource):
    """`image: host`. The store answers for it, so that `fetch` is never reached."""

    name = "host"
    lockable = False

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:  # noqa: ARG002
        raise EnvupError("the image 'host' has no archive", hint="use a provider that can show the host itself: chroot")
