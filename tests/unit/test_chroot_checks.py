"""What the chroot provider refuses before anything is changed, and how it reads its own options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import envup_chroot
from envup.model import ImageReference, MachineSpec, Mount, Port, Resources
from envup.namespaces import capabilities, cgroups, subids
from envup_chroot import checks, settings


def _spec(source: str = "tarball", **fields: Any) -> MachineSpec:
    return MachineSpec(name="web", image=ImageReference(source), **fields)


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(envup_chroot.__file__).parent / "options.schema.json").read_text())
    return schema


def test_an_ordinary_machine_is_accepted(tmp_path: Path) -> None:
    spec = _spec(mounts=(Mount(tmp_path, "/workspace"),), environment={"A": "b"}, ports=(Port(80, 80),))
    assert checks.reasons(spec, rootless=True) == []


@pytest.mark.parametrize("port", [Port(80, 8080), Port(80, 0), Port(80, 80, "127.0.0.1"), Port(53, 54, None, "udp")])
def test_ports_cannot_be_remapped(port: Port) -> None:
    (reason,) = checks.reasons(_spec(ports=(port,)), rootless=False)
    assert reason.startswith("ports: ")
    assert "docker, lxc or kvm" in reason


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/1/x", "/sys/fs", "//", "/./"])
def test_the_kernels_directories_are_no_mount_targets(tmp_path: Path, target: str) -> None:
    (reason,) = checks.reasons(_spec(mounts=(Mount(tmp_path, target),)), rootless=False)
    assert "nothing can be mounted" in reason


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    (reason,) = checks.reasons(_spec(mounts=(Mount(tmp_path / "gone", "/x"),)), rootless=False)
    assert str(tmp_path / "gone") in reason


def test_limits_without_a_controller_are_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "places", lambda *, rootless: {"pids": object()})
    reasons = checks.reasons(_spec(resources=Resources(cpus=1, memory=1 << 30, pids=9)), rootless=True)
    assert [reason.partition(":")[0] for reason in reasons] == ["resources.cpus", "resources.memory"]
    assert all("Delegate" in reason for reason in reasons)


def test_a_disk_limit_needs_root_or_a_tmpfs() -> None:
    limits = Resources(disk=1 << 30)
    assert "root" in checks.reasons(_spec(resources=limits), rootless=True)[0]
    assert checks.reasons(_spec(resources=limits), rootless=False) == []
    tmpfs = {"chroot": {"tmpfs": {}}}
    assert not [one for one in checks.reasons(_spec(resources=limits, options=tmpfs), rootless=True) if "disk" in one]


def test_images_that_fit_other_providers_are_refused() -> None:
    assert "kvm" in checks.reasons(_spec("disk"), rootless=False)[0]
    assert "root" in checks.reasons(_spec("host"), rootless=True)[0]


def test_names_and_values_that_the_kernel_refuses_are_found() -> None:
    reasons = checks.reasons(_spec(hostname="x" * 65, environment={"A": "a\0b"}), rootless=False)
    assert [reason.partition(":")[0] for reason in reasons] == ["hostname", "environment.A"]


@pytest.mark.parametrize(
    ("text", "value"), [("5k", 5000), ("1GiB", 2**30), ("1G", 10**9), ("1.5Mi", 1572864), (12, 12), ("64MiB", 64 << 20)]
)
def test_amounts_carry_units(text: str | int, value: int) -> None:
    assert settings.amount(text) == value


@pytest.mark.parametrize("text", ["", "x", "5 parsecs", "-1k", "1i", "1ib"])
def test_other_amounts_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="unit"):
        settings.amount(text)


def test_the_tmpfs_takes_the_smaller_of_two_limits() -> None:
    options = {"chroot": {"tmpfs": {"size": "1GiB", "inodes": "5k"}}}
    assert settings.tmpfs(_spec(options=options)) == "mode=755,size=1073741824,nr_inodes=5000"
    assert settings.tmpfs(_spec(options=options, resources=Resources(disk=1 << 20))) == (
        "mode=755,size=1048576,nr_inodes=5000"
    )
    assert settings.tmpfs(_spec()) is None


def test_the_schema_accepts_what_the_settings_read() -> None:
    schema = _schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate({"tmpfs": {"size": "1GiB", "inodes": "5k"}, "cap_add": ["SYS_PTRACE"]})
    for wrong in ({"tmpfs": {"size": "big"}}, {"cap_add": ["CAP_SYS_ADMIN"]}, {"unknown": 1}, {"tmpfs": True}):
        assert not validator.is_valid(wrong), wrong
    assert schema["x-envup"] == {"api": 1, "kinds": ["provider"], "isolation": "filesystem"}


def test_capabilities_of_the_schema_are_those_that_are_dropped() -> None:
    known = set(_schema()["properties"]["cap_add"]["items"]["enum"])
    assert known == set(capabilities.NAMES) - set(capabilities.DEFAULT)
    assert capabilities.mask_of([]) == 0xA80425FB
    assert capabilities.mask_of(["SYS_NICE"]) == 0xA80425FB | 1 << 23


def test_subordinate_ids_are_read_by_name_and_number() -> None:
    text = "anna:100000:65536\n# comment\n1001:300000:1000\nanna:500000:10\nbroken:x:y\nanna:1\n"
    assert subids.parse(text, "anna", 1001) == [(100000, 65536), (300000, 1000), (500000, 10)]
    assert subids.parse(text, "otto", 5) == []


def test_the_range_that_is_proposed_is_free() -> None:
    assert subids.first_free(["", "# none\n"]) == 100_000
    assert subids.first_free(["anna:100000:65536\nbroken:x:1\n", "otto:231072:65536\n"]) == 296_608


def test_root_of_the_namespace_is_the_user_and_the_rest_follows_on() -> None:
    assert subids.id_map([(1001, 1), (100000, 65536), (500000, 10)]) == "0:1001:1,1:100000:65536,65537:500000:10"
