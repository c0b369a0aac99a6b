"""`env package`: machines leave as images, and others are made from them."""

from __future__ import annotations

import io
import shlex
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_machines import Project, make_small_archive, open_directory, remains

from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service=ep, as capabilities(7) has it in version 2."""
ENVFILE = """\
name: packaged
image: {tarball: @IMAGE@}
mounts: [./shared:/shared]
environment: {MARK: "@HOME@", TOKEN: "${TOKEN}"}
"""
CHANGE = """\
set -e
mkdir -p /srv/tree
echo content > /srv/tree/file
ln /srv/tree/file /srv/tree/hard
ln -s file /srv/tree/soft
chown -h 1234:4321 /srv/tree/file /srv/tree/soft
chmod 4750 /srv/tree/file
rm -rf /usr/share/doc
"""
LEFT_ALONE = ("var/log/", "tmp/", "var/tmp/", "var/lib/systemd/", "etc/ld.so.cache")


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as made:
        yield made


def new(directory: Path, name: str, image: Path) -> Project:
    """A project whose machine is made from an archive."""
    project = Project(directory / name, directory / "home", {"TOKEN": "never-to-be-told"})
    (project.directory / "shared").mkdir(parents=True)
    (project.directory / "shared/inside").touch()
    project.write(ENVFILE.replace("@IMAGE@", shlex.quote(str(image))))
    return project


def with_attributes(directory: Path) -> Path:
    """The kit's image, with a program that has a capability and an attribute of its user."""
    image = directory / "attributes.tar"
    shutil.copyfile(images.built(), image)
    attributes = {"security.capability": CAPABILITY.decode("utf-8", "surrogateescape"), "user.note": "mine"}
    with tarfile.open(image, "a", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("./srv/program")
        member.mode, member.size = 0o755, 4
        member.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in attributes.items()}
        archive.addfile(member, io.BytesIO(b"true"))
    return image


def changed(project: Project, provider: str) -> None:
    """Bring its machine up, with files of all kinds."""
    project.must("up", "--provider", provider)
    project.must("exec", "default", "--", "sh", "-c", CHANGE)


