"""Lost and damaged files, broken Envfiles: clear errors, nothing half-made, and a way on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import pytest
from fault_help import NAMESPACED, PROVIDERS, QUICK, check_that_up_recovers, pair_of, settle
from leftovers import host
from real_machines import Project

pytestmark = [pytest.mark.root, pytest.mark.slow]


def lose_state(project: Project) -> None:
    for file in (project.home / "data").glob("state.db*"):
        file.unlink()


def damage_state(project: Project) -> None:
    lose_state(project)
    (project.home / "data/state.db").write_bytes(os.urandom(8192))


def cut_state_short(project: Project) -> None:
    file = project.home / "data/state.db"
    project.must("status")
    content = file.read_bytes()
    lose_state(project)
    file.write_bytes(content[: len(content) // 2])


def overwrite_pages(project: Project) -> None:
    file = project.home / "data/state.db"
    content = file.read_bytes()
    lose_state(project)
    file.write_bytes(content[:100] + os.urandom(len(content) - 100))


HARM = [("chroot", harm) for harm in (damage_state, cut_state_short, overwrite_pages)]


@pytest.mark.parametrize(("provider", "harm"), [*((name, lose_state) for name in PROVIDERS), *HARM])
def test_without_its_records_envup_finds_the_machines_again(pair: Project, harm: Callable[[Project], None]) -> None:
    pair.must("up")
    before = {name: machine["instance"] for name, machine in pair.machines().items()}
    harm(pair)
    assert {name: machine["state"] for name, machine in pair.machines().items()} == {"one": "running", "two": "running"}
    pair.must("up")
    assert {name: machine["instance"] for name, machine in pair.machines().items()} == before
    assert pair.must("plan", "--check") is not None
    settle(pair)


@pytest.mark.parametrize(("provider", "harm"), [*((name, lose_state) for name in QUICK), *HARM])
def test_destroy_needs_no_records(pair: Project, harm: Callable[[Project], None]) -> None:
    pair.must("up")
    harm(pair)
    settle(pair)


def kill_everything(project: Project) -> None:
    """End all processes of a project at once, as a power loss does."""
    while found := host.processes(project.home, project.directory, project.id):
        for line in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)


@pytest.mark.parametrize(
    ("provider", "content"),
    [(name, content) for name in ("chroot", "lxc") for content in (None, b'{"id": 1}')] + [("kvm", None)],
)
def test_a_machine_whose_facts_are_damaged_is_destroyed_with_all_that_it_runs(
    pair: Project, provider: str, content: bytes | None
) -> None:
    pair.must("up")
    (file,) = pair.home.glob(f"data/providers/{provider}/machines/*.one/machine.json")
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert pair.machines()["one"]["state"] == "broken"
    settle(pair)
    check_that_up_recovers(pair)
    settle(pair)


@NAMESPACED
@pytest.mark.parametrize("content", [None, b""])
@pytest.mark.parametrize("recovers", [True, False])
def test_a_machine_whose_record_was_lost_in_a_crash_goes_on_or_goes(
    pair: Project, provider: str, content: bytes | None, recovers: bool
) -> None:
    pair.must("up")
    (file,) = pair.home.glob(f"data/providers/{provider}/machines/*.one/run.json")
    kill_everything(pair)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    if recovers:
        check_that_up_recovers(pair)
    settle(pair)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 1}', b"\xff\xfe"])
def test_a_damaged_identity_is_named_and_mended_by_hand(pair: Project, content: bytes) -> None:
    pair.must("up")
    file = pair.directory / ".envup/environment.json"
    whole = file.read_bytes()
    file.write_bytes(content)
    for verb in (("up",), ("status",), ("destroy", "--yes")):
        done = pair.run(*verb)
        assert done.returncode == 1, (verb, done.stdout, done.stderr)
        assert str(file) in done.stderr
        assert "bug" not in done.stderr
    file.write_bytes(whole)
    settle(pair)


@pytest.mark.parametrize("envfile", ["machines: [", "machines: {one: {memroy: 1}}", "", "\0", "one: &a [*a]"])
def test_a_broken_envfile_stops_up_and_not_stop_nor_destroy(pair: Project, envfile: str) -> None:
    pair.must("up")
    pair.write(envfile)
    assert pair.run("up").returncode == 2
    assert set(pair.machines()) == {"one", "two"}
    pair.must("exec", "one", "--", "true")
    pair.must("stop")
    settle(pair)


def test_destroy_works_when_the_envfile_is_gone(pair: Project) -> None:
    pair.must("up")
    (pair.directory / "Envfile").unlink()
    assert set(pair.machines()) == {"one", "two"}
    settle(pair)


def test_a_moved_project_keeps_its_machines(make_project: Callable[..., Project]) -> None:
    project = make_project(pair_of("chroot"))
    project.must("up")
    before = {name: machine["instance"] for name, machine in project.machines().items()}
    project.directory = project.directory.rename(project.directory.with_name("moved"))
    project.must("up")
    assert {name: machine["instance"] for name, machine in project.machines().items()} == before
    settle(project)
