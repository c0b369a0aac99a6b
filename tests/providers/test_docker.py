"""What only the Docker provider has: options, containers made again, volumes, networks, engines that go away."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from docker_engines import Forwarder, busybox, imported

from envup.errors import EnvupError
from envup.image import Image
from envup.provider import Command, Instance, MachineSpec, Port, Resources
from envup.testing.subject import ENVIRONMENT, Subject
from envup.value import replace
from envup_docker import containers, endpoint
from envup_docker.engine import Engine, EngineError

PROVIDER = "docker"
MIB = 1 << 20


@pytest.fixture(scope="module")
def engine(subject: Subject) -> Engine:
    """This host's engine."""
    return Engine(endpoint.find(os.environ))


@pytest.fixture(scope="module")
def small(engine: Engine) -> Iterator[Image]:
    """An image of busybox alone, which declares a variable, a volume, an account and a program."""
    with imported(engine, busybox(shell=True)) as name, contextlib.ExitStack() as stack:
        config = {
            "Env": ["FROM_IMAGE=image", "PATH=/bin"],
            "Volumes": {"/data": {}},
            "User": "4321",
            "WorkingDir": "/srv",
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["pwd; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"],
        }
        container = engine.call("POST", "/containers/create", body={"Image": name, "Cmd": ["x"]})["Id"]
        stack.callback(containers.remove, engine, container)
        query = {"container": container, "repo": name.partition(":")[0], "tag": "configured"}
        digest = engine.call("POST", "/commit", query=query, body=config)["Id"]
        stack.callback(engine.call, "DELETE", f"/images/{digest}", query={"force": True})
        yield Image(digest, None, "amd64", {"FROM_IMAGE": "image", "PATH": "/bin"})


@pytest.fixture(autouse=True)
def check_nothing_is_left(engine: Engine) -> Iterator[None]:
    """Containers, networks, nameless volumes and committed images of these machines are gone afterwards."""
    before = left_overs(engine)
    yield
    assert left_overs(engine) == before


def left_overs(engine: Engine) -> dict[str, set[str]]:
    label = f"envup.environment={ENVIRONMENT}"
    return {
        "containers": {one["Id"] for one in containers.listed(engine, label)},
        "networks": {one["Id"] for one in engine.call("GET", "/networks", query={"filters": {"label": [label]}})},
        "volumes": {one["Name"] for one in engine.call("GET", "/volumes")["Volumes"] or ()},
        "images": {
            one["Id"] for one in engine.call("GET", "/images/json", query={"all": True, "filters": {"label": [label]}})
        },
    }


def inspected(engine: Engine, name: str) -> Any:
    return engine.call("GET", f"/containers/envup-{ENVIRONMENT}-{name}/json")


def with_image(spec: MachineSpec, image: Image) -> MachineSpec:
    """The declaration as the core gives it, with the variables of the image."""
    return replace(spec, environment={**image.environment, **spec.environment})


def restarted(subject: Subject, instance: Instance, spec: MachineSpec) -> Instance:
    subject.provider.stop(instance, grace=0)
    started: Instance = subject.provider.start(instance, spec)
    return started


