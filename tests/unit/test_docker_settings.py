"""A machine's declaration as an engine takes it, and the engine's containers as machines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envup.model import ImageReference
from envup.provider import MachineSpec, Mount, Port, Resources
from envup_docker import checks, containers, limits, obtaining, settings

GIB = 1 << 30


def spec(**fields: Any) -> MachineSpec:
    options = {"docker": fields.pop("options", {})}
    fields.setdefault("image", ImageReference("tarball"))
    return MachineSpec(name="web", provider="docker", options=options, **fields)


def container(**fields: Any) -> Any:
    return settings.container(spec(**fields), "env")


def test_the_small_init_runs_as_root_whatever_the_image_says() -> None:
    body = container()
    assert body["Entrypoint"][:2] == ["/bin/sh", "-c"]
    assert (body["User"], body["WorkingDir"], body["Tty"]) == ("0:0", "/", True)


@pytest.mark.parametrize("whose", ["host", "container:other"])
def test_an_init_that_sees_processes_of_others_ends_none(whose: str) -> None:
    assert "kill" not in container(options={"pid": whose})["Entrypoint"][2]
    assert "kill" in container()["Entrypoint"][2]


def test_the_images_own_command_is_left_to_the_image() -> None:
    assert not {"Entrypoint", "Cmd", "User", "WorkingDir", "Tty"} & container(options={"command": "image"}).keys()
    assert container(options={"command": ["a", "b"]})["Entrypoint"] == ["a", "b"]


def test_ports_are_published_where_they_were_asked_for() -> None:
    ports = (Port(80, 8080, "127.0.0.1"), Port(80, 0), Port(53, 53, None, "udp"))
    assert container(ports=ports)["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "", "HostPort": ""}],
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
    }


def test_mounts_and_volumes_are_made_of_paths() -> None:
    body = container(
        mounts=(Mount(Path("/a:b"), "/in", read_only=True),), options={"volumes": {"cache": "/c:ro", "data": "/d"}}
    )
    assert [(one["Type"], one["Source"], one["Target"], one["ReadOnly"]) for one in body["HostConfig"]["Mounts"]] == [
        ("bind", "/a:b", "/in", True),
        ("volume", "cache", "/c", True),
        ("volume", "data", "/d", False),
    ]


def test_a_machine_alone_is_on_the_bridge_and_one_with_peers_in_their_network() -> None:
    assert container()["HostConfig"]["NetworkMode"] == "bridge"
    body = container(peers=("db",), hostname="www", options={"network_aliases": ["site"]})
    assert body["HostConfig"]["NetworkMode"] == "envup-env"
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"envup-env": {"Aliases": ["web", "www", "site"]}}
    assert "NetworkingConfig" not in container(peers=("db",), options={"network": "host"})


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"shm_size": "1.5GiB"}, "ShmSize", GIB * 3 // 2),
        ({"devices": ["/dev/a", "/dev/b:/dev/c:r"]}, "Devices", [
            {"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rwm"},
            {"PathOnHost": "/dev/b", "PathInContainer": "/dev/c", "CgroupPermissions": "r"},
        ]),
        ({"ulimits": {"core": 0}}, "Ulimits", [{"Name": "core", "Soft": 0, "Hard": 0}]),
        ({"sysctls": {"a.b": True}}, "Sysctls", {"a.b": "true"}),
        ({"logging": {"driver": "none"}}, "LogConfig", {"Type": "none", "Config": {}}),
        ({"cap_add": ["ALL"]}, "CapAdd", ["ALL"]),
    ],
)  # fmt: skip
def test_options_become_settings(options: dict[str, Any], field: str, value: object) -> None:
    assert container(options=options)["HostConfig"][field] == value


@pytest.mark.parametrize(
    ("gpus", "expected"), [("all", {"Count": -1}), (2, {"Count": 2}), (["x"], {"DeviceIDs": ["x"]})]
)
def test_gpus_are_asked_for_by_number_or_name(gpus: object, expected: dict[str, object]) -> None:
    (request,) = container(options={"gpus": gpus})["HostConfig"]["DeviceRequests"]
    assert expected.items() <= request.items()


@pytest.mark.parametrize(
    ("text", "amount"), [("64MiB", 64 << 20), ("64m", 64_000_000), ("1.5 GiB", None), ("12", 12), ("1Gi", GIB)]
)
def test_sizes_have_units(text: str, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(ValueError, match="size"):
            settings.amount(text)
    else:
        assert settings.amount(text) == amount


def test_limits_are_part_of_no_configuration_and_the_disk_is() -> None:
    plain = settings.digest(container())
    assert settings.digest(container(resources=Resources(cpus=2, memory=GIB, pids=9))) == plain
    assert settings.digest(container(resources=Resources(disk=GIB))) != plain


def test_limits_that_are_not_declared_are_lifted() -> None:
    assert limits.declared(Resources()) == {}
    assert limits.declared(Resources(memory=GIB)) == {"Memory": GIB, "MemorySwap": GIB}
    whole = limits.whole(Resources())
    assert (whole["CpuQuota"], whole["PidsLimit"]) == (-1, -1)
    assert whole["Memory"] == whole["MemorySwap"] == limits.UNLIMITED_MEMORY
    assert limits.of(whole) == {}


@pytest.mark.parametrize("resources", [Resources(cpus=0.5), Resources(memory=GIB, pids=7), Resources(cpus=3, pids=1)])
def test_limits_of_a_container_are_recognised(resources: Resources) -> None:
    assert limits.of(limits.whole(resources)) == limits.declared(resources) == limits.of(limits.declared(resources))


def one(name: str, state: str, **labels: str) -> dict[str, Any]:
    own = {"envup.environment": "env", "envup.machine": "web", "envup.instance": "id", **labels}
    return {"Id": name, "Names": [f"/{name}"], "State": state, "Labels": own, "Ports": []}


@pytest.mark.parametrize(
    ("engines", "state"),
    [
        ("created", "created"), ("running", "running"), ("restarting", "running"), ("paused", "suspended"),
        ("exited", "stopped"), ("dead", "broken"), ("removing", "broken"),
    ],
)  # fmt: skip
def test_states_are_those_of_machines(engines: str, state: str) -> None:
    (instance,) = containers.seen([one("envup-env-web", engines)])
    assert (instance.id, instance.state, bool(instance.reason)) == ("id", state, state == "broken")
    assert instance.labels == {"envup.environment": "env", "envup.machine": "web"}


def test_of_two_containers_of_a_machine_the_plain_one_counts() -> None:
    plain, following = one("envup-env-web", "exited"), one("envup-env-web.next", "created", **{"envup.started": "1"})
    for order in ([plain, following], [following, plain]):
        assert [instance.state for instance in containers.seen(order)] == ["stopped"]
    assert [instance.state for instance in containers.seen([following])] == ["stopped"]


def test_a_port_on_every_address_is_told_once() -> None:
    found = one("envup-env-web", "running")
    found["Ports"] = [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 53, "PublicPort": 5353, "Type": "udp"},
        {"PrivatePort": 99, "Type": "tcp"},
    ]
    (instance,) = containers.seen([found])
    assert set(instance.ports) == {Port(80, 8080), Port(53, 5353, "127.0.0.1", "udp")}


def test_what_is_not_ours_is_not_seen() -> None:
    assert (
        containers.seen([{"Id": "x", "Names": ["/x"], "State": "running", "Labels": {"envup.environment": "e"}}]) == []
    )


ABLE = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True, "Driver": "overlay2"}


def reasons(*, is_local: bool = True, info: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    engine: Any = SimpleNamespace(where="tcp://far:2375", is_local=is_local, info=ABLE | (info or {}))
    return checks.reasons(spec(**fields), engine)


@pytest.mark.parametrize(
    ("fields", "key", "remedy"),
    [
        ({"image": ImageReference("host")}, "image", "chroot"),
        ({"image": ImageReference("disk")}, "image", "kvm"),
        ({"resources": Resources(memory=1 << 20)}, "resources.memory", "6MiB"),
        ({"resources": Resources(pids=5), "info": {"PidsLimit": False}}, "resources.pids", "delegation"),
        ({"resources": Resources(disk=GIB)}, "resources.disk", "pquota"),
        ({"mounts": (Mount(Path("/"), "/x"),), "is_local": False}, "mounts", "copy"),
        ({"mounts": (Mount(Path("/does/not/exist"), "/x"),)}, "mounts", "leave the mount out"),
        ({"mounts": (Mount(Path("/"), "/proc/x"),)}, "mounts", "another target"),
        ({"ports": (Port(1, 0),), "options": {"network": "host"}}, "ports", "leave"),
        ({"hostname": "x" * 65}, "hostname", "64"),
        ({"environment": {"A": "\0"}}, "environment.A", "zero"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_a_way_out(fields: dict[str, Any], key: str, remedy: str) -> None:
    (reason,) = reasons(**fields)
    assert reason.startswith(key)
    assert remedy in reason


@pytest.mark.parametrize(
    "info", [{"Driver": "btrfs"}, {"DriverStatus": [["Backing Filesystem", "xfs"]]}], ids=["btrfs", "xfs"]
)
def test_a_disk_limit_is_taken_where_the_storage_can(info: dict[str, Any]) -> None:
    assert reasons(resources=Resources(disk=GIB), info=info) == []


def test_an_engine_is_not_asked_for_what_is_not_wanted() -> None:
    class Silent:
        is_local = True

        @property
        def info(self) -> Any:
            raise AssertionError

    engine: Any = Silent()
    assert checks.reasons(spec(), engine) == []


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("debian", "debian", "latest"),
        ("debian:12", "debian", "12"),
        ("host:5000/a/b", "host:5000/a/b", "latest"),
        ("host:5000/a/b:c", "host:5000/a/b", "c"),
        ("debian:12@sha256:ab", "debian", "sha256:ab"),
        ("host:5000/a@sha256:ab", "host:5000/a", "sha256:ab"),
    ],
)
def test_names_of_images_are_taken_apart(name: str, repository: str, tag: str) -> None:
    assert obtaining.parts(name) == (repository, tag)
