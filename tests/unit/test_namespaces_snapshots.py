"""What a snapshot asks of the host while the machine stands still, and what a crash leaves of a restoration."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.namespaces import records, snapshots


def test_the_machines_file_system_alone_is_brought_to_the_disk_while_it_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    (tmp_path / "sync").write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    (tmp_path / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delattr(os, "sync")

    @contextlib.contextmanager
    def still() -> Iterator[None]:
        with told.open("a") as file:
            file.write("still\n")
        yield
        with told.open("a") as file:
            file.write("goes on\n")

    machine = tmp_path / "env.web"
    machine.mkdir()
    (machine / "disk.img").touch()
    snapshots.take(machine, "running", still, 7)
    own = "--file-system /proc/7/root"
    assert told.read_text().splitlines()[:4] == [own, "still", own, "goes on"]
    told.unlink()
    snapshots.take(machine, "stopped", still, None)
    assert told.read_text().splitlines()[:2] == ["still", "goes on"]


def test_a_machine_that_writes_to_memory_alone_is_refused_before(tmp_path: Path) -> None:
    machine = tmp_path / "env.web"
    machine.mkdir()
    with pytest.raises(EnvupError, match="machine 'web' writes to memory alone"):
        snapshots.require_part(machine)
    (machine / "upper").mkdir()
    snapshots.require_part(machine)


class _Crash(BaseException):
    pass


def test_a_restoration_that_is_cut_short_is_of_the_files_and_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 0
    rename, unlink = Path.rename, Path.unlink

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Crash

    def rename_or_die(path: Path, target: Path) -> Path:
        count()
        return rename(path, target)

    def unlink_or_die(path: Path, missing_ok: bool = False) -> None:
        count()
        unlink(path, missing_ok=missing_ok)

    def remove_or_die(*_paths: Path) -> None:
        count()

    found = list[tuple[str, bool]]()
    for moment in range(1, 20):
        machine = tmp_path / f"env.web{moment}"
        (machine / "upper").mkdir(parents=True)
        (machine / "upper" / "state").write_text("early")
        snapshots.take(machine, "clean", contextlib.nullcontext, None)
        (machine / "upper" / "state").write_text("late")
        (machine / records.FILE).touch()
        left = moment
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename_or_die)
            patch.setattr(Path, "unlink", unlink_or_die)
            patch.setattr(snapshots.programs, "remove", remove_or_die)
            with contextlib.suppress(_Crash):
                snapshots.restore(machine, "clean")
        snapshots.finish(machine)
        found.append(((machine / "upper" / "state").read_text(), (machine / records.FILE).exists()))
        if left > 0:
            break
    assert set(found) == {("late", True), ("early", False)}
