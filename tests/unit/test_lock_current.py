"""What a lock file says of an Envfile is the same for everybody, and what of it no longer fits is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envup.envfile.load import load
from envup.errors import EnvupError, UsageError
from envup.events import Event
from envup.home import Home
from envup.locking.current import current, lockable, named
from envup.locking.difference import differences
from envup.locking.document import Lock, LockedImage, render, write
from envup.locking.holding import Holding, pinned
from envup.locking.making import renewed, wanted
from envup.locking.reading import parse
from envup.model import Environment, Pin
from envup.plugins import Host
from envup.value import replace

ENVFILE = """\
machines:
  web:
    provider: chroot
    image: {tarball: ./root.tar}
    environment: {TOKEN: "${TOKEN:-none}", LEVEL: "1"}
    provision:
      - {name: app, shell: {script: setup.sh}, environment: {KEY: "${TOKEN:-none}"}}
      - {name: pages, copy: {from: pages, to: /srv}}
      - {name: secret, shell: {inline: "echo x", sensitive: true}}
"""
STEPS = ("app", "pages", "secret")
PIN = Pin(f"sha256:{'a' * 64}", {"time": "now"})

Make = Callable[..., Environment]


@pytest.fixture
def plugins(home: Path) -> Host:
    assert home.is_dir()
    return Host(Home.locate().make())


@pytest.fixture
def make(tmp_path: Path, plugins: Host, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a checkout of the project and loads its Envfile."""

    def made(text: str = ENVFILE, *, name: str = "one", umask: int = 0o022, token: str = "") -> Environment:
        directory, before = tmp_path / name, os.umask(umask)
        (directory / "pages").mkdir(parents=True, exist_ok=True)
        (directory / "pages/index").write_text("hello")
        (directory / "setup.sh").write_text("true")
        (directory / "setup.sh").chmod(0o777 & ~umask)
        (directory / "Envfile").write_text(text)
        os.umask(before)
        monkeypatch.setenv("TOKEN", token) if token else monkeypatch.delenv("TOKEN", raising=False)
        return load(directory / "Envfile", plugins)

    return made


def locked(environment: Environment, plugins: Host) -> Lock:
    """What a lock file says of it as it is now."""
    now = current(environment, plugins)
    return renewed(Lock(), now, dict.fromkeys(now.images, PIN))


@pytest.mark.parametrize("token", ["other", ""])
def test_another_checkout_another_umask_and_other_values_from_outside_make_no_difference(
    token: str, make: Make, plugins: Host
) -> None:
    one, two = make(token="very-secret"), make(name="two", umask=0o077, token=token)
    assert current(one, plugins) == current(two, plugins)
    assert "very-secret" not in render(current(one, plugins))
    assert ("tarball", "./root.tar") in current(one, plugins).images


WHOLE = """\
machines:
  web:
    image: {tarball: IMAGE}
    provision:
      - {name: all, copy: {from: ., to: /srv, exclude: [two]}}
      - {name: rest, copy: {from: ./pages/.., to: /srv}}
"""


def test_a_step_that_reads_the_whole_project_is_the_same_in_a_directory_of_another_name(
    make: Make, plugins: Host
) -> None:
    one, two = make(WHOLE), make(WHOLE, name="two")
    before = current(one, plugins)
    assert before == current(two, plugins)
    write(two.directory / "Envfile.lock", before)
    for name in (".git", ".envup"):
        (two.directory / name).mkdir()
        (two.directory / name / "own").write_text("x")
    through = load(one.directory / "../two/Envfile", plugins)
    assert current(two, plugins) == before == current(through, plugins)
    (two.directory / "pages/.git").write_text("x")
    assert len(differences(locked(one, plugins), current(two, plugins))) == 2