def test_options_arrive(subject: Subject, engine: Engine) -> None:
    options = {
        "shm_size": "32MiB",
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["MKNOD"],
        "devices": ["/dev/fuse", "/dev/null:/dev/nothing:r"],
        "device_cgroup_rules": ["c 1:3 mr"],
        "tmpfs": {"/scratch": "size=1m"},
        "ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": 0},
        "sysctls": {"net.ipv4.ip_unprivileged_port_start": 80},
        "dns": ["192.0.2.1"],
        "dns_search": ["example.test"],
        "extra_hosts": ["far:192.0.2.2"],
        "security_opt": ["no-new-privileges"],
        "group_add": ["27"],
        "ipc": "shareable",
        "init": True,
        "logging": {"driver": "json-file", "options": {"max-file": 2}},
        "labels": {"who": "me", "yes": True},
    }
    with subject.running(subject.spec("options", options=options)) as instance:
        found = inspected(engine, "options")
        host = found["HostConfig"]
        assert subject.shell(instance, "df -k /dev/shm | tail -n 1 | awk '{print $2}'") == str(32 << 10)
        assert (host["CapAdd"], host["CapDrop"]) == (["NET_ADMIN"], ["MKNOD"])
        assert subject.shell(instance, "test -c /dev/fuse && test -c /dev/nothing && echo yes") == "yes"
        assert host["DeviceCgroupRules"] == ["c 1:3 mr"]
        assert subject.shell(instance, "df -k /scratch | tail -n 1 | awk '{print $2}'") == "1024"
        # That of the first program: runc before 1.1.13 races with its own runtime for the soft limit of others.
        limits = subject.shell(instance, "cat /proc/1/limits").splitlines()
        assert ["100", "200"] in [line.split()[3:5] for line in limits if line.startswith("Max open files")]
        assert subject.shell(instance, "ulimit -Hn; ulimit -c") == "200\n0"
        assert subject.shell(instance, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "80"
        assert {"nameserver 192.0.2.1", "search example.test"} <= set(
            subject.shell(instance, "cat /etc/resolv.conf").splitlines()
        )
        assert "192.0.2.2" in subject.shell(instance, "getent hosts far")
        assert "NoNewPrivs:\t1" in subject.shell(instance, "cat /proc/1/status")
        assert host["GroupAdd"] == ["27"]
        assert (host["IpcMode"], host["Init"]) == ("shareable", True)
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "2"}}
        assert (found["Config"]["Labels"]["who"], found["Config"]["Labels"]["yes"]) == ("me", "true")


def test_a_read_only_machine_is_not_written(subject: Subject) -> None:
    with subject.running(subject.spec("fixed", options={"read_only": True})) as instance:
        assert b"Read-only" in subject.run(instance, "sh", "-c", "touch /x").stderr


def test_privileges_runtimes_and_gpus_are_asked_for(subject: Subject, engine: Engine) -> None:
    for options, field, value in (
        ({"privileged": True}, "Privileged", True),
        ({"runtime": "runc"}, "Runtime", "runc"),
        ({"gpus": 2}, "DeviceRequests", 2),
        ({"userns_mode": "host"}, "UsernsMode", "host"),
        ({"pid": "host"}, "PidMode", "host"),
    ):
        instance = subject.create(subject.spec("asking", options=options))
        found = inspected(engine, "asking")["HostConfig"][field]
        subject.provider.destroy(instance)
        assert (found[0]["Count"] if field == "DeviceRequests" else found) == value


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_machine_may_use_the_hosts_network_or_none(subject: Subject, network: str) -> None:
    with subject.running(subject.spec("wired", options={"network": network}, hostname="own")) as instance:
        seen = set(subject.shell(instance, "ls /sys/class/net").split())
        assert seen == ({"lo"} if network == "none" else {path.name for path in Path("/sys/class/net").iterdir()})
        assert subject.shell(instance, "hostname") == "own"


def test_what_was_written_is_kept_when_the_declaration_changes(subject: Subject, tmp_path: Path) -> None:
    spec = subject.spec("kept", environment={"GONE": "1", "CHANGED": "old"})
    (tmp_path / "file").write_text("seen")
    with subject.running(spec) as instance:
        subject.shell(instance, "echo precious > /srv/note")
        changed = replace(spec, environment={"CHANGED": "new"}, hostname="other", ports=(Port(80, 0),))
        again = restarted(subject, instance, changed)
        assert (again.id, again.labels) == (instance.id, instance.labels)
        assert subject.shell(again, "cat /srv/note; hostname; echo $CHANGED ${GONE-unset}") == (
            "precious\nother\nnew unset"
        )
        assert again.ports[0].host_port
        third = restarted(subject, again, replace(changed, environment={"CHANGED": "third"}, ports=()))
        assert subject.shell(third, "cat /srv/note; echo $CHANGED") == "precious\nthird"
        assert not third.ports


def test_a_declaration_that_has_not_changed_keeps_the_container(subject: Subject, engine: Engine, small: Image) -> None:
    spec = subject.spec("same", environment={"PATH": "/bin", "OWN": "1"})
    with subject.running(with_image(spec, small), image=small) as instance:
        before = inspected(engine, "same")["Id"]
        restarted(subject, instance, with_image(spec, small))
        assert inspected(engine, "same")["Id"] == before


