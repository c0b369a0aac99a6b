"""The lock file as text: one fact a line, sorted, and clear about what does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envup.errors import EnvfileError, EnvupError
from envup.locking.document import Lock, LockedImage, render, write
from envup.locking.reading import parse, read
from envup.model import Pin

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
LOCK = Lock(
    {
        ("debootstrap", "debian/bookworm@amd64"): LockedImage(
            "r1", Pin(DIGEST, {"package.libstdc++6": "12.2", "package.python3.11": "3.11.2-6", "time": "2026-01-02"})
        ),
        ("dockerfile", "./Dockerfile"): LockedImage("r2"),
    },
    {("provider", "docker"): "envup 0.1.0"},
    {("web", "the app"): DIGEST, ("web", "packages"): OTHER},
    {"web": ("packages", "the app")},
)
HEAD = render(Lock())
UNKNOWN = "Envfile.lock:3: unknown, or of the wrong kind:"


def problems(text: str) -> list[str]:
    with pytest.raises(EnvfileError) as caught:
        parse(text, "Envfile.lock")
    return [str(problem) for problem in caught.value.problems]


def test_what_is_written_is_one_fact_a_line_the_format_first_and_the_rest_sorted() -> None:
    assert render(LOCK).splitlines()[1:] == [
        "format = 1",
        f'image.debootstrap."debian/bookworm@amd64".digest = "{DIGEST}"',
        'image.debootstrap."debian/bookworm@amd64".package."libstdc++6" = "12.2"',
        'image.debootstrap."debian/bookworm@amd64".package."python3.11" = "3.11.2-6"',
        'image.debootstrap."debian/bookworm@amd64".reference = "r1"',
        'image.debootstrap."debian/bookworm@amd64".time = "2026-01-02"',
        'image.dockerfile."./Dockerfile".reference = "r2"',
        'order.web = ["packages", "the app"]',
        'plugin.provider.docker = "envup 0.1.0"',
        f'step.web.packages = "{OTHER}"',
        f'step.web."the app" = "{DIGEST}"',
    ]


def test_what_is_written_is_read_again() -> None:
    assert parse(render(LOCK), "Envfile.lock") == LOCK
    assert parse(render(LOCK).replace("\n", "\r\n"), "Envfile.lock") == LOCK


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT, TEXT.filter(lambda name: name.partition(".")[0] not in ("digest", "reference")))
def test_any_name_is_read_as_it_was_written(title: str, step: str, fact: str) -> None:
    image = LockedImage("r", Pin(DIGEST, {fact: title}))
    lock = Lock({("tarball", title): image}, {}, {(title, step): DIGEST}, {title: (step,)})
    assert parse(render(lock), "Envfile.lock") == lock


def test_lines_that_two_people_added_are_merged_in_any_order() -> None:
    head, *facts = render(LOCK).splitlines(keepends=True)
    assert parse("".join([head, facts[0], *reversed(facts[1:])]), "Envfile.lock") == LOCK


@pytest.mark.parametrize("marks", [("<<<<<<< HEAD", "=======", ">>>>>>> theirs"), ("||||||| base",)])
def test_marks_of_a_merge_are_told_with_their_lines_and_nothing_else(marks: tuple[str, ...]) -> None:
    found = problems(HEAD + "\n".join([*marks, "nonsense"]))
    assert found == [f"Envfile.lock:{3 + n}: a conflict of a merge is not resolved here" for n in range(len(marks))]


@pytest.mark.parametrize(
    ("conflict", "command"),
    [
        ("step", "`env lock`"),
        ("image.debootstrap", "`env lock --update debian/bookworm@amd64`"),
        ("image", "`env lock --update ./Dockerfile debian/bookworm@amd64`"),
    ],
)
def test_the_remedy_of_a_conflict_names_the_images_in_it(conflict: str, command: str) -> None:
    lines = render(LOCK).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(conflict))
    last = max(number for number, line in enumerate(lines) if line.startswith(conflict))
    part = lines[first : last + 1]
    marked = [*lines[:first], "<<<<<<< HEAD", *part, "=======", *part[:1], ">>>>>>> theirs", *lines[last + 1 :]]
    with pytest.raises(EnvfileError) as caught:
        parse("\n".join(marked), "Envfile.lock")
    assert caught.value.hint.endswith(f"then run {command}")


def test_a_newer_format_is_told_before_anything_else_is_looked_at() -> None:
    with pytest.raises(EnvfileError) as caught:
        parse('format = 2\nwhat.is.this = {"new" = 1}\n', "Envfile.lock")
    assert caught.value.brief.startswith("Envfile.lock:1: format 2 is newer than 1")
    assert (caught.value.hint, caught.value.code) == ("update envup", 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Envfile.lock: it does not say its format"),
        ("format = true\nformat = 0", "Envfile.lock:2: told twice, in line 1 as well: keep one"),
        ("format = 'one'", "Envfile.lock:1: no format that there is: 'one'"),
        ('step.web.app = "x"', "Envfile.lock:1: the format does not stand first"),
        (f"{HEAD}step.web.app = 1", f"{UNKNOWN} step.web.app = 1"),
        (f'{HEAD}step.web.app = "sha256:1"', f'{UNKNOWN} step.web.app = "sha256:1"'),
        (f"{HEAD}order.web = [1]", f"{UNKNOWN} order.web = [1]"),
        (f'{HEAD}image.docker.x.digest = "y"', f'{UNKNOWN} image.docker.x.digest = "y"'),
        (f'{HEAD}image.docker.x.digest = "{DIGEST}"', "Envfile.lock:3: the reference of the image x is missing"),
        (
            f'{HEAD}\nimage.docker.x.reference = "r"\nimage.docker.x.a = "b"',
            "Envfile.lock:4: the digest of the image x is missing",
        ),
        (f"{HEAD}[image]", "Envfile.lock:3: no fact of a lock file: it is a table"),
        (f"{HEAD}image.docker.", "Envfile.lock:3: no fact of a lock file: "),
    ],
)
def test_what_does_not_hold_is_told_with_its_line(text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(text)), problems(text)


def test_all_that_does_not_hold_is_told_at_once() -> None:
    assert len(problems(f"{HEAD}one\ntwo\n")) == 2


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_elsewhere_that_is_linked_to_is_replaced_and_the_link_stays(tmp_path: Path, is_there: bool) -> None:
    path, elsewhere = tmp_path / "Envfile.lock", tmp_path / "elsewhere"
    path.symlink_to(elsewhere.name)
    if is_there:
        write(elsewhere, Lock())
    write(path, LOCK)
    assert (path.is_symlink(), read(elsewhere)) == (True, LOCK)


def test_a_file_is_read_whole_or_told(tmp_path: Path) -> None:
    path = tmp_path / "Envfile.lock"
    assert read(path) is None
    write(path, LOCK)
    assert read(path) == LOCK
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path) == LOCK, "with the mark of an editor"
    path.write_bytes(b"\xff")
    with pytest.raises(EnvfileError, match="UTF-8"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(EnvupError, match=r"cannot read .*Is a directory"):
        read(path)
    with pytest.raises(EnvupError, match=r"cannot write .*Is a directory"):
        write(path, LOCK)