def members(archive: Path) -> dict[str, tuple[Any, ...]]:
    """What matters of each member."""
    plain = archive.with_suffix(".plain")
    with plain.open("wb") as output:
        subprocess.run(["zstd", "--decompress", "--stdout", "--quiet", str(archive)], stdout=output, check=True)
    found = {}
    with tarfile.open(plain) as opened:
        for member in opened:
            attributes = {key: text for key, text in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            kind = (member.type, member.linkname, member.mode, member.uid, member.gid, member.size)
            found[member.name.removeprefix("./")] = (*kind, attributes)
    plain.unlink()
    return found


def different(one: dict[str, tuple[Any, ...]], other: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {
        name: (one.get(name), other.get(name))
        for name in one.keys() | other.keys()
        if one.get(name) != other.get(name) and not f"{name}/".startswith(LEFT_ALONE) and name != "."
    }


@pytest.mark.parametrize("provider", ["chroot", "lxc", "docker", "kvm"])
def test_a_machine_from_a_packaged_image_has_the_files_of_the_first(directory: Path, provider: str) -> None:
    first, image = new(directory, "first", with_attributes(directory)), directory / "image.tar.zst"
    try:
        changed(first, provider)
        first.must("package", "default", str(image))
        assert first.machines()["default"]["state"] == "running"
    finally:
        first.must("destroy", "--yes")
    assert remains(first) == {}
    second, again = new(directory, "second", image), directory / "again.tar.zst"
    try:
        second.must("up", "--provider", provider)
        told = second.must(
            "exec", "default", "--", "sh", "-c", "stat -c '%u:%g %a %h' /srv/tree/file; readlink /srv/tree/soft"
        )
        assert told.split() == ["1234:4321", "4750", "2", "file"]
        second.must("stop", "--grace", "1")
        second.must("package", "default", str(again))
        assert second.machines()["default"]["state"] == "stopped"
    finally:
        second.must("destroy", "--yes")
    assert remains(second) == {}
    one, other = members(image), members(again)
    assert different(one, other) == {}
    attributes = {name.removeprefix("SCHILY.xattr."): text for name, text in other["srv/program"][-1].items()}
    assert attributes["security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY
    assert attributes.get("user.note") == (None if provider == "docker" else "mine")


@pytest.fixture(scope="module")
def made() -> Iterator[Project]:
    """A project with a machine on chroot."""
    with open_directory() as directory:
        project = new(directory, "project", make_small_archive(directory / "small.tar"))
        changed(project, "chroot")
        project.must("exec", "default", "--", "sh", "-c", "head -c 60000000 /dev/urandom > /srv/large")
        yield project
        project.must("destroy", "--yes")


def test_an_image_has_nothing_that_makes_a_machine_that_one(made: Project) -> None:
    made.must("exec", "default", "--", "sh", "-c", "echo 0123456789abcdef0123456789abcdef > /etc/machine-id")
    file = made.directory / "image.tar"
    made.must("package", "default", str(file))
    content = file.read_bytes()
    assert b"never-to-be-told" not in content
    assert b"# envup" not in content
    with tarfile.open(file) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
        assert archive.getmember("./etc/machine-id").size == 0
    assert {"etc/hostname", "shared/inside", "dev/null"} & names == set()
    assert {"shared", "dev", "srv/tree/hard"} <= names


def test_the_variables_of_an_image_go_with_it(made: Project, directory: Path) -> None:
    made.must("package", "default", str(directory / "plain.tar.gz"))
    subprocess.run(["gzip", "--test", str(directory / "plain.tar.gz")], check=True)
    from envup.images import metadata

    form: dict[str, Any] = {"format": tarfile.PAX_FORMAT, "pax_headers": metadata.header({"environment": {"OWN": "x"}})}
    told = directory / "told.tar"
    subprocess.run(["gunzip", str(directory / "plain.tar.gz")], check=True)
    with tarfile.open(directory / "plain.tar") as source, tarfile.open(told, "w", **form) as target:
        for member in source:
            member.pax_headers.pop("comment", None)
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
    project = new(directory, "told", told)
    try:
        project.must("up", "--provider", "chroot")
        assert project.must("exec", "default", "--", "sh", "-c", "echo $OWN").strip() == "x"
        project.must("package", "default", str(directory / "again.tar"))
        assert metadata.variables(directory / "again.tar") == {"OWN": "x"}
    finally:
        project.must("destroy", "--yes")


def test_a_file_that_is_there_is_replaced_on_demand_alone(made: Project, directory: Path) -> None:
    file = directory / "there.tar"
    file.write_text("mine")
    refused = made.run("package", "default", str(file))
    assert (refused.returncode, file.read_text()) == (2, "mine")
    made.must("package", "default", str(file), "--force")
    assert tarfile.is_tarfile(file)


def test_an_image_goes_to_standard_output(made: Project, directory: Path) -> None:
    with (
        (directory / "out.tar").open("wb") as output,
        made.start("package", "default", "-", stdout=output) as process,
    ):
        assert process.wait(120) == 0
    with tarfile.open(directory / "out.tar") as archive:
        assert "./srv/tree/file" in archive.getnames()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("other", "image.tar"), "there is no machine 'other'"),
        (("default", "image.tar.xz"), "none of the compressions"),
        (("default", "nowhere/image.tar"), "is no directory"),
        (("default", "image.qcow2"), "was made from a root file system"),
        (("default", "-", "--json"), "cannot share"),
    ],
)
def test_what_cannot_be_is_refused(made: Project, words: tuple[str, ...], text: str) -> None:
    done = made.run("package", *words)
    assert (done.returncode, text in done.stderr + done.stdout) == (2, True), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_image(made: Project, directory: Path, number: signal.Signals) -> None:
    file = directory / "image.tar.zst"
    with made.start("package", "default", str(file)) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in directory.glob(".image.tar.zst.*")):
            assert time.monotonic() < deadline
        process.send_signal(number)
        process.communicate(timeout=60)
    assert not file.exists()
    assert (number == signal.SIGKILL) == any(directory.iterdir())
    made.must("package", "default", str(file))
    assert list(members(file))


@pytest.mark.parametrize("name", ["image.tar", "image.tar.zst"])
def test_a_full_disk_leaves_nothing(made: Project, directory: Path, name: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(directory)], check=True)
    try:
        done = made.run("package", "default", str(directory / name))
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert list(directory.iterdir()) == []
    finally:
        subprocess.run(["umount", str(directory)], check=True)
