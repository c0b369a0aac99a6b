"""A declaration in words."""

from __future__ import annotations

from typing import Any

import pytest
from factory import step

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


def test_what_a_sensitive_step_says_is_told_by_a_keyed_digest_alone() -> None:
    said = step(0, {"inline": "echo 1234", "sensitive": True})
    assert spec.definition(said, "salt") == spec.definition(said, "salt")
    assert spec.definition(said, "salt") != spec.definition(said, "other")
    assert spec.definition(said, "salt") != spec.definition(step(0, {"inline": "echo 1235", "sensitive": True}), "salt")
    assert spec.definition(step(0), "salt") == spec.definition(step(0), "other")
