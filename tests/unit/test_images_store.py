"""The image store: fetched once, found cheaply, freed when nothing uses it, whole whatever dies."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from envup.errors import EnvupError
from envup.events import Event, silent
from envup.home import Home
from envup.image import FetchContext, Fetched, Image, ImageSource
from envup.images.store import Store
from envup.model import ImageReference, Pin
from envup.value import replace


class Fake(ImageSource):
    """Makes an archive with one file that holds `options["content"]`; `hook` runs in the middle of it."""

    name = "fake"
    fetched: ClassVar[list[str]] = []
    hook: ClassVar[Any] = None

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"version": options.get("file_version", 0)} if "missing" not in options else self._missing()

    def _missing(self) -> Mapping[str, Any]:
        raise EnvupError("the file of the image is missing")

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        Fake.fetched.append(options["content"])
        context.emit(Event("output", text="working\n"))
        (context.work / "scratch").write_text("x")
        with tarfile.open(archive, "w") as made:
            member = tarfile.TarInfo("./file")
            content = options["content"].encode()
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        if Fake.hook:
            Fake.hook(archive)
        return Fetched("i386", {"FROM": "image"})


class Changing(Fake):
    """Another image at each fetch, but the same where one is locked and can still be had."""

    made: ClassVar[int] = 0
    had: ClassVar[bool] = True

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        Changing.made += 1
        number = context.pin.facts["number"] if context.pin and self.had else str(Changing.made)
        super().fetch({"content": number}, archive, context)
        return Fetched(pin=Pin("", {"number": number}))


class Host:
    def image_source(self, name: str) -> type[ImageSource]:
        return Changing if name == "changing" else Fake


@pytest.fixture
def images(home: Path) -> Path:
    Fake.fetched.clear()
    Fake.hook = None
    return home / "data" / "images"


@pytest.fixture
def store(images: Path) -> Store:
    return Store(Home.locate().make(), Host())


def reference(content: str = "one", **more: Any) -> ImageReference:
    return ImageReference("fake", {"content": content, **more})


def remains(images: Path) -> list[str]:
    return [path.name for path in (images / "work").iterdir() if path.name != "guard"]


def test_an_image_is_fetched_once_and_known_by_the_digest_of_its_bytes(store: Store, images: Path) -> None:
    image = store.ensure(reference(), silent)
    assert image.archive is not None
    assert image.digest == "sha256:" + hashlib.sha256(image.archive.read_bytes()).hexdigest()
    assert (image.archive.stat().st_mode & 0o777, image.architecture) == (0o644, "i386")
    assert store.ensure(reference(), silent) == image == store.find(reference())
    assert Fake.fetched == ["one"]
    assert remains(images) == []


def test_looking_for_an_image_fetches_and_changes_nothing(store: Store, images: Path) -> None:
    assert store.find(reference()) is None
    assert not images.exists() and Fake.fetched == []


def test_another_store_of_the_same_user_finds_it(store: Store, images: Path) -> None:
    image = store.ensure(reference(), silent)
    assert Store(Home.locate(), Host()).find(reference()) == image


def test_the_host_is_an_image_without_an_archive(store: Store) -> None:
    image = store.ensure(ImageReference("host"), silent)
    assert (image.digest, image.archive) == ("host", None)
    assert store.find(ImageReference("host")) == image


def test_options_and_the_sources_key_tell_references_apart(store: Store) -> None:
    store.ensure(reference(), silent)
    assert store.find(reference("two")) is None
    assert store.find(reference(file_version=1)) is None
    assert store.find(reference(nothing=None)) is not None


def test_a_reference_to_what_is_missing_is_an_error(store: Store) -> None:
    with pytest.raises(EnvupError, match="missing"):
        store.find(reference(missing=True))


def test_events_carry_the_action_and_the_machine(store: Store) -> None:
    events: list[Event] = []
    store.ensure(reference(), events.append, action="image web", machine="web")
    assert {(event.action, event.machine) for event in events} == {("image web", "web")}
    assert "working\n" in [event.text for event in events]


def test_refreshing_fetches_anew_and_the_reference_moves_on(store: Store) -> None:
    first = store.ensure(reference(), silent)
    Fake.hook = lambda archive: archive.open("ab").close() or _append_member(archive)
    second = store.ensure(reference(), silent, refresh=True)
    assert second.digest != first.digest and Fake.fetched == ["one", "one"]
    assert store.find(reference()) == second
    assert {image.digest: len(image.references) for image in store.list()} == {first.digest: 0, second.digest: 1}


def _append_member(archive: Path) -> None:
    with tarfile.open(archive, "a") as made:
        made.addfile(tarfile.TarInfo("./new"))


CHANGING = ImageReference("changing", {})


def pinned(image: Image) -> ImageReference:
    return replace(CHANGING, pin=image.locked)


def test_an_image_is_found_as_it_is_locked_whatever_its_reference_stands_for_since(store: Store) -> None:
    first = store.ensure(CHANGING, silent)
    assert first.locked == Pin(first.digest, {"number": str(Changing.made)})
    assert store.find(pinned(first)) == first == store.ensure(pinned(first), silent)
    made, second = Changing.made, store.ensure(CHANGING, silent, refresh=True)
    assert second.digest != first.digest
    assert store.find(pinned(first)) == first == store.ensure(pinned(first), silent)
    assert Changing.made == made + 1
    assert [len(image.references) for image in store.list()] == [1, 1]


def test_an_image_that_the_store_lacks_is_fetched_as_it_is_locked(store: Store) -> None:
    first = store.ensure(CHANGING, silent)
    assert first.archive is not None
    first.archive.unlink()
    assert store.find(pinned(first)) is None
    assert store.ensure(CHANGING, silent).digest != first.digest
    assert store.ensure(pinned(first), silent).digest == first.digest
    assert store.find(CHANGING) != store.find(pinned(first))


def test_another_image_than_the_one_that_is_locked_is_not_taken(
    store: Store, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.ensure(CHANGING, silent)
    assert first.archive is not None
    first.archive.unlink()
    monkeypatch.setattr(Changing, "had", False)
    with pytest.raises(EnvupError, match="is not what the lock file has") as caught:
        store.ensure(pinned(first), silent)
    assert f"locked: {first.digest}" in caught.value.details and "number: locked " in caught.value.details
    assert store.list() == () and remains(images) == []


def test_two_references_may_share_one_image(store: Store) -> None:
    one, two = store.ensure(reference(), silent), store.ensure(reference(file_version=1), silent)
    assert one == two and len(store.list()) == 1 and len(store.list()[0].references) == 2


@pytest.mark.parametrize("damage", ["gone", "truncated", "index"])
def test_what_is_damaged_is_fetched_again(store: Store, images: Path, damage: str) -> None:
    image = store.ensure(reference(), silent)
    assert image.archive is not None
    if damage == "gone":
        image.archive.unlink()
    elif damage == "truncated":
        os.truncate(image.archive, 100)
    else:
        next((images / "refs").glob("*.json")).write_text('{"digest": "../../etc/passwd"')
    fresh = Store(Home.locate(), Host())
    assert fresh.find(reference()) is None
    assert fresh.ensure(reference(), silent) == image
    assert fresh.find(reference()) == image and Fake.fetched == ["one", "one"]


@pytest.mark.parametrize(
    "facts", [[], {}, {"digest": "sha256:../../../etc/passwd"}, "text", {"digest": 7, "size": "x"}, None]
)
def test_an_index_of_nonsense_counts_as_none(store: Store, images: Path, facts: Any) -> None:
    store.ensure(reference(), silent)
    next((images / "refs").glob("*.json")).write_text(json.dumps(facts))
    assert store.find(reference()) is None
    assert len(store.list()) == 1
    store.prune(set())


def test_threads_that_want_one_image_fetch_it_once(store: Store) -> None:
    gate = threading.Event()
    waiting = threading.Event()
    Fake.hook = lambda _archive: gate.wait(20)

    def notice(event: Event) -> None:
        if "waiting for another" in event.text:
            waiting.set()

    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(store.ensure(reference(), notice).digest)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert waiting.wait(20)
    gate.set()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(set(found)) == 1 and Fake.fetched == ["one"]


def test_a_source_that_fails_leaves_nothing(store: Store, images: Path) -> None:
    def fail(_archive: Path) -> None:
        raise EnvupError("the network is down")

    Fake.hook = fail
    with pytest.raises(EnvupError, match="network"):
        store.ensure(reference(), silent)
    assert remains(images) == [] and store.find(reference()) is None and store.list() == ()
    Fake.hook = None
    assert store.ensure(reference(), silent)


def test_a_full_disk_is_told_and_leaves_nothing(store: Store, images: Path) -> None:
    def fail(archive: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(archive))

    Fake.hook = fail
    with pytest.raises(EnvupError, match="No space left") as caught:
        store.ensure(reference(), silent)
    assert "space" in caught.value.hint
    assert remains(images) == [] and store.list() == ()


def test_a_bad_archive_never_enters(store: Store, images: Path) -> None:
    Fake.hook = lambda archive: os.truncate(archive, 700)
    with pytest.raises(EnvupError, match="damaged"):
        store.ensure(reference(), silent)
    assert remains(images) == [] and store.list() == ()


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import test_images_store as tests
from envup.events import silent
from envup.home import Home
from envup.images.store import Store
def hook(archive):
    print("fetching", flush=True)
    sys.stdin.readline()
tests.Fake.hook = hook if {block!r} else None
store = Store(Home.locate().make(), tests.Host())
image = store.ensure(tests.reference(), silent)
print(image.digest, len(tests.Fake.fetched), flush=True)
sys.stdin.readline()
"""