def test_a_start_that_somebody_asked_for_before_does_not_hide_a_change(subject: Subject) -> None:
    spec = subject.spec("late", environment={"ROUND": "1"})
    instance = subject.create(spec)
    try:
        subject.provider.start(instance, spec)
        started = subject.provider.start(instance, replace(spec, environment={"ROUND": "2"}))
        assert subject.shell(started, "echo $ROUND") == "2"
    finally:
        subject.provider.destroy(instance)


def test_variables_of_the_image_come_back_when_they_are_declared_no_more(subject: Subject, small: Image) -> None:
    spec = subject.spec("variables", environment={"FROM_IMAGE": "mine", "OWN": "1"})
    with subject.running(with_image(spec, small), image=small) as instance:
        assert subject.shell(instance, "echo $FROM_IMAGE $OWN") == "mine 1"
        again = restarted(subject, instance, with_image(replace(spec, environment={}), small))
        assert subject.shell(again, "echo $FROM_IMAGE ${OWN-unset}") == "image unset"


def test_the_images_own_program_runs_as_the_image_says(subject: Subject, engine: Engine, small: Image) -> None:
    spec = subject.spec("own", options={"command": "image"})
    with subject.running(spec, image=small) as instance:
        assert subject.shell(instance, "grep Uid /proc/1/status").split()[1] == "4321"
        assert subject.run(instance, "sh", "-c", "exit 3").returncode == 3
        assert inspected(engine, "own")["Config"]["Cmd"][0].startswith("pwd")


def test_the_first_program_may_change(subject: Subject, engine: Engine, small: Image) -> None:
    spec = subject.spec("first")
    with subject.running(with_image(spec, small), image=small) as instance:
        assert subject.shell(instance, "grep Uid /proc/1/status").split()[1] == "0"
        again = restarted(subject, instance, with_image(subject.spec("first", options={"command": "image"}), small))
        config = inspected(engine, "first")["Config"]
        assert (config["User"], config["WorkingDir"], config["Entrypoint"]) == ("4321", "/srv", ["/bin/sh", "-c"])
        assert subject.shell(again, "grep Uid /proc/1/status").split()[1] == "4321"
        third = restarted(
            subject, again, with_image(subject.spec("first", options={"command": ["/bin/sleep", "1000"]}), small)
        )
        assert subject.shell(third, "cat /proc/1/cmdline | tr '\\0' ' '") == "/bin/sleep 1000 "


def test_an_image_without_a_shell_is_refused_with_a_way_out(subject: Subject, engine: Engine) -> None:
    with imported(engine, busybox(shell=False)) as name:
        bare = Image(engine.call("GET", f"/images/{name}/json")["Id"], None)
        with pytest.raises(EnvupError) as caught, subject.running(subject.spec("bare"), image=bare):
            pass
        assert "command: image" in (caught.value.hint or "")
        own = subject.spec("bare", options={"command": ["/busybox", "sleep", "1000"]})
        with subject.running(own, image=bare) as instance:
            assert instance.state == "running"


def test_a_first_program_that_ends_is_told_with_what_it_said(subject: Subject) -> None:
    spec = subject.spec("brief", options={"command": ["/bin/sh", "-c", "echo no luck; exit 1"]})
    with pytest.raises(EnvupError) as caught, subject.running(spec):
        pass
    assert "brief" in caught.value.brief
    assert "no luck" in caught.value.details


def test_a_machine_among_the_processes_of_another_ends_its_own_alone(subject: Subject, engine: Engine) -> None:
    with subject.running(subject.spec("other")) as other:
        subject.shell(other, "sleep 4811 >/dev/null 2>&1 &")
        whose = inspected(engine, "other")["Id"]
        with subject.running(subject.spec("among", options={"pid": f"container:{whose}"})) as instance:
            subject.shell(instance, "sleep 4812 >/dev/null 2>&1 &")
            seen = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
            assert {"4811", "4812"} <= set(subject.shell(instance, seen).split())
            subject.provider.stop(instance, grace=20)
            left = subject.shell(other, seen).split()
            assert ("4811" in left, "4812" in left) == (True, False)


