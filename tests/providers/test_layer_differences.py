"""Layers of one machine hold what differs from the one before, and together all that it had written."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import ForkedProject
from real_machines import open_directory, remains

from envup.testing import images

pytestmark = pytest.mark.slow

ATTRIBUTE = """perl -e '($f, $v, $n) = (@ARGV, "user.word"); syscall(188, $f, $n, $v, length $v, 0) == 0 or die $!' """
"""setxattr(2), for which the image has no program."""
STEPS = (
    "cd /srv; mkdir -p a/b c d/e/f; echo 1 > a/b/one; echo 1 > a/two; echo 1 > c/file; ln -s a link; mkfifo fifo;"
    "echo 1 > d/e/f/deep; echo same > same; touch -d @1000000000 same; echo 1 > linked; ln linked a/linked;"
    "mkdir away; echo 1 > away/file; truncate -s 1M sparse; rm /etc/issue; rm -r /usr/share/doc; echo 1 > /etc/motd",
    "cd /srv; rm -r a; echo file > a; rm c/file; mkdir c/file; echo 2 > c/file/in; rm link; mkdir link; touch link/in",
    "cd /srv; rm a; mkdir a; echo 3 > a/three; rm -r c/file; echo 3 > c/file; rm -r link; ln -s c link",
    "cd /srv; printf 'emas\\n' > same; touch -d @1000000000 same; chmod 4711 c/file; chmod 2700 d/e; chown 12:34 d",
    f"cd /srv; {ATTRIBUTE} d/e/f/deep word; {ATTRIBUTE} d/e/f word",
    "cd /srv; ln linked again; ln d/e/f/deep deep; mv away other; mv fifo pipe",
    "cd /srv; rm -r d; mkdir -p d/e; touch d/e/new; rm again; echo more >> linked; echo back > /etc/issue",
    "cd /srv; mv other away; rm -r /etc/issue /etc/motd; mkdir /usr/share/doc; touch /usr/share/doc/new",
    "cd /srv; rm -r /usr/share/doc away; mkdir away; touch away/new; mv d moved; mv c d; rm -r /etc/init.d; rm sparse",
    "cd /srv; mkdir -p /usr/share/doc/new /etc/init.d; touch -d @1 /srv/moved/e",
)
LOOK = r"""
cd /; find srv etc usr/share/doc root var/tmp ! -name machine-id -printf '%p|%y|%m|%U|%G|%s|%l|%C@\n' |
sed 's/|[^|]*$//' | sort; find srv etc usr/share/doc ! -type d -printf '%p|%n\n' | sort
find srv etc -type f ! -name machine-id -exec md5sum {} + | sort
find srv usr/share/doc -printf '%p|%T@\n' | sort
find srv -type f -links +1 -printf '%i %p\n' | sort |
awk '{ if (!($1 in n)) n[$1] = ++k; print n[$1], $2 }' | sort -k 2
find srv -print0 | sort -z | xargs -0 perl -e 'for $f (@ARGV) { $b = "-" x 4; $n = "user.word";
print "$f $b\n" if syscall(191, $f, $n, $b, 4) > 0 }'
"""
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for projects that share one home."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def project(place: Path, request: pytest.FixtureRequest) -> Iterator[ForkedProject]:
    """One without steps; its machine and all layers are gone at the end."""
    variables = {"DOCKER_HOST": "unix:///no/engine.sock"}
    made = ForkedProject(place / request.node.originalname, place / "home", variables)
    yield made
    made.must("destroy", "--yes")
    made.must("prune")
    assert remains(made) == {}


def check(project: ForkedProject, provider: str, steps: list[str]) -> None:
    """A machine that begins with the last layer is as the one was which had all steps run."""
    declared = {
        "provider": provider,
        "image": {"tarball": str(images.built())},
        "mounts": [],
        "environment": {"MARK": str(project.home)},
        "provision": [{"name": f"step{number}", "shell": step} for number, step in enumerate(steps)],
    }
    project.write(json.dumps(declared))
    project.must("up")
    made = project.must("exec", "--", "sh", "-c", LOOK)
    kept = {layer["step"]: layer for layer in json.loads(project.must("images", "--json"))["layers"]}
    parents = [kept[f"step{number}"]["parent"] for number in range(len(steps))]
    assert parents == ["", *(kept[f"step{number}"]["key"] for number in range(len(steps) - 1))]
    project.must("destroy", "--yes")
    assert json.loads(project.must("plan", "--json"))["actions"][-1]["verb"] != "provision"
    project.must("up")
    assert project.must("exec", "--", "sh", "-c", LOOK).splitlines() == made.splitlines()


@pytest.mark.parametrize("provider", ["chroot", "lxc"])
def test_a_machine_is_the_same_whatever_was_changed_between_layers(project: ForkedProject, provider: str) -> None:
    check(project, provider, list(STEPS))


def change(choices: random.Random) -> str:
    """One change of what lies in /srv or in a directory of the image."""

    def path() -> str:
        top = choices.choice(["/srv", "/srv", "/etc/init.d", "/usr/share/doc"])
        return "/".join([top, *choices.choices(NAMES, k=choices.randint(1, 3))])

    one, two = path(), path()
    return choices.choice(
        [
            f"mkdir -p {one}",
            f"mkdir -p {one}",
            f"echo {choices.random()} > {one}",
            f"echo {choices.random()} >> {one}",
            f"rm -rf {one}",
            f"rm -rf {one.rpartition('/')[0]}/{choices.choice(NAMES)}",
            f"rm -rf {choices.choice(['/etc/init.d', '/usr/share/doc', '/srv'])}/*",
            f"mv {one} {two}",
            f"mv -T {one} {two}",
            f"ln {one} {two}",
            f"ln -s {two} {one}",
            f"chmod {choices.choice(['700', '2755'])} {one}",
            f"touch -d @{choices.randint(1, 9)} {one}",
            f"rm -rf {choices.choice(['/etc/init.d', '/usr/share/doc'])}",
            f"mkdir -p {choices.choice(['/etc/init.d', '/usr/share/doc'])}",
        ]
    )


@pytest.mark.parametrize("provider", ["chroot", "lxc"])
def test_a_machine_is_the_same_after_random_changes(project: ForkedProject, provider: str) -> None:
    seed = int(os.environ.get("ENVUP_SEED") or 6)
    print(f"ENVUP_SEED={seed}")
    choices = random.Random(seed)
    steps = ["; ".join(change(choices) for _ in range(25)) + "; true" for _ in range(12)]
    check(project, provider, [f"set +e; exec 2>/dev/null; {step}" for step in steps])
