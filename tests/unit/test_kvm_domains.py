"""The description of a domain: what libvirt's schemas say of it, and what is read back from it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from envup.model import ImageReference, MachineSpec, Mount, Resources
from envup.value import NOTHING
from envup_kvm import checks, domain_labels, domains, extra_disks
from envup_kvm.kits import Kit
from envup_kvm.parts import Parts

SCHEMA = "/usr/share/libvirt/schemas/domain.rng"
LABELS = {"envup.environment": "abc", "envup.machine": "web", "envup.project": "/a <b> & c"}
MIB = 1 << 20


def parts(*, accelerated: bool = False, options: Mapping[str, object] = NOTHING, disk: bool = False) -> Parts:
    kit = Kit(Path("/kit/kernel"), Path("/kit/initrd"), Path("/kit/kit.img"), Path("/kit/programs.img"))
    directory = Path("/data/machines/abc.web")
    return Parts(
        name=domain_labels.name(LABELS),
        uuid="0123456789abcdef0123456789abcdef",
        labels=LABELS,
        directory=directory,
        accelerated=accelerated,
        kit=kit,
        root=Path("/data/machines/abc.web/disk.qcow2"),
        base=Path("/data/images/1.ext4"),
        facts=Path("/run/facts.tar"),
        console=Path("/data/console.log"),
        port=Path("/run/port"),
        options=options,
        base_format="qcow2" if disk else "raw",
        seed=Path("/run/seed.iso") if disk else None,
        disks=extra_disks.files(options, directory),
    )


def spec(**fields: object) -> MachineSpec:
    return MachineSpec(name="web", image=ImageReference("tarball"), **fields)  # type: ignore[arg-type]


DISKS = [{"name": f"d{number}", "size": "1GiB"} for number in range(16)]


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"firmware": "uefi"}, {"firmware": "bios", "cpu": "EPYC"}, {"tpm": True}, {"disks": DISKS}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_libvirts_schema_holds(tmp_path: Path, accelerated: bool, options: Mapping[str, object], disk: bool) -> None:
    file = tmp_path / "domain.xml"
    limits = Resources(cpus=2, memory=700 * MIB)
    made = parts(accelerated=accelerated, options=options, disk=disk)
    file.write_text(domains.describe(spec(resources=limits), made))
    done = subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_labels_come_back() -> None:
    assert domain_labels.find(domains.describe(spec(), parts())) == (LABELS, "/data/machines/abc.web")


def test_a_domain_of_somebody_else_has_none() -> None:
    assert domain_labels.find("<domain><name>envup-x</name></domain>") is None


def test_a_machine_has_what_its_limits_say() -> None:
    text = domains.describe(spec(resources=Resources(cpus=3, memory=256 * MIB)), parts())
    assert re.search(r'<vcpu current="3">\d+</vcpu>', text)
    assert f'<memory unit="KiB">{256 << 10}</memory>' in text


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"mounts": (Mount(Path("/nowhere"), "/x"),)}, "mounts"),
        ({"hostname": "h" * 65}, "hostname"),
        ({"environment": {"ZERO": "\0"}}, "environment.ZERO"),
        ({"resources": Resources(pids=5)}, "resources.pids"),
        ({"resources": Resources(disk=MIB)}, "resources.disk"),
        ({"resources": Resources(cpus=0.5)}, "resources.cpus"),
        ({"resources": Resources(memory=8 * MIB)}, "resources.memory"),
    ],
)
def test_what_it_cannot_honour_is_refused_by_name(fields: dict[str, object], key: str) -> None:
    (reason,) = checks.reasons(spec(**fields))
    assert reason.startswith(f"{key}: ")


@pytest.mark.parametrize("names", [["data", "data"], ["envup-data"]])
def test_disks_whose_names_cannot_be_told_apart_are_refused(names: list[str]) -> None:
    options = {"kvm": {"disks": [{"name": name, "size": "1GiB"} for name in names]}}
    (reason,) = checks.reasons(spec(options=options))
    assert reason.startswith("kvm.disks: ")


@pytest.mark.parametrize(
    ("text", "size"), [("512B", 512), ("1kB", 1000), ("1.5 GB", 1_500_000_000), ("2MiB", 2 << 20), ("1TiB", 1 << 40)]
)
def test_a_disk_has_the_size_that_its_unit_says(text: str, size: int) -> None:
    assert extra_disks.size(text) == size


def test_an_ordinary_machine_is_not_refused() -> None:
    assert checks.reasons(spec(resources=Resources(cpus=2, memory=512 * MIB))) == []
