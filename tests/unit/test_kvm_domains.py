"""The description of a domain: what libvirt's schemas say of it, and what is read back from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from envup.model import ImageReference, MachineSpec, Mount, Port, Resources
from envup_kvm import checks, domains
from envup_kvm.kits import Kit

SCHEMA = "/usr/share/libvirt/schemas/domain.rng"
LABELS = {"envup.environment": "abc", "envup.machine": "web", "envup.project": "/a <b> & c"}
MIB = 1 << 20


def parts(*, accelerated: bool = False) -> domains.Parts:
    kit = Kit(Path("/kit/kernel"), Path("/kit/initrd"), Path("/kit/kit.img"))
    return domains.Parts(
        name=domains.name(LABELS),
        uuid="0123456789abcdef0123456789abcdef",
        labels=LABELS,
        directory=Path("/data/machines/abc.web"),
        accelerated=accelerated,
        kit=kit,
        root=Path("/data/machines/abc.web/disk.qcow2"),
        base=Path("/data/images/1.ext4"),
        facts=Path("/run/facts.tar"),
        console=Path("/data/console.log"),
        port=Path("/run/port"),
    )


def spec(**fields: object) -> MachineSpec:
    return MachineSpec(name="web", image=ImageReference("tarball"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("accelerated", [False, True])
def test_libvirts_schema_holds(tmp_path: Path, accelerated: bool) -> None:
    file = tmp_path / "domain.xml"
    limits = Resources(cpus=2, memory=700 * MIB)
    file.write_text(domains.describe(spec(resources=limits), parts(accelerated=accelerated)))
    done = subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_labels_come_back() -> None:
    assert domains.labels_of(domains.describe(spec(), parts())) == (LABELS, "/data/machines/abc.web")


def test_a_domain_of_somebody_else_has_none() -> None:
    assert domains.labels_of("<domain><name>envup-x</name></domain>") is None


def test_a_machine_has_what_its_limits_say() -> None:
    text = domains.describe(spec(resources=Resources(cpus=3, memory=256 * MIB)), parts())
    assert "<vcpu>3</vcpu>" in text
    assert f'<memory unit="KiB">{256 << 10}</memory>' in text


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"ports": (Port(80, 8080),)}, "ports"),
        ({"mounts": (Mount(Path("/"), "/x"),)}, "mounts"),
        ({"peers": ("db",)}, "peers"),
        ({"hostname": "h" * 65}, "hostname"),
        ({"environment": {"ZERO": "\0"}}, "environment.ZERO"),
        ({"resources": Resources(pids=5)}, "resources.pids"),
        ({"resources": Resources(disk=1 << 30)}, "resources.disk"),
        ({"resources": Resources(cpus=0.5)}, "resources.cpus"),
        ({"resources": Resources(memory=8 * MIB)}, "resources.memory"),
    ],
)
def test_what_it_cannot_honour_is_refused_by_name(fields: dict[str, object], key: str) -> None:
    (reason,) = checks.reasons(spec(**fields))
    assert reason.startswith(f"{key}: ")


def test_an_ordinary_machine_is_not_refused() -> None:
    assert checks.reasons(spec(resources=Resources(cpus=2, memory=512 * MIB))) == []