def test_nameless_volumes_live_as_long_as_the_machine(subject: Subject, engine: Engine, small: Image) -> None:
    spec = subject.spec("volumes")
    with subject.running(with_image(spec, small), image=small) as instance:
        subject.shell(instance, "echo precious > /data/note")
        for value in ("1", "2"):
            instance = restarted(subject, instance, with_image(replace(spec, environment={"OTHER": value}), small))
            assert subject.shell(instance, "cat /data/note") == "precious"
        assert len(inspected(engine, "volumes")["Mounts"]) == 1


def test_named_volumes_outlive_the_machine(subject: Subject, engine: Engine) -> None:
    volume = f"{ENVIRONMENT}-cache"
    spec = subject.spec("cached", options={"volumes": {volume: "/cache"}})
    try:
        with subject.running(spec) as instance:
            subject.shell(instance, "echo kept > /cache/note")
        reading = subject.spec("cached", options={"volumes": {volume: "/elsewhere:ro"}})
        with subject.running(reading) as instance:
            assert subject.shell(instance, "cat /elsewhere/note") == "kept"
            assert b"Read-only" in subject.run(instance, "sh", "-c", "echo > /elsewhere/x").stderr
    finally:
        engine.call("DELETE", f"/volumes/{volume}")


class Died(BaseException):
    """Ends a command as a kill does: nothing handles it."""


class Dying(Engine):
    """An engine whose caller dies before its `left`th change."""

    def __init__(self, where: endpoint.Endpoint, left: int) -> None:
        super().__init__(where)
        self._changes_left = left

    def call(self, method: str, path: str, **how: Any) -> Any:
        if method != "GET":
            self._changes_left -= 1
            if self._changes_left < 0:
                raise Died
        return super().call(method, path, **how)


@pytest.mark.parametrize("changes", range(8))
@pytest.mark.parametrize("again", [True, False])
def test_a_command_that_dies_while_a_machine_is_made_again_loses_nothing(
    subject: Subject, small: Image, changes: int, again: bool
) -> None:
    spec = with_image(subject.spec("fragile", environment={"ROUND": "1"}), small)
    changed = replace(spec, environment={**spec.environment, "ROUND": "2"})
    with subject.running(spec, image=small) as instance:
        subject.shell(instance, "echo precious > /srv/note; echo volume > /data/note")
        subject.provider.stop(instance, grace=0)
        dying: Any = subject.again()
        dying._engine = Dying(endpoint.find(os.environ), changes)
        with contextlib.suppress(Died):
            dying.start(instance, changed)
        (found,) = subject.observed()
        assert found.id == instance.id
        subject.provider.stop(found, grace=0)
        assert subject.state("fragile") == "stopped"
        started = subject.provider.start(found, changed if again else spec)
        said = subject.shell(started, "cat /srv/note /data/note; echo $ROUND")
        assert said == f"precious\nvolume\n{2 if again else 1}"


def test_a_machine_that_died_half_remade_is_destroyed_wholly(subject: Subject, small: Image) -> None:
    spec = with_image(subject.spec("fragile", environment={"ROUND": "1"}), small)
    for changes in range(6):
        instance = subject.create(spec, image=small)
        subject.provider.start(instance, spec)
        subject.provider.stop(instance, grace=0)
        dying: Any = subject.again()
        dying._engine = Dying(endpoint.find(os.environ), changes)
        with contextlib.suppress(Died):
            dying.start(instance, replace(spec, environment={**spec.environment, "ROUND": "2"}))
        subject.provider.destroy(instance)
        assert subject.state("fragile") == "absent"


def test_limits_change_on_a_stopped_machine_and_are_lifted(subject: Subject, engine: Engine) -> None:
    limited = Resources(cpus=0.5, memory=64 * MIB, pids=50)
    spec = subject.spec("limits", resources=limited)
    with subject.running(spec) as instance:
        before = inspected(engine, "limits")
        again = restarted(subject, instance, replace(spec, resources=Resources(memory=96 * MIB)))
        after = inspected(engine, "limits")
        assert after["Id"] == before["Id"]
        assert after["HostConfig"]["Memory"] == 96 * MIB
        assert after["HostConfig"]["CpuQuota"] <= 0
        assert after["HostConfig"]["PidsLimit"] <= 0
        subject.provider.resize(again, replace(spec, resources=Resources()))
        subject.provider.resize(again, replace(spec, resources=limited))
        assert inspected(engine, "limits")["HostConfig"]["Memory"] == 64 * MIB


