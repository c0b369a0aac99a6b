"""Images that a provider gets by itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from factory import machine
from local_provider import LocalProvider

from envup.actions import obtain
from envup.errors import EnvupError
from envup.events import Emit, Event, silent
from envup.image import Image
from envup.model import ImageReference, Pin
from envup.provider import OwnImages, ProviderContext
from envup.value import replace


class Owner(LocalProvider, OwnImages):
    sources = frozenset({"engine"})

    def obtain(self, reference: ImageReference, emit: Emit, *, refresh: bool = False) -> Image:
        emit(Event("progress", text="pulling"))
        return Image(f"{reference.options['name']}{'-anew' if refresh else ''}", None)


class Store:
    def ensure(self, reference: ImageReference, emit: Emit, **fields: Any) -> Image:
        return Image("of-the-store", Path("/archive"))


@pytest.mark.parametrize(
    ("provider", "source", "digest"),
    [(Owner, "engine", "busybox"), (Owner, "tarball", "of-the-store"), (LocalProvider, "engine", "of-the-store")],
)
def test_a_provider_gets_images_of_its_own_sources_and_the_store_all_others(
    tmp_path: Path, provider: type[LocalProvider], source: str, digest: str
) -> None:
    made = provider(ProviderContext(tmp_path, tmp_path, silent))
    spec = replace(machine(), image=ImageReference(source, {"name": "busybox"}))
    assert obtain(made, Store(), spec, silent, action="web/image").digest == digest  # type: ignore[arg-type]


def test_what_it_tells_meanwhile_bears_the_machine_and_the_action(tmp_path: Path) -> None:
    events: list[Event] = []
    spec = replace(machine("web"), image=ImageReference("engine", {"name": "x"}))
    owner = Owner(ProviderContext(tmp_path, tmp_path, silent))
    image = obtain(owner, Store(), spec, events.append, action="web/image", refresh=True)  # type: ignore[arg-type]
    assert image.digest == "x-anew"
    assert [(event.machine, event.action, event.text) for event in events] == [("web", "web/image", "pulling")]


def test_what_a_provider_gets_must_be_what_is_locked(tmp_path: Path) -> None:
    owner = Owner(ProviderContext(tmp_path, tmp_path, silent))
    for digest, told in (("busybox", None), ("other", "is not what the lock file has")):
        spec = replace(machine(), image=ImageReference("engine", {"name": "busybox"}, pin=Pin(digest)))
        with pytest.raises(EnvupError, match=told) if told else nullcontext():
            obtain(owner, Store(), spec, silent, action="web/image")  # type: ignore[arg-type]
