"""A declaration in words."""

from __future__ import annotations

from typing import Any

import pytest

from envup import spec

PATHS = {"source": "dockerfile", "dockerfile": "/p/Dockerfile", "context": "/p"}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (PATHS, "/p/Dockerfile"),
        (PATHS | {"target": "two", "args": {"a": "b"}}, "/p/Dockerfile (target two)"),
        (PATHS | {"target": "hmac:00"}, "/p/Dockerfile (target ***)"),
        ({"source": "docker", "docker": "debian:12"}, "debian:12"),
        ({"source": "host"}, "host"),
        (None, "none"),
    ],
)
def test_an_image_is_named_by_what_tells_it_from_others(image: dict[str, Any] | None, words: str) -> None:
    assert spec.image_in_words(image) == words
