"""A tree that is merged from layers is what their stack is, over an image, whatever was done to them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from envup.namespaces import merging, programs

pytestmark = pytest.mark.root

NAMES = ("a", "b", "c")
COURSES, LAYERS, CHANGES = 20, 6, 6


@contextlib.contextmanager
def mounted(at: Path, lowers: Sequence[Path], upper: Path | None = None) -> Iterator[Path]:
    """The overlay of directories, the lowest first."""
    below = ":".join(str(lower) for lower in reversed(lowers))
    options = f"lowerdir={below}"
    if upper is not None:
        work = upper.with_name(f"{upper.name}.work")
        work.mkdir(exist_ok=True)
        options += f",upperdir={upper},workdir={work}"
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    """Each path with its mode, time, attributes and content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        names = sorted(os.listxattr(path, follow_symlinks=False))
        attributes = tuple((name, os.getxattr(path, name)) for name in names)
        content = path.read_text() if stat.S_ISREG(status.st_mode) else ""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, attributes, content)
    return found


class Course:
    """Layers made of random changes of an image with directories in directories."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.choices = place, random.Random(seed)
        self.image, self.layers, self.upper = place / "image", list[Path](), place / "upper0"
        for one in NAMES:
            for two in NAMES:
                (self.image / one / two).mkdir(parents=True)
                (self.image / one / two / "old").write_text("image")
        self.upper.mkdir()
        self.base = list[Path]()
        """Layers below the upper directory."""
        self.record: Path | None = None

    def change(self, root: Path) -> None:
        """One change of a random path."""
        path = root / "/".join(self.choices.choices(NAMES, k=self.choices.randint(1, 4)))
        other = root / "/".join(self.choices.choices(NAMES, k=self.choices.randint(1, 3)))
        verb = self.choices.choice([*("remove", "make", "write") * 2, "move", "link", "point", "mark", "chmod"])
        with contextlib.suppress(OSError):
            if verb == "remove" and path.is_dir():
                shutil.rmtree(path)
            elif verb == "remove":
                path.unlink()
            elif verb == "make":
                path.mkdir(parents=True)
                (path / "new").write_text(str(self.choices.random()))
            elif verb == "write":
                path.write_text(str(self.choices.random()))
            elif verb == "move":
                path.rename(other)
            elif verb == "link":
                other.hardlink_to(path)
            elif verb == "point":
                path.symlink_to("nowhere")
            elif verb == "mark" and "user.word" in os.listxattr(path):
                os.removexattr(path, "user.word")
            elif verb == "mark":
                os.setxattr(path, "user.word", b"word")
            else:
                path.chmod(self.choices.choice([0o700, 0o755]))

    def keep(self) -> None:
        """A layer of the differences, or of all in an upper directory, and sometimes another machine on it."""
        number = len(self.layers)
        tree, record = self.place / f"layer{number}", self.place / f"record{number}"
        if self.record is None:
            subprocess.run(["cp", "-a", str(self.upper), str(tree)], check=True)
            line = programs.program("differing", "note", str(self.upper), str(record))
        else:
            line = programs.program("differing", "make", *map(str, (self.upper, record, tree, self.record)))
        subprocess.run(line, input=b"", check=True)
        self.layers.append(tree)
        self.record = record
        if self.choices.random() < 0.6:
            self.base, self.record, self.upper = list(self.layers), None, self.place / f"upper{number + 1}"
            self.upper.mkdir()

    def run(self) -> None:
        """The machine, the stack of its layers and their merged tree are always the same."""
        at = self.place / "merged"
        for number in range(LAYERS):
            with mounted(at, [self.image, *self.base], self.upper) as root:
                for _ in range(CHANGES):
                    self.change(root)
                expected = seen(root)
            self.keep()
            with mounted(at, [self.image, *self.layers]) as root:
                assert seen(root) == expected, number
            one = self.place / f"one{number}"
            assert merging.main([str(one), str(self.image), *map(str, self.layers)]) == 0
            with mounted(at, [self.image, one]) as root:
                assert seen(root) == expected, number


@pytest.fixture
def place() -> Iterator[Path]:
    """On a file system that overlayfs can write to, which that of /tmp may not be."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


def test_layers_of_random_changes_are_the_same_merged(place: Path) -> None:
    first = int(os.environ.get("ENVUP_SEED") or 0)
    for seed in range(first, first + COURSES):
        print(f"ENVUP_SEED={seed}")
        own = place / f"course{seed}"
        own.mkdir()
        Course(own, seed).run()
        shutil.rmtree(own)


def test_a_directory_made_anew_after_its_layer_was_kept_hides_that_of_the_image(place: Path) -> None:
    course = Course(place, 0)
    for number, change in enumerate((lambda path: shutil.rmtree(path), lambda path: path.mkdir())):
        with mounted(place / "merged", [course.image, *course.layers], course.upper) as root:
            change(root / "a")
        course.layers.append(course.upper)
        course.upper = place / f"upper{number + 1}"
        course.upper.mkdir()
    assert merging.main([str(place / "one"), str(course.image), *map(str, course.layers)]) == 0
    with mounted(place / "merged", [course.image, place / "one"]) as root:
        assert list((root / "a").iterdir()) == []


def test_what_is_gone_from_a_directory_that_the_image_has_not_is_not_listed(place: Path) -> None:
    one, two = place / "first", place / "second"
    for layer in (one, two):
        (layer / "own").mkdir(parents=True)
    (one / "own" / "file").touch()
    os.mknod(two / "own" / "file", stat.S_IFCHR)
    os.utime(two / "own", ns=(0, 5))
    (place / "image").mkdir()
    assert merging.main([str(place / "one"), str(place / "image"), str(one), str(two)]) == 0
    assert list((place / "one" / "own").iterdir()) == []
    assert (place / "one" / "own").stat().st_mtime_ns == 5
