"""What counts as naming a mount."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envup.model import ImageReference, MachineSpec, Mount, Step
from envup.mounted import is_named


def named(options: Any, *programs: Path, environment: dict[str, str] | None = None, target: str = "/workspace") -> bool:
    spec = MachineSpec(
        name="m",
        image=ImageReference("debian/bookworm"),
        mounts=(Mount(Path("/home/me/project"), target, False),),
        environment=environment or {},
    )
    return is_named(spec, Step(0, "step", "shell", options), programs)


@pytest.mark.parametrize(
    "options",
    [
        "cd /workspace && make",
        "ls /workspace",
        {"inline": "true", "workdir": "/workspace/sub"},
        {"from": "conf", "to": "/workspace/conf"},
        {"args": ["--root=/workspace"]},
        'sh "$ROOT/install"',
    ],
)
def test_its_place_or_a_variable_with_it(options: Any) -> None:
    assert named(options, environment={"ROOT": "/workspace/tools", "OTHER": "/opt"})


@pytest.mark.parametrize("options", ["make", "ls /workspaces /workspace-old", "echo $OTHER", {"to": "/srv"}])
def test_anything_else_does_not(options: Any) -> None:
    assert not named(options, environment={"ROOT": "/workspace/tools", "OTHER": "/opt"})


def test_a_program_that_it_runs_counts_as_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "setup.sh"
    script.write_text("cd /workspace\n")
    assert named({"script": "setup.sh"}, script)
    script.write_bytes(b"\xff\xfecd /opt\n")
    assert not named({"script": "setup.sh"}, script)


def test_where_nothing_is_mounted_nothing_is_named() -> None:
    spec = MachineSpec(name="m", image=ImageReference("debian/bookworm"), mounts=())
    assert not is_named(spec, Step(0, "step", "shell", "cd /workspace"), ())


DEEP = "/srv/web/pages"


@pytest.mark.parametrize(
    "text",
    [
        "cat /srv/web/pages/index",
        "ls /srv/web/pages",
        "cat $ROOT/srv/web/pages/index",
        "tar -cf /bundle.tar -C /srv .",
        "cp -r /srv/. /copy",
        "cd /srv/web/ && cat pages/index",
        "cp -r '/srv/web' /copy",
        "cat /srv/*/pages/index",
        "cat /s[rt]v/web/p*",
        "cat /srv/w??/pages",
        "rm -rf /srv/web/*",
    ],
)
def test_what_is_above_it_counts_and_a_pattern_that_fits(text: str) -> None:
    assert named(text, target=DEEP)


@pytest.mark.parametrize(
    "text",
    [
        "cat /srv/website",
        "cat /srv/web/pages-of-others",
        "cat /srv/other/file",
        "cat /opt/srv",
        "rm -rf /var/lib/apt/lists/*",
        "echo 'body { } /* all of it */' > /etc/style",
        "cat /srv/other/*",
        "ls /",
    ],
)
def test_what_is_beside_it_does_not(text: str) -> None:
    assert not named(text, target=DEEP)


def test_a_variable_that_holds_a_directory_above_it_counts() -> None:
    assert named("cat $ROOT/web/pages/index", environment={"ROOT": "/srv"}, target=DEEP)
    assert not named("cat /etc/passwd", environment={"ROOT": "/srv"}, target=DEEP)


def test_the_root_is_above_everything_and_does_not_count() -> None:
    assert named("ls /work*")
    assert not named("ls /; cp -r /etc/nginx /srv/*")
