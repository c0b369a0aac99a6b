"""Finding control groups of either version, and the values that limits become."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.namespaces import cgroups, hierarchies, runtimes
from envup.provider import Resources

MIB = 1 << 20


def _tree(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _group(path: Path, *names: str) -> Path:
    _tree(path, dict.fromkeys(names, "0"))
    return path


def _known(monkeypatch: pytest.MonkeyPatch, version: int, base: Path) -> None:
    places = {name: cgroups.Place(base, version) for name in ("cpu", "memory", "pids")}
    monkeypatch.setattr(cgroups, "places", lambda *, rootless: places)


def test_mounts_of_both_versions_are_found() -> None:
    text = (
        "33 24 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        "36 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    )
    assert list(hierarchies.parsed(text)) == [
        ("/sys/fs/cgroup/unified", "cgroup2", ["rw", "nsdelegate"]),
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", ["rw", "cpu", "cpuacct"]),
    ]


def test_a_hierarchy_that_is_mounted_twice_is_one_for_all_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group made below one mount point is removed below the same."""
    points = [_group(tmp_path / name, "cgroup.controllers") for name in ("first", "second")]
    for point in points:
        (point / "cgroup.controllers").write_text("pids")
    lines = [f"33 24 0:28 / {point} rw - cgroup2 cgroup2 rw\n" for point in points]
    monkeypatch.setattr(hierarchies, "mounted", lambda: hierarchies.parsed("".join(lines)))
    assert cgroups.unified(rootless=False) == cgroups.places(rootless=False)["pids"].base == points[0]
    assert runtimes.groups("e-web") == [f"{points[0]}/envup/e-web"]


def test_the_topmost_delegated_group_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "user.slice/user-1000.slice/user@1000.service/app.slice/term.scope"
    (tmp_path / own).mkdir(parents=True)
    delegated = tmp_path / "user.slice/user-1000.slice/user@1000.service"
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(delegated)))
    assert cgroups._delegated(tmp_path, f"1:name=systemd:/x\n0::/{own}\n") == delegated


def test_without_delegation_there_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cgroups._delegated(tmp_path, "0::/user.slice/session-1.scope\n") is None
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert cgroups._delegated(tmp_path, "0::/\n") is None


def test_version_2_gets_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _known(monkeypatch, 2, tmp_path)
    group = _group(tmp_path / "envup/e-web", "cpu.max", "memory.max", "memory.swap.max", "pids.max")
    for parent in (tmp_path, tmp_path / "envup"):
        (parent / "cgroup.subtree_control").write_text("")
    limits = Resources(cpus=1.5, memory=64 * MIB, pids=100)
    assert cgroups.make("e-web", limits, rootless=False) == [group]
    values = {name: (group / name).read_text() for name in ("cpu.max", "memory.max", "memory.swap.max", "pids.max")}
    assert values == {
        "cpu.max": "150000 100000",
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "pids.max": "100",
    }
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+pids"


def test_version_1_gets_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _known(monkeypatch, 1, tmp_path)
    names = (
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "pids.max",
    )
    group = _group(tmp_path / "envup/e-web", *names)
    cgroups.make("e-web", Resources(cpus=0.5, memory=MIB, pids=7), rootless=False)
    assert [(group / name).read_text() for name in names] == ["100000", "50000", str(MIB), str(MIB), "7"]


def test_limits_that_are_no_longer_asked_for_are_lifted(tmp_path: Path) -> None:
    group = _group(tmp_path / "g", "cgroup.controllers", "cpu.max", "memory.max", "pids.max")
    cgroups.relax([str(group)], Resources(pids=5))
    assert [(group / name).read_text() for name in ("cpu.max", "memory.max", "pids.max")] == ["max 100000", "max", "0"]


@pytest.mark.parametrize(("new", "first"), [(64 * MIB, "memory.memsw"), (MIB, "memory.limit")])
def test_memory_with_swap_never_falls_below_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: int, first: str
) -> None:
    group = tmp_path / "g"
    _tree(group, {"memory.limit_in_bytes": str(2 * MIB), "memory.memsw.limit_in_bytes": str(2 * MIB)})
    order: list[str] = []
    monkeypatch.setattr(cgroups, "_write", lambda path, value: order.append(path.name))
    cgroups._limit_memory(group, new)
    assert order[0].startswith(first)
    assert len(order) == 2


def test_what_the_kernel_refuses_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _known(monkeypatch, 2, tmp_path)
    (tmp_path / "cgroup.subtree_control").mkdir(parents=True)
    with pytest.raises(EnvupError, match="subtree_control"):
        cgroups.make("e-web", Resources(pids=7), rootless=False)


def test_removing_groups_that_are_gone_succeeds(tmp_path: Path) -> None:
    (tmp_path / "envup/e-web").mkdir(parents=True)
    for _ in range(2):
        cgroups.remove([str(tmp_path / "envup/e-web")])
    assert not (tmp_path / "envup").exists()


def test_only_limits_that_are_set_need_controllers() -> None:
    assert cgroups.needed(Resources(disk=5)) == []
    assert cgroups.needed(Resources(cpus=1, pids=2)) == ["cpu", "pids"]