@pytest.mark.parametrize("path", ["../base/x.tar", "~/x.tar", "/x.tar"])
def test_a_path_that_leads_out_of_the_project_stands_as_it_is_written(
    path: str, make: Make, plugins: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = WHOLE.replace("IMAGE", path)
    one = make(text)
    before = current(one, plugins)
    monkeypatch.setenv("HOME", "/home/other")
    (tmp_path / "deeper").mkdir()
    shutil.copytree(one.directory, tmp_path / "deeper/one")
    assert before == current(load(tmp_path / "deeper/one/Envfile", plugins), plugins)
    assert list(before.images) == [("tarball", path)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("setup.sh}", "setup.sh, args: [x]}", ["step 'app' of machine 'web' changed"]),
        ('LEVEL: "1"', 'LEVEL: "2"', [f"step '{name}' of machine 'web' changed" for name in STEPS]),
        (
            "name: pages",
            "name: site",
            ["step 'pages' of machine 'web' is no longer in the Envfile", "step 'site' of machine 'web' is not locked"],
        ),
        (
            "root.tar}",
            "other.tar}",
            ["image ./root.tar is no longer in the Envfile", "image ./other.tar is not locked"],
        ),
        ("root.tar}", f"root.tar, sha256: {'0' * 64}}}", ["image ./root.tar is declared differently"]),
        ("provider: chroot", "provider: auto", ["provider chroot is no longer used"]),
        (
            "provider: chroot",
            "provider: docker",
            ["provider docker is not locked", "provider chroot is no longer used"],
        ),
        ("echo x", "echo y", []),
    ],
)
def test_what_changed_in_the_envfile_is_told(old: str, new: str, told: list[str], make: Make, plugins: Host) -> None:
    before = locked(make(), plugins)
    assert differences(before, current(make(), plugins)) == ()
    assert list(differences(before, current(make(ENVFILE.replace(old, new)), plugins))) == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: (root / "setup.sh").write_text("false"), "step 'app' of machine 'web' changed"),
        (lambda root: (root / "setup.sh").unlink(), "step 'app' of machine 'web' changed"),
        (lambda root: (root / "pages/index").chmod(0o755), "step 'pages' of machine 'web' changed"),
        (lambda root: (root / "pages/more").write_text("x"), "step 'pages' of machine 'web' changed"),
    ],
)
def test_what_changed_in_files_that_steps_read_is_told(
    change: Callable[[Path], Any], told: str, make: Make, plugins: Host
) -> None:
    environment = make()
    before = locked(environment, plugins)
    change(environment.directory)
    assert differences(before, current(environment, plugins)) == (told,)


def test_another_order_of_steps_is_told(make: Make, plugins: Host) -> None:
    environment = make()
    (web,) = environment.machines
    turned = replace(environment, machines=(replace(web, steps=web.steps[::-1]),))
    found = differences(locked(environment, plugins), current(turned, plugins))
    assert found == ("steps of machine 'web' are in another order",)


def test_of_whatever_line_is_missing_or_left_over_something_is_told(make: Make, plugins: Host) -> None:
    environment = make()
    now, whole = current(environment, plugins), render(locked(environment, plugins)).splitlines(keepends=True)
    said = [line for line in whole[2:] if not line.startswith("image.")]
    assert {line.partition(".")[0] for line in said} == {"order", "plugin", "step"}
    for line in said:
        without = "".join(other for other in whole if other != line)
        assert len(differences(parse(without, "Envfile.lock"), now)) == 1, line
    for line in ('order.db = ["x"]', 'plugin.provider.lxc = "envup 1"', f'step.db.x = "{PIN.digest}"'):
        assert len(differences(parse("".join([*whole, line]), "Envfile.lock"), now)) == 1, line


def test_other_versions_of_plugins_are_told_by_distribution(make: Make, plugins: Host) -> None:
    environment = make()
    now = locked(environment, plugins)
    old = replace(now, plugins=dict.fromkeys(now.plugins, "envup 0.0.9"))
    (told,) = differences(old, current(environment, plugins))
    assert told.startswith("image source tarball, provider chroot, provisioner copy, provisioner shell: envup ")
    assert told.endswith(" is installed, locked is envup 0.0.9")


