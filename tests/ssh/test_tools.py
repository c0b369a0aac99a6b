"""Tools that speak SSH use machines that have no server for it: Ansible, rsync, and scp with a large file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import managed_image
import pytest
from real_machines import Project, open_project

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROVIDERS = ("chroot", "docker", "lxc", "kvm")
LIMIT = 120
FILES = 1000
LARGE = {"kvm": 20 << 20}
"""Bytes of the large file, where not 200 MiB: without hardware acceleration a virtual machine takes them slowly."""
ENVFILE = """\
name: tools
defaults: {image: {tarball: "@ARCHIVE@"}, mounts: [], environment: {MARK: "@HOME@"}}
machines:
  chroot: {provider: chroot}
  docker: {provider: docker}
  lxc: {provider: lxc}
  kvm: {provider: kvm}
"""


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """A machine on each provider, and their configuration in the file `config`."""
    with open_project(ENVFILE, managed_image.archive()) as project:
        project.must("up", "--trust")
        (project.directory / "config").write_text(project.must("ssh-config"))
        yield project


@pytest.fixture(params=PROVIDERS)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(project: Project, *line: str, **variables: str) -> str:
    """Standard output of a program that must succeed; `CONFIG` in the line is the file of the configuration."""
    words = [word.replace("CONFIG", str(project.directory / "config")) for word in line]
    environment = {**os.environ, **variables}
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def digests(text: str) -> dict[str, str]:
    """By name, of what sha256sum(1) printed."""
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in text.splitlines())}


def test_ansible_reaches_every_machine(project: Project, tmp_path: Path) -> None:
    (tmp_path / "inventory").write_text("".join(f"{name}\n" for name in PROVIDERS))
    said = run(
        project, "ansible", "all", "-i", str(tmp_path / "inventory"), "-m", "ping", "-o",
        ANSIBLE_SSH_ARGS="-F CONFIG -o ControlMaster=no".replace("CONFIG", str(project.directory / "config")),
    )  # fmt: skip
    answers = dict(line.split(" | SUCCESS => ") for line in said.splitlines())
    assert {name: json.loads(answer)["ping"] for name, answer in answers.items()} == dict.fromkeys(PROVIDERS, "pong")


def test_rsync_keeps_a_thousand_files_alike_in_both_places(project: Project, machine: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(FILES):
        file = tree / f"{number % 10}" / f"file {number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(1 + number * 7))
        file.chmod(0o600 | number % 64)
    (tree / "link").symlink_to("0/file 0")
    rsync = ("rsync", "-a", "--stats", "-e", "ssh -F CONFIG")
    sent = run(project, *rsync, f"{tree}/", f"{machine}:/srv/tree/")
    assert f"Number of regular files transferred: {FILES:,}" in sent
    (tree / "3" / "file 3").unlink()
    assert "Number of deleted files: 1 " in run(project, *rsync, "--delete", f"{tree}/", f"{machine}:/srv/tree/")
    run(project, *rsync, f"{machine}:/srv/tree/", f"{tmp_path}/back/")
    assert described(tmp_path / "back") == described(tree)


def described(tree: Path) -> dict[str, tuple[int, float, object]]:
    """Mode, time and content of all that is in a directory."""
    found = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(tree))] = (status.st_mode, int(status.st_mtime), content)
    return found


def test_a_large_file_arrives_whole(project: Project, machine: str, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    with (tmp_path / "large").open("wb") as file:
        for number in range(LARGE.get(machine, 200 << 20) >> 20):
            file.write(number.to_bytes(4) + block[4:])
    with (tmp_path / "large").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    run(project, "scp", "-q", "-F", "CONFIG", str(tmp_path / "large"), f"{machine}:/srv/large")
    assert digests(run(project, "ssh", "-F", "CONFIG", machine, "sha256sum /srv/large")) == {"/srv/large": digest}
    run(project, "scp", "-q", "-F", "CONFIG", f"{machine}:/srv/large", str(tmp_path / "back"))
    with (tmp_path / "back").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    run(project, "ssh", "-F", "CONFIG", machine, "rm /srv/large")