def start_child(*, block: bool) -> subprocess.Popen[str]:
    code = CHILD.format(tests=str(Path(__file__).parent), block=block)
    return subprocess.Popen(
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_that_want_one_image_fetch_it_once(store: Store) -> None:
    with start_child(block=True) as first:
        assert line(first) == "fetching"
        with start_child(block=False) as second:
            assert first.stdin is not None
            first.stdin.write("\n")
            first.stdin.flush()
            digest, count = line(first).split()
            assert (line(second), count) == (f"{digest} 0", "1")
            second.communicate("\n")
        first.communicate("\n")


def test_what_a_killed_command_left_is_removed_by_the_next(store: Store, images: Path) -> None:
    with start_child(block=True) as child:
        assert line(child) == "fetching"
        store.ensure(reference("other"), silent)
        assert len(remains(images)) == 2, "the work of a live process stays"
        child.send_signal(signal.SIGKILL)
        child.communicate()
    store.prune({image.digest for image in store.list()})
    assert remains(images) == []
    assert store.ensure(reference(), silent)


def test_an_image_that_a_running_command_uses_is_not_freed(store: Store) -> None:
    with start_child(block=False) as child:
        digest, _ = line(child).split()
        assert store.prune(set()) == []
        with pytest.raises(EnvupError, match="another command"):
            store.remove(digest)
        child.communicate("\n")
    size = store.list()[0].size
    assert list(store.prune(set())) == [(digest, size)]
    assert store.list() == () and store.find(reference()) is None


def test_pruning_keeps_what_is_in_use_and_frees_the_rest(images: Path, store: Store) -> None:
    one, two = store.ensure(reference("one"), silent), store.ensure(reference("two"), silent)
    pruner = Store(Home.locate(), Host())
    assert pruner.prune({one.digest, two.digest}) == []
    for descriptor in store._leases.values():
        os.close(descriptor)
    assert [digest for digest, _ in pruner.prune({one.digest})] == [two.digest]
    assert pruner.find(reference("one")) == one and pruner.find(reference("two")) is None
    assert [path.name for path in (images / "locks").iterdir()] == ["store"]


def test_removing_what_is_gone_succeeds(store: Store) -> None:
    store.remove("sha256:" + "0" * 64)


def test_the_list_tells_what_there_is(store: Store, images: Path) -> None:
    store.ensure(reference("one"), silent)
    store.ensure(reference("two"), silent)
    for path in (images / "refs").glob("*.json"):
        os.utime(path, (1000, 1000))
    image = store.ensure(reference("one"), silent)
    first, second = store.list()
    assert first.digest == image.digest and first.references == ("one",) and first.architecture == "i386"
    assert first.size == 10240 and first.last_used > 1000 == second.last_used
    assert first.created > 1_600_000_000