def test_a_disk_that_only_a_provider_can_get_is_locked_too(make: Make, plugins: Host) -> None:
    now = current(make("{provider: kvm, image: {disk: ./vm.qcow2}}\n"), plugins)
    assert list(now.images) == [("disk", "./vm.qcow2")] and lockable("disk", plugins)
    assert list(now.plugins) == [("provider", "kvm")]
    assert not lockable("dockerfile", plugins)


def test_images_named_by_values_from_outside_are_told_apart_as_they_are_written(make: Make, plugins: Host) -> None:
    text = """\
machines:
  a: {image: {docker: "${TOKEN}/app:1"}}
  b: {image: {docker: "${TOKEN}/db:1"}}
  c: {image: {tarball: "${TOKEN}/root.tar"}}
  d: {image: "debian/${TOKEN}"}
"""
    environment = make(text, token="trixie")
    places = [place for place, _ in named(environment, plugins).values()]
    assert places[:3] == [("docker", "${TOKEN}/app:1"), ("docker", "${TOKEN}/db:1"), ("tarball", "${TOKEN}/root.tar")]
    assert places[3][1].startswith("debian/${TOKEN}@")


TWINS = """\
machines:
  a: {image: {debootstrap: {suite: bookworm, architecture: amd64}}}
  b: {image: {debootstrap: {suite: bookworm, architecture: amd64, include: [less]}}}
  c: {image: {debootstrap: {suite: bookworm, architecture: amd64}}}
"""


def test_images_of_one_name_are_told_apart(make: Make, plugins: Host) -> None:
    found = {machine: place[1] for machine, (place, _) in named(make(TWINS), plugins).items()}
    assert found["a"] == found["c"] != found["b"]
    assert all(title.startswith("debian/bookworm@amd64#") for title in found.values())


def test_an_image_keeps_its_title_whatever_others_of_its_name_come_and_go(make: Make, plugins: Host) -> None:
    first, second, third = TWINS.splitlines(keepends=True)[1:]
    other = third.replace("c:", "d:").replace("amd64}", "amd64, include: [vim]}")
    old = locked(make("machines:\n" + first), plugins)
    ((place, image),) = old.images.items()
    assert place == ("debootstrap", "debian/bookworm@amd64")
    for added in (second + third, other, second + other):
        environment = make("machines:\n" + first + added)
        now = current(environment, plugins, old)
        new = now.images.keys() - {place}
        assert wanted(old, now) == new and all(title.startswith("debian/bookworm@amd64#") for _, title in new)
        both = renewed(old, now, dict.fromkeys(new, PIN))
        assert both.images[place] == image
        assert pinned(environment, old, plugins).machines[0].image.pin == replace(PIN, title=place[1])
        pins = [spec.image.pin for spec in pinned(environment, both, plugins).machines]
        assert {pin.title for pin in pins if pin} == {title for _, title in both.images}
        assert all(pin and replace(pin, title="") == PIN for pin in pins)
        left = current(make("machines:\n" + added), plugins, both)
        assert wanted(both, left) == set()
        assert renewed(both, left, {}).images == {key: both.images[key] for key in left.images}
        assert renewed(both, current(make("machines:\n" + first), plugins, both), {}).images == {place: image}


def test_an_image_takes_the_title_of_one_that_is_no_longer_there(make: Make, plugins: Host) -> None:
    old = locked(make(TWINS.replace(", include: [less]", "")), plugins)
    now = current(make(TWINS.replace("amd64}}", "amd64, include: [vim]}}").replace("b:", "#")), plugins, old)
    assert now.images.keys() == old.images.keys()
    assert differences(old, now) == ("image debian/bookworm@amd64 is declared differently",)