def test_a_machine_that_got_peers_later_is_found_by_them(subject: Subject) -> None:
    alone = subject.spec("early", hostname="early-host")
    with subject.running(alone) as early:
        late = subject.spec("late", peers=("early",))
        with subject.running(late) as second:
            assert subject.shell(second, "getent hosts early && getent hosts early-host")
            assert subject.shell(early, "getent hosts late")


def networks(engine: Engine) -> list[str]:
    return [one["Name"] for one in engine.call("GET", "/networks") if ENVIRONMENT in one["Name"]]


def test_the_network_goes_with_the_last_machine(subject: Subject, engine: Engine) -> None:
    names = ("one", "two", "three")
    made = []
    for name in names:
        spec = subject.spec(name, peers=tuple(other for other in names if other != name))
        made.append(subject.provider.start(subject.create(spec), spec))
    assert networks(engine) == [f"envup-{ENVIRONMENT}"]
    subject.provider.destroy(made.pop())
    assert networks(engine) == [f"envup-{ENVIRONMENT}"]
    threads = [threading.Thread(target=subject.again().destroy, args=(instance,)) for instance in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert networks(engine) == []


def test_a_machine_is_found_again_after_its_network_was_removed_behind_our_back(
    subject: Subject, engine: Engine
) -> None:
    one, two = subject.spec("one", peers=("two",)), subject.spec("two", peers=("one",))
    with subject.running(one) as first, subject.running(two) as second:
        for instance in (first, second):
            subject.provider.stop(instance, grace=0)
        engine.call("DELETE", f"/networks/envup-{ENVIRONMENT}")
        for instance, spec in ((first, one), (second, replace(two, environment={"OTHER": "1"}))):
            subject.provider.start(instance, spec)
        assert subject.shell(first, "getent hosts two")
        assert subject.shell(second, "getent hosts one")


def test_somebody_elses_container_in_the_network_is_no_obstacle(subject: Subject, engine: Engine) -> None:
    network = f"envup-{ENVIRONMENT}"
    with subject.running(subject.spec("one", peers=("two",))) as instance:
        image = inspected(engine, "one")["Image"]
        body = {"Image": image, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": network}}
        guest = engine.call("POST", "/containers/create", body=body)["Id"]
        try:
            engine.call("POST", f"/containers/{guest}/start")
            subject.provider.destroy(instance)
            assert subject.state("one") == "absent"
            assert networks(engine) == [network]
        finally:
            containers.remove(engine, guest)
            engine.call("DELETE", f"/networks/{network}")


def test_a_name_that_is_taken_by_a_foreign_container_is_told(subject: Subject, engine: Engine, small: Image) -> None:
    called = f"envup-{ENVIRONMENT}-taken"
    engine.call("POST", "/containers/create", query={"name": called}, body={"Image": small.digest})
    try:
        with pytest.raises(EnvupError, match="taken") as caught:
            subject.create(subject.spec("taken"), image=small)
        assert called in (caught.value.hint or "")
        assert subject.state("taken") == "absent"
    finally:
        containers.remove(engine, called)


def test_what_happens_behind_our_back_is_seen(subject: Subject, engine: Engine) -> None:
    spec = subject.spec("watched")
    with subject.running(spec) as instance:
        called = containers.name(instance.labels)
        engine.call("POST", f"/containers/{called}/pause")
        assert subject.state("watched") == "suspended"
        engine.call("POST", f"/containers/{called}/unpause")
        engine.call("POST", f"/containers/{called}/kill")
        assert subject.state("watched") == "stopped"
        subject.provider.start(instance, spec)
        containers.remove(engine, called)
        assert subject.state("watched") == "absent"
        with pytest.raises(EnvupError, match="does not exist"):
            subject.provider.start(instance, spec)


def test_a_machine_that_somebody_renamed_is_worked_with_and_gets_its_name_back(
    subject: Subject, engine: Engine
) -> None:
    spec = subject.spec("renamed")
    with subject.running(spec) as instance:
        called, other = containers.name(instance.labels), f"other-{ENVIRONMENT}"
        engine.call("POST", f"/containers/{called}/rename", query={"name": other})
        provider: Any = subject.again()
        (found,) = provider.observe(ENVIRONMENT)
        assert (found.id, found.state) == (instance.id, "running")
        host = provider.command(found, Command(("true",)))
        assert subprocess.run(host.argv, env={**os.environ, **host.environment}).returncode == 0
        provider.suspend(found)
        provider.resume(found)
        provider.resize(found, replace(spec, resources=Resources(memory=64 * MIB)))
        provider.stop(found, grace=0)
        assert engine.call("GET", f"/containers/{other}/json")["State"]["Running"] is False
        provider.start(found, spec)
        assert inspected(engine, "renamed")["State"]["Running"]
        assert subject.shell(found, "echo here") == "here"


def test_the_network_goes_with_a_last_machine_that_was_renamed(subject: Subject, engine: Engine) -> None:
    with subject.running(subject.spec("one", peers=("two",))) as instance:
        called = containers.name(instance.labels)
        engine.call("POST", f"/containers/{called}/rename", query={"name": f"other-{ENVIRONMENT}"})
    assert subject.state("one") == "absent"
    assert networks(engine) == []


def test_an_engine_that_goes_away_is_an_error_and_the_next_command_goes_on(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = subject.spec("restart")
    forwarder = Forwarder(tmp_path / "socket")
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", forwarder.address)
        cut: Any = subject.again()
        instance = cut.create(spec, subject.image, subject.labels("restart"))
        forwarder.close()
        with pytest.raises(EnvupError) as caught:
            cut.start(instance, spec)
        assert forwarder.address in caught.value.brief + (caught.value.details or "")
    started = subject.provider.start(instance, spec)
    assert started.state == "running"
    subject.provider.destroy(started)


def test_observe_is_one_question(subject: Subject, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = Engine.stream

    def noted(self: Engine, method: str, path: str, **how: Any) -> Any:
        asked.append(path)
        return ask(self, method, path, **how)

    with contextlib.ExitStack() as stack:
        for name in ("a", "b", "c"):
            instance = subject.create(subject.spec(name))
            stack.callback(subject.provider.destroy, instance)
        provider = subject.again()
        monkeypatch.setattr(Engine, "stream", noted)
        assert [one.machine for one in provider.observe(ENVIRONMENT)] == ["a", "b", "c"]
        assert asked == ["/containers/json"]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"resources": Resources(disk=64 * MIB)}, "resources.disk"),
        ({"resources": Resources(memory=MIB)}, "resources.memory"),
        ({"ports": (Port(80, 0),), "options": {"network": "none"}}, "ports"),
        ({"options": {"network": "bridge", "network_aliases": ["x"]}}, "network_aliases"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_before(subject: Subject, fields: Mapping[str, Any], key: str) -> None:
    (reason,) = subject.provider.check(subject.spec("refused", **fields))
    assert key in reason


def test_a_setting_that_the_engine_refuses_is_told_and_keeps_the_machine(subject: Subject, engine: Engine) -> None:
    spec = subject.spec("wrong")
    with subject.running(spec) as instance:
        subject.shell(instance, "echo precious > /srv/note")
        subject.provider.stop(instance, grace=0)
        with pytest.raises(EnvupError, match="cannot start"):
            subject.provider.start(instance, subject.spec("wrong", options={"cap_add": ["NO_SUCH"]}))
        with pytest.raises(EngineError):
            engine.call("GET", f"/containers/{containers.name(instance.labels)}.next/json")
        assert subject.shell(subject.provider.start(instance, spec), "cat /srv/note") == "precious"


def test_a_host_port_that_is_taken_is_told_with_what_to_do(subject: Subject) -> None:
    """By a program of the host, and by another machine."""

    def refused(port: int) -> None:
        spec = subject.spec("second", ports=(Port(80, port, "127.0.0.1"),))
        brief = rf"127\.0\.0\.1:{port}/tcp to machine 'second': it is taken"
        with pytest.raises(EnvupError, match=brief) as caught, subject.running(spec):
            pass
        assert f"ss -ltnp 'sport = :{port}'" in caught.value.hint
        assert caught.value.details

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused(listener.getsockname()[1])
    with subject.running(subject.spec("first", ports=(Port(80, 0, "127.0.0.1"),))) as first:
        refused(first.ports[0].host_port)
