"""Images that several machines of a plan want."""

from __future__ import annotations

import threading

import pytest

from envup.errors import EnvupError, InterruptedByUser
from envup.fetching import Fetching
from envup.image import Image
from envup.model import ImageReference, MachineSpec


def spec(name: str, provider: str = "docker", **options: str) -> MachineSpec:
    return MachineSpec(name=name, image=ImageReference("dockerfile", options), provider=provider)


def failing() -> Image:
    raise EnvupError("it does not build", hint="mend it")


def test_an_image_that_fails_for_two_at_once_is_tried_once() -> None:
    fetching = Fetching()
    tried: list[str] = []
    told: list[str] = []
    ready = threading.Barrier(2)

    def obtain() -> Image:
        tried.append("once")
        return failing()

    def one(name: str) -> None:
        ready.wait(60)
        try:
            fetching.get(spec(name), obtain)
        except EnvupError as error:
            told.append(error.brief)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("web", "worker")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert tried == ["once"]
    assert told[0] == "it does not build"
    assert told[1] in ("the same image failed for machine 'web'", "the same image failed for machine 'worker'")


def test_another_image_and_another_provider_are_tried_on_their_own() -> None:
    fetching = Fetching()
    for each in (spec("a"), spec("b", target="x"), spec("c", "chroot")):
        with pytest.raises(EnvupError, match="does not build"):
            fetching.get(each, failing)


def test_an_image_that_is_there_is_for_all() -> None:
    fetching, image = Fetching(), Image("sha256:0", None)
    assert [fetching.get(spec(name), lambda: image) for name in ("a", "b")] == [image, image]


def test_an_interrupt_says_nothing_of_the_image() -> None:
    def interrupted() -> Image:
        raise InterruptedByUser("interrupted")

    fetching = Fetching()
    for name in ("a", "b"):
        with pytest.raises(InterruptedByUser):
            fetching.get(spec(name), interrupted)