def test_an_image_that_a_merge_left_with_two_titles_keeps_the_plain_one(make: Make, plugins: Host) -> None:
    plain = locked(make("\n".join(TWINS.splitlines()[:2])), plugins)
    apart = locked(make(TWINS), plugins)
    merged = replace(plain, images={**plain.images, **apart.images})
    now = current(make(TWINS), plugins, merged)
    (told,) = differences(merged, now)
    assert told.startswith("image debian/bookworm@amd64#")
    assert told.endswith(" is locked as debian/bookworm@amd64 as well")
    assert wanted(merged, now) == set()
    assert differences(renewed(merged, now, {}), now) == ()


def test_an_image_locked_on_another_architecture_fits_and_stays(make: Make, plugins: Host) -> None:
    now = current(make("image: debian/bookworm\n"), plugins)
    ((source, title), image) = next(iter(renewed(Lock(), now, dict.fromkeys(now.images, PIN)).images.items()))
    other = (source, f"{title.partition('@')[0]}@other")
    lock = Lock({other: image, (source, title): image}, now.plugins)
    assert differences(lock, now) == ()
    assert other in renewed(lock, now, {}).images


def test_what_is_locked_stays_and_what_is_missing_or_named_is_wanted(make: Make, plugins: Host) -> None:
    now = current(make(TWINS), plugins)
    a, b = sorted(now.images)
    old = replace(now, images={a: LockedImage(now.images[a].reference, PIN)})
    assert wanted(old, now) == {b}
    assert wanted(old, now, None) == {a, b}
    assert now == current(make(TWINS), plugins, now)
    assert wanted(old, now, [a[1]]) == wanted(old, now, ["debian/bookworm"]) == {a, b}
    with pytest.raises(UsageError, match="no image 'trixie'"):
        wanted(old, now, ["trixie"])
    new = renewed(old, now, {b: None})
    assert new.images == {a: LockedImage(now.images[a].reference, PIN), b: LockedImage(now.images[b].reference)}


def test_only_what_cannot_be_got_again_is_locked_without_a_pin(make: Make, plugins: Host) -> None:
    environment = make("machines: {a: {image: {tarball: ./root.tar}}, b: {provider: chroot, image: host}}\n")
    now = current(environment, plugins)
    lock = replace(now, images={place: LockedImage(image.reference) for place, image in now.images.items()})
    assert differences(lock, now) == ("image ./root.tar is not locked",)
    assert wanted(lock, now) == {("tarball", "./root.tar")}


def test_images_whose_reference_fits_are_pinned(make: Make, plugins: Host) -> None:
    environment = make()
    now = current(environment, plugins)
    lock = replace(now, images={place: replace(image, pin=PIN) for place, image in now.images.items()})
    assert pinned(environment, lock, plugins).machines[0].image.pin == replace(PIN, title="./root.tar")
    other = make(ENVFILE.replace("root.tar}", f"root.tar, sha256: {'0' * 64}}}"))
    assert pinned(other, lock, plugins) == other


def test_what_does_not_fit_is_a_warning_once_or_refused(make: Make, plugins: Host, tmp_path: Path) -> None:
    environment, path, said = make(), tmp_path / "Envfile.lock", list[Event]()
    holding = Holding(path, plugins, said.append)
    assert holding.hold(environment, environment) == environment
    with pytest.raises(UsageError, match="no lock file"):
        holding.hold(environment, environment, strict=True)
    write(path, replace(locked(environment, plugins), order={}, steps={}))
    for _ in range(2):
        holding.hold(environment, environment)
    assert [(event.kind, "and 2 more that `env lock --check` lists" in event.text) for event in said] == [
        ("warning", True)
    ]
    with pytest.raises(UsageError) as caught:
        holding.hold(environment, environment, strict=True)
    assert caught.value.details.splitlines() == [f"step '{name}' of machine 'web' is not locked" for name in STEPS]
    path.write_text("format = 1\nwhat\n")
    with pytest.raises(EnvupError, match=r"Envfile.lock:2"):
        holding.hold(environment, None)
