"""What needs consent, by what an Envfile says and by the content of the files that it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_plugins import install, manifest

from envup.envfile.load import load
from envup.home import Home
from envup.plan import Action
from envup.plugins import Host
from envup.state import agreements
from envup.state.agreements import Agreements
from envup.trust import Demand, Trust

Make = Callable[[str], Trust]

HOSTLY = """\
import pluggy
from envup.provisioner import HostCode, Provisioner

class Hostly(Provisioner):
    name = "hostly"

    def host_code(self, step, context):
        return HostCode("runs task.py on this host", (context.directory / "task.py",)) if step.options["task"] else None

    def describe(self, step):
        return "hostly"

    def run(self, step, machine, context):
        pass

@pluggy.HookimplMarker("envup")
def envup_provisioner():
    return Hostly
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "task.py").write_text("print('task')\n")
    (directory / "Dockerfile").write_text("FROM scratch\n")
    return directory


@pytest.fixture
def make(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Gives what an Envfile asks for; answers are kept between two calls."""
    site = tmp_path / "site"
    schema = {**manifest("provisioner"), "properties": {"task": {"type": "string"}}}
    install(site, "hostly", code=HOSTLY, schema=schema)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("ENVUP_HOME", str(tmp_path / "home"))
    home = Home.locate().make()

    def trust(text: str) -> Trust:
        (project / "Envfile").write_text(text)
        plugins = Host(home)
        environment = load(project / "Envfile", plugins)
        return Trust(environment, plugins, Agreements(home.data, project), "salt")

    return trust


def asked(trust: Trust) -> list[str]:
    return [str(demand) for demand in trust.pending(trust.everything())]


def agreed(trust: Trust) -> None:
    trust.agree(trust.everything())


MACHINE = "image: host\nmounts: []\n"


def test_what_stays_within_its_machines_asks_for_nothing(make: Make) -> None:
    text = "image: debian/bookworm\nmounts: ['.:/workspace', './conf:/conf']\nprovision: [shell: 'true']\n"
    assert asked(make(f"{text}docker: {{privileged: false, devices: [], command: image}}\n")) == []


def test_a_mount_that_leads_out_is_asked_for_with_what_it_allows(make: Make, tmp_path: Path) -> None:
    text = f"image: host\nmounts: ['{tmp_path}:/rw', {{from: .., to: /ro, read_only: true}}]\n"
    assert asked(make(text)) == [
        f"default: mounts {tmp_path} at /rw, writable",
        f"default: mounts {tmp_path} at /ro, read-only",
    ]


def test_a_mount_that_becomes_writable_or_moves_is_another(make: Make, tmp_path: Path) -> None:
    text = f"image: host\nmounts: [{{from: '{tmp_path}', to: /x, read_only: true}}]\n"
    agreed(make(text))
    assert asked(make(text)) == []
    for changed in (text.replace("read_only: true", "read_only: false"), text.replace("/x", "/y")):
        assert len(asked(make(changed))) == 1


def test_a_link_is_asked_for_by_where_it_leads(make: Make, project: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    link = project / "link"
    link.symlink_to(tmp_path / "one")
    text = "image: host\nmounts: ['link:/x']\n"
    assert asked(make(text)) == [f"default: mounts {link}, which is {tmp_path}/one, at /x, writable"]
    agreed(make(text))
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert len(asked(make(text))) == 1
    link.unlink()
    link.mkdir()
    assert asked(make(text)) == []


@pytest.mark.parametrize(
    ("provider", "options", "keys"),
    [
        ("docker", {"privileged": True, "init": True}, ["privileged"]),
        ("docker", {"devices": ["/dev/fuse"], "cap_add": ["NET_ADMIN"]}, ["devices", "cap_add"]),
        ("docker", {"gpus": "all", "device_cgroup_rules": ["c 1:3 mr"]}, ["gpus", "device_cgroup_rules"]),
        ("docker", {"network": "host", "pid": "host", "ipc": "host"}, ["network", "pid", "ipc"]),
        ("docker", {"network": "none", "ipc": "private"}, []),
        ("docker", {"network": "container:db", "ipc": "container:db"}, ["network", "ipc"]),
        ("docker", {"userns_mode": "host", "security_opt": ["seccomp=unconfined"]}, ["userns_mode", "security_opt"]),
        ("docker", {"security_opt": ["no-new-privileges"]}, []),
        ("docker", {"security_opt": ["no-new-privileges", "label=disable"]}, ["security_opt"]),
        ("docker", {"security_opt": ["no-new-privileges:false"]}, ["security_opt"]),
        ("lxc", {"network": "host"}, ["network"]),
        ("lxc", {"network": "private", "host_loopback": True}, ["host_loopback"]),
        ("lxc", {"host_loopback": False}, []),
        ("kvm", {"uri": "qemu:///system"}, []),
        ("kvm", {"uri": "qemu+ssh://host/system"}, ["uri"]),
        ("kvm", {"uri": "qemu:///system?command=/tmp/x", "host_loopback": True}, ["uri", "host_loopback"]),
        ("chroot", {"cap_add": ["SYS_ADMIN"]}, ["cap_add"]),
    ],
)
def test_options_that_open_the_host_are_asked_for(
    make: Make, provider: str, options: dict[str, object], keys: list[str]
) -> None:
    text = f"{MACHINE}provider: {provider}\n{provider}: {json.dumps(options)}\n"
    assert sorted(line.split(": ")[1] for line in asked(make(text))) == sorted(f"{provider}.{key}" for key in keys)
    agreed(make(text))
    assert asked(make(text)) == []


def test_an_option_that_changes_is_asked_for_alone(make: Make) -> None:
    text = f"{MACHINE}provider: docker\ndocker: {{privileged: true, devices: [/dev/fuse]}}\n"
    agreed(make(text))
    (line,) = asked(make(text.replace("/dev/fuse", "/dev/kvm, /dev/fuse")))
    assert line == "default: docker.devices: /dev/kvm, /dev/fuse (devices of the host)"


def test_options_of_a_provider_that_is_not_used_are_not_asked_for(make: Make) -> None:
    assert asked(make(f"{MACHINE}provider: chroot\ndocker: {{privileged: true}}\n")) == []
    assert len(asked(make(f"{MACHINE}docker: {{privileged: true}}\n"))) == 1, "auto may be docker"


def test_values_from_outside_are_not_shown_and_their_change_is_seen(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'{MACHINE}provider: docker\ndocker: {{devices: ["${{DEVICE}}"]}}\n'
    monkeypatch.setenv("DEVICE", "/dev/one-of-mine")
    (line,) = asked(make(text))
    assert "***" in line and "one-of-mine" not in line
    agreed(make(text))
    assert asked(make(text)) == []
    monkeypatch.setenv("DEVICE", "/dev/other-of-mine")
    assert len(asked(make(text))) == 1


def test_a_dockerfile_is_asked_for_by_its_content(make: Make, project: Path) -> None:
    text = "image: {dockerfile: Dockerfile, context: .}\nmounts: []\n"
    (line,) = asked(make(text))
    assert line == f"default: builds {project}/Dockerfile in a Docker engine, which is given {project}"
    agreed(make(text))
    (project / "copied").write_text("what the build copies")
    assert asked(make(text)) == []
    (project / "Dockerfile").write_text("FROM scratch\nRUN evil\n")
    assert len(asked(make(text))) == 1
    agreed(make(text))
    (project / ".dockerignore").write_text("copied\n")
    assert len(asked(make(text))) == 1
    agreed(make(text))
    assert len(asked(make(text.replace("context: .", "context: ., args: {A: b}")))) == 1


def test_a_step_that_runs_on_the_host_is_asked_for_by_what_it_runs(make: Make, project: Path) -> None:
    text = f"{MACHINE}provision: [{{name: deploy, hostly: {{task: go}}}}, {{hostly: {{task: ''}}}}]\n"
    assert asked(make(text)) == ["default: step 'deploy' runs task.py on this host"]
    agreed(make(text))
    (project / "task.py").write_text("print('changed')\n")
    assert len(asked(make(text))) == 1
    agreed(make(text))
    assert len(asked(make(text.replace("task: go", "task: other")))) == 1
    assert len(asked(make(text.replace("name: deploy,", "name: deploy, environment: {A: b},")))) == 1


def test_two_machines_are_asked_for_each(make: Make) -> None:
    machines = "machines: {one: {docker: {privileged: true}}, two: {}}\n"
    text = "defaults: {image: host, mounts: [], provider: docker}\n" + machines
    agreed(make(text))
    (line,) = asked(make(text.replace("two: {}", "two: {docker: {privileged: true}}")))
    assert line.startswith("two: ")


@pytest.mark.parametrize(
    ("verb", "kinds"),
    [
        ("image", {"image"}),
        ("create", {"mount", "option"}),
        ("start", {"mount", "option"}),
        ("update", {"mount", "option"}),
        ("provision", {"step"}),
        ("snapshot", {"mount", "option"}),
        ("restore", {"mount", "option"}),
        ("resume", set()),
        ("stop", set()),
        ("destroy", set()),
    ],
)
def test_an_action_needs_consent_for_what_it_carries_out(make: Make, verb: str, kinds: set[str]) -> None:
    text = "image: {dockerfile: Dockerfile, context: .}\nmounts: ['..:/x']\nprovider: docker\n"
    trust = make(f"{text}docker: {{privileged: true}}\nprovision: [hostly: {{task: go}}]\n")
    action = Action(f"default/{verb}", "default", verb, "docker", "", step=0)
    assert {demand.kind for demand in trust.of([action])} == kinds


def test_answers_are_kept_by_directory_apart_from_the_project_and_can_be_taken_back(tmp_path: Path) -> None:
    data, one, two = (tmp_path / name for name in ("data", "one", "two"))
    one.mkdir()
    two.mkdir()
    Agreements(data, one).add(["abc"])
    assert Agreements(data, one).has("abc")
    assert not Agreements(data, two).has("abc")
    assert not Agreements(data, one).has("abd")
    assert not list(one.iterdir())
    assert Agreements(data, one).withdraw() == 1
    assert not Agreements(data, one).has("abc")
    assert Agreements(data, one).withdraw() == 0


def test_answers_are_private_and_go_when_their_directory_is_gone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
        Agreements(tmp_path / "data", directory).add(["abc"])
    (folder, _) = (tmp_path / "data/trust").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    one.rmdir()
    agreements.forget_gone(tmp_path / "data")
    assert len(list((tmp_path / "data/trust").iterdir())) == 1
    assert Agreements(tmp_path / "data", two).has("abc")


def test_a_demand_has_the_documented_fields() -> None:
    demand = Demand("mount", "web", "mounts /x at /y, writable", "abc")
    assert demand.as_json() == {"kind": "mount", "machine": "web", "text": demand.text, "digest": "abc"}
