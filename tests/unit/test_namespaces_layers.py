"""Layers that cannot be kept, that never reached the disk, and that are merged."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.events import silent
from envup.namespaces import layers, records, snapshots
from envup.namespaces.layers import LayerStore
from envup.provider import ProviderContext


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    return ProviderContext(tmp_path, tmp_path, silent)


@pytest.fixture
def store(context: ProviderContext) -> LayerStore:
    return LayerStore(context, dict)


def fill(new: Path) -> None:
    (new / layers.TREE).mkdir()


def test_a_layer_of_an_earlier_boot_that_never_reached_the_disk_is_no_machines(
    store: LayerStore, tmp_path: Path
) -> None:
    place = tmp_path / "layers" / "ab"
    fill_from_earlier(place)
    with pytest.raises(EnvupError, match="the layer ab is damaged"):
        layers.stack(tmp_path, ["ab"])
    (place / "synced").write_text("1")
    assert layers.stack(tmp_path, ["ab"]) == [place / layers.TREE]
    assert [layer.key for layer in store.all()] == ["ab"]
    with pytest.raises(EnvupError, match="the layer cd is gone"):
        layers.stack(tmp_path, ["ab", "cd"])


def fill_from_earlier(place: Path) -> None:
    place.mkdir(parents=True)
    fill(place)
    facts = {"below": [], "note": {}, "created": 0.0, "size": 1, "boot": f"not {records.boot()}"}
    (place / "layer.json").write_text(json.dumps(facts))


def test_what_has_no_size_is_an_error_that_is_told(store: LayerStore) -> None:
    with pytest.raises(EnvupError, match="cannot tell the size") as raised:
        store.keep("ab", (), {}, Path.rmdir)
    assert "No such file" in raised.value.details
    assert store.all() == []


def test_what_nothing_brings_to_the_disk_is_an_error_that_is_told(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(tmp_path / "setsid")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EnvupError, match="nothing brings it to the disk"):
        store.keep("ab", (), {}, fill)


def test_what_brings_a_layer_to_the_disk_marks_no_other_of_its_name(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, former = tmp_path / "layers" / "ab", tmp_path / "former"
    (tmp_path / "sync").write_text(f"#!/bin/sh\nmv {place} {former} && mkdir {place}\n")
    (tmp_path / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    store.keep("ab", (), {}, fill)
    wait_for_mark(former)
    assert list(place.iterdir()) == []


def test_what_brings_a_layer_to_the_disk_makes_no_file_where_it_is_being_removed(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "setsid").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (tmp_path / "sync").write_text("#!/bin/sh\nrm -r ./*\n")
    for name in ("setsid", "sync"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    store.keep("ab", (), {}, fill)
    assert list((tmp_path / "layers" / "ab").iterdir()) == []


def test_a_layer_that_a_machine_is_put_on_is_brought_to_the_disk_if_it_was_not(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync").write_text(f"#!/bin/sh\n: > {tmp_path}/begun; test -e {tmp_path}/good\n")
    (tmp_path / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    store.keep("ab", (), {}, fill)
    wait_for(tmp_path / "begun")
    place = tmp_path / "layers" / "ab"
    with (place / "synced").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the first one has ended
    assert not (place / "synced").read_bytes()
    (tmp_path / "good").touch()
    assert layers.stack(tmp_path, ["ab"]) == [place / layers.TREE]
    wait_for_mark(place)
    fail(tmp_path / "setsid")
    layers.stack(tmp_path, ["ab"])


def fail(program: Path) -> None:
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)


def wait_for(path: Path, size: int = 0) -> None:
    end = time.monotonic() + 10
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def wait_for_mark(layer: Path) -> None:
    wait_for(layer / "synced", size=1)


def test_a_snapshot_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    (tmp_path / "sync").write_text(f'#!/bin/sh\necho "$@" > {told}; ls "$2" >> {told}; test -e {tmp_path}/good\n')
    (tmp_path / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    machine = tmp_path / "env.web"
    (machine / "upper").mkdir(parents=True)
    with pytest.raises(EnvupError, match="to the disk"):
        snapshots.take(machine, "clean", nothing, None)
    assert snapshots.every(machine) == []
    (tmp_path / "good").touch()
    snapshots.take(machine, "clean", nothing, None)
    assert told.read_text() == f"--file-system {machine}/snapshots/.clean\nupper\n"


def test_what_a_snapshot_becomes_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, other = tmp_path / "env.web", tmp_path / "env.other"
    for place in (machine, other):
        (place / "upper").mkdir(parents=True)
    (machine / "upper" / "state").write_text("early")
    snapshots.take(machine, "clean", nothing, None)
    (machine / "upper" / "state").write_text("late")
    told = tmp_path / "told"
    (tmp_path / "sync").write_text(f'#!/bin/sh\ncat "$2/state" "$2/upper/state" > {told}; exit 1\n')
    (tmp_path / "sync").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EnvupError, match="to the disk"):
        snapshots.restore(machine, "clean")
    assert told.read_text() == "early"
    snapshots.finish(machine)
    assert (machine / "upper" / "state").read_text() == "late"
    told.unlink()
    with pytest.raises(EnvupError, match="to the disk"):
        snapshots.copy(machine, "clean", other, None)
    assert told.read_text() == "early"


def nothing() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@pytest.fixture
def trees() -> Iterator[Path]:
    """Two trees on a file system with attributes, which that of /tmp may not have; the second has `srv` as well."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        for name in ("one", "two"):
            (Path(directory) / name / "srv").mkdir(parents=True)
            (Path(directory) / name / "srv" / name).touch()
        yield Path(directory)


@pytest.mark.root
@pytest.mark.parametrize(("attribute", "left"), [("trusted", ["two"]), ("user", ["one", "two"])])
def test_only_directories_that_are_opaque_in_the_mode_in_use_hide_what_is_below(
    trees: Path, attribute: str, left: list[str]
) -> None:
    os.setxattr(trees / "two" / "srv", f"{attribute}.overlay.opaque", b"y")
    layers.merge([trees / "one", trees / "two"], trees / "merged", trees / "none")
    assert sorted(path.name for path in (trees / "merged" / "srv").iterdir()) == left
