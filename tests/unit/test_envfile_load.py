"""What an Envfile that holds becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_plugins import install, install_provider, manifest

from envup.envfile import load as loading
from envup.envfile.cache import sweep
from envup.errors import EnvfileError, UsageError
from envup.home import Home
from envup.model import Environment, ImageReference, MachineSpec, Mount, Port, Probe, Resources
from envup.plugins import Host
from envup.project import Project as Opened


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    site = tmp_path / "site"
    install_provider(site, "jail", "filesystem")
    install_provider(site, "box", "container")
    monkeypatch.syspath_prepend(str(site))
    return Host(Home(tmp_path / "data", tmp_path / "cache", tmp_path / "run"))


class Project:
    """A directory with an Envfile, loaded twice: from the text, and from the cache."""

    def __init__(self, directory: Path, host: Host) -> None:
        self.directory, self.host = directory, host
        directory.mkdir()
        self.environ: dict[str, str] = {}

    def load(self, text: str, provider: str | None = None) -> Environment:
        (self.directory / "Envfile").write_text(text)
        first, second = (
            loading.load(self.directory / "Envfile", self.host, environ=self.environ, provider=provider)
            for _ in range(2)
        )
        assert first == second
        return first

    def machine(self, text: str) -> MachineSpec:
        return self.load(text).machines[0]

    def problems(self, text: str) -> list[str]:
        with pytest.raises(EnvfileError) as caught:
            self.load(text)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def project(tmp_path: Path, host: Host) -> Project:
    return Project(tmp_path / "shop", host)


def test_a_file_without_machines_declares_one_named_default(project: Project) -> None:
    environment = project.load("image: debian/bookworm\n")
    (machine,) = environment.machines
    assert (environment.name, environment.directory) == ("shop", project.directory)
    assert (machine.name, machine.hostname, machine.user, machine.provider) == ("default", "default", "root", "auto")
    assert machine.mounts == (Mount(project.directory, "/workspace"),)
    assert machine.resources == Resources()
    assert machine.image.source == "debootstrap"


def test_the_short_form_of_an_image_is_the_long_one(project: Project) -> None:
    short = project.machine("image: debian/bookworm\n").image
    assert short == project.machine("image: {debootstrap: {distribution: debian, suite: bookworm}}\n").image
    assert list(short.options)[:2] == ["distribution", "suite"]


def test_paths_of_images_are_absolute_and_those_that_lead_out_are_told(project: Project) -> None:
    environment = project.load("image: {tarball: ../base.tar}\nmounts: [{from: conf, to: /etc/app}, '/srv:/srv:ro']\n")
    outer = str(project.directory.parent / "base.tar")
    assert environment.machines[0].image == ImageReference("tarball", {"tarball": outer})
    assert set(environment.outside) == {outer, "/srv"}
    assert environment.machines[0].mounts[1] == Mount(Path("/srv"), "/srv", read_only=True)


def test_a_link_inside_the_project_that_leads_out_of_it_is_told(project: Project) -> None:
    (project.directory / "link").symlink_to("/etc")
    assert project.load("image: host\nmounts: ['./link:/a']\n").outside == (f"{project.directory}/link",)


def test_a_url_of_a_tarball_stays_as_it_is(project: Project) -> None:
    options = project.machine(f"image: {{tarball: 'https://example.org/a.tar', sha256: {'0' * 64}}}\n").image.options
    assert options["tarball"] == "https://example.org/a.tar"


def test_sizes_times_and_ports_become_values(project: Project) -> None:
    machine = project.machine(
        "image: host\nresources: {cpus: 0.5, memory: 1.5GiB, disk: 2GB, pids: 7}\n"
        "ready: {tcp: 5432, timeout: 5m, interval: 500ms}\n"
        "ports: ['127.0.0.1:8080:80', '5353:53/udp', '[::1]:0:443']\n"
    )
    assert machine.resources == Resources(0.5, 3 << 29, 2 * 10**9, 7)
    assert machine.ready == Probe("tcp", 5432, 300.0, 0.5)
    assert machine.ports == (Port(80, 8080, "127.0.0.1"), Port(53, 5353, None, "udp"), Port(443, 0, "::1"))


def test_a_probe_of_http_has_its_defaults(project: Project) -> None:
    ready = project.machine("image: host\nready: {http: {}}\n").ready
    assert ready == Probe("http", {"port": 80, "path": "/"}, 60.0, 1.0)


def test_defaults_are_merged_key_by_key_and_lists_are_replaced(project: Project) -> None:
    environment = project.load(
        "provider: box\n"
        "defaults: {image: host, user: app, environment: {A: '1', B: '1'}, mounts: ['.:/d'], ready: {tcp: 1},"
        " box: {level: 2}}\n"
        "machines:\n"
        "  one: {environment: {B: '2'}, mounts: [], ready: {command: 'true'}, provider: jail}\n"
        "  two: {image: {directory: .}}\n"
    )
    one, two = environment.machines
    assert one.environment == {"A": "1", "B": "2"}
    assert (one.mounts, one.user, one.provider, one.peers) == ((), "app", "jail", ("two",))
    assert one.ready == Probe("command", "true", 60.0, 1.0)
    assert (two.image.source, two.provider, two.options["box"]) == ("directory", "box", {"level": 2})


def test_the_provider_of_the_call_overrides_that_of_every_machine(project: Project) -> None:
    text = "provider: jail\nmachines: {a: {image: host}, b: {image: host, provider: box}}\n"
    assert [machine.provider for machine in project.load(text, "box").machines] == ["box", "box"]
    assert [machine.provider for machine in project.load(text).machines] == ["jail", "box"]
    with pytest.raises(UsageError, match="no provider 'vmware' is installed"):
        project.load(text, "vmware")


def test_an_overridden_provider_that_is_too_weak_is_refused(project: Project) -> None:
    with pytest.raises(EnvfileError, match="isolation 'container' is required"):
        project.load("image: host\nrequires: {isolation: container}\n", "jail")


def test_dependencies_have_conditions_and_the_list_waits_for_started(project: Project) -> None:
    a, b, c = project.load(
        "defaults: {image: host}\nmachines: {a: {depends_on: [b]}, b: {depends_on: {c: provisioned}}, c: {}}\n"
    ).machines
    assert (a.depends_on, b.depends_on, c.depends_on) == ({"b": "started"}, {"c": "provisioned"}, {})


def test_steps_keep_their_order_options_and_names(project: Project) -> None:
    steps = project.machine(
        "image: host\nprovision:\n"
        "  - shell: echo ${HOME} $$\n"
        "  - {name: app, copy: {from: a, to: /a, mode: 0644, x-why: because}, run: always, user: app}\n"
        "  - {shell: {inline: 'echo ${HOME}', args: [0644, yes, 1.10, 22:22, 2024-01-01, 1e3]}}\n"
    ).steps
    assert [(step.index, step.kind, step.run, step.user) for step in steps] == [
        (0, "shell", "once", None),
        (1, "copy", "always", "app"),
        (2, "shell", "once", None),
    ]
    assert len({step.name for step in steps}) == 3
    assert steps[0].options == "echo ${HOME} $$"
    assert steps[1].options == {"from": "a", "to": "/a", "mode": "0644"}
    assert steps[2].options["inline"] == "echo ${HOME}"
    assert steps[2].options["args"] == ["0644", "yes", "1.10", "22:22", "2024-01-01", "1e3"]


def test_a_step_that_is_named_like_another_ones_own_name_does_not_collide(project: Project) -> None:
    names = [s.name for s in project.machine("image: host\nprovision: [{shell: a}, {shell: b, name: shell-1}]\n").steps]
    assert len(set(names)) == 2
    assert "shell-1" in names


def test_plain_scalars_are_text_where_text_is_wanted_and_truth_where_truth_is(project: Project) -> None:
    machine = project.machine(
        "image: host\nenvironment: {A: yes, B: 1.10, C: 0x1F, D: true, E: 22:22, F: 007}\n"
        "mounts: [{from: ., to: /a, read_only: yes}, {from: ., to: /b, read_only: off}]\n"
    )
    assert machine.environment == {"A": "yes", "B": "1.10", "C": "0x1F", "D": "true", "E": "22:22", "F": "007"}
    assert [mount.read_only for mount in machine.mounts] == [True, False]


def test_values_come_from_the_environment_then_from_dotenv_then_from_the_default(project: Project) -> None:
    (project.directory / ".env").write_text("# local\nexport B='from file'\nA=lost\n\nC=\"two\\nlines\" # why\n")
    project.environ = {"A": "from environ", "EMPTY": ""}
    machine = project.machine(
        "image: host\nenvironment:\n  A: '${A} ${B}'\n  B: ${C}\n  C: ${NONE:-word}\n"
        "  D: ${EMPTY:-word}\n  E: ${EMPTY}\n  F: $$A $A $${A} 5$\n"
    )
    assert machine.environment == {
        "A": "from environ from file",
        "B": "two\nlines",
        "C": "word",
        "D": "word",
        "E": "",
        "F": "$A $A ${A} 5$",
    }
    assert machine.secrets == {"A", "B", "E"}


def test_an_interpolated_number_is_a_number_where_one_is_wanted(project: Project) -> None:
    text = "image: host\nresources: {cpus: '${N}', pids: '${N}'}\nbox: {level: '${N}'}\nuser: '${N}'\n"
    project.environ = {"N": "3"}
    machine = project.machine(text)
    assert machine.resources == Resources(cpus=3.0, pids=3)
    assert machine.options["box"] == {"level": 3}
    assert machine.user == "3"
    project.environ = {"N": "three"}
    assert len(project.problems(text)) == 3


def test_a_number_out_of_range_does_not_pass_as_text(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = manifest("provider", isolation="container")
    schema["properties"]["files"] = {
        "oneOf": [{"type": "string", "pattern": "^[0-9]+k?$"}, {"type": "integer", "minimum": 9}]
    }
    install(project.directory / "site", "vat", schema=schema)
    monkeypatch.syspath_prepend(str(project.directory / "site"))
    project.host = Host(project.host.home)
    assert project.machine("image: host\nvat: {files: 10}\n").options["vat"] == {"files": 10}
    assert project.machine("image: host\nvat: {files: 1k}\n").options["vat"] == {"files": "1k"}
    assert project.problems("image: host\nvat: {files: 5}\n") == ["Envfile:2:14: vat.files: 5 is less than 9"]


def test_secrets_of_steps_are_known_and_their_values_collected(project: Project) -> None:
    project.environ = {"TOKEN": "t0p"}
    environment = project.load(
        "image: host\nprovision: [{shell: a, environment: {T: '${TOKEN}', U: plain, V: '${NO:-default}'}}]\n"
    )
    assert environment.machines[0].steps[0].secrets == {"T"}
    assert environment.secret_values() == {"t0p"}


def test_what_a_secret_is_a_part_of_and_the_part_itself_are_both_secret(project: Project) -> None:
    project.environ = {"TOKEN": "t0p", "HOME": "/home/x"}
    environment = project.load("image: host\nenvironment: {URL: 'http://u:${TOKEN}@h'}\nmounts: ['${HOME}:/x']\n")
    assert environment.secret_values() == {"t0p", "http://u:t0p@h"}


def test_secrets_in_options_are_known_by_their_place(project: Project) -> None:
    project.environ = {"TOKEN": "hunter2", "LEVEL": "5"}
    machine = project.machine(
        "image: {dockerfile: ./Dockerfile, args: {A: plain, B: 'x-${TOKEN}'}}\nbox: {level: '${LEVEL}'}\n"
        "provision: [{shell: {script: s, args: [a, '${TOKEN}']}}, {shell: plain}]\n"
    )
    assert machine.image.secrets == {("args", "B")}
    assert machine.secret_options == {("box", "level")}
    assert [step.secret_options for step in machine.steps] == [{("args", 1)}, frozenset()]
    environment = Environment("", Path(), Path(), (machine,), foreign=frozenset({"hunter2"}))
    assert environment.secret_values() == {"hunter2"}


def test_values_in_options_that_name_files_of_this_host_are_shown(project: Project) -> None:
    project.environ = {
        "WHERE": "rootfs",
        "HERE": str(project.directory),
        "MIRROR": "http://u:t0ps@h",
        "SUITE": "trixie",
    }
    image = "image: {tarball: '${WHERE}/x.tar'}\n"
    environment = project.load(f"{image}provision: [{{copy: {{from: '${{HERE}}/x', to: /x}}}}]\n")
    assert (environment.machines[0].image.secrets, environment.secret_values()) == (frozenset(), frozenset())
    environment = project.load("image: {debootstrap: {distribution: debian, suite: sid, mirror: '${MIRROR}'}}\n")
    assert environment.machines[0].image.secrets == {("mirror",)}
    assert environment.secret_values() == {"http://u:t0ps@h"}
    environment = project.load("image: debian/${SUITE}\n")
    assert (environment.machines[0].image.secrets, environment.secret_values()) == (frozenset(), frozenset())


def test_a_value_from_outside_is_in_no_message_and_in_no_file_of_the_cache(project: Project) -> None:
    project.environ = {"TOKEN": "hunter2"}
    project.load("image: host\nenvironment: {T: '${TOKEN}'}\n")
    for file in project.host.home.cache.rglob("*"):
        assert b"hunter2" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0
    (problem,) = project.problems("image: host\nresources: {memory: '${TOKEN}'}\n")
    assert "hunter2" not in problem
    assert "${TOKEN}" in problem


def test_a_changed_value_is_checked_anew(project: Project) -> None:
    text = "image: host\nresources: {memory: '${M}'}\n"
    project.environ = {"M": "1GiB"}
    assert project.machine(text).resources.memory == 1 << 30
    project.environ = {"M": "2GiB"}
    assert project.machine(text).resources.memory == 2 << 30
    project.environ = {"M": "much"}
    assert len(project.problems(text)) == 1


def test_a_changed_dotenv_is_read_anew(project: Project) -> None:
    text = "image: host\nuser: '${WHO}'\n"
    (project.directory / ".env").write_text("WHO=ann\n")
    assert project.machine(text).user == "ann"
    (project.directory / ".env").write_text("WHO=bob\n")
    assert project.machine(text).user == "bob"
    (project.directory / ".env").write_text("WHO='bob\nplain\n")
    assert project.problems(text) == [
        ".env:1:1: the quote is not closed, or text follows it",
        ".env:2:1: this line is not KEY=VALUE",
    ]


def test_a_dotenv_that_nothing_asks_for_is_not_read(project: Project) -> None:
    (project.directory / ".env").write_text("not: for us\n")
    assert project.machine("image: host\nuser: app\n").user == "app"


@pytest.mark.parametrize("damage", ["", "\n", "{}\n{}", "[]\n[]", "\0", None])
def test_a_damaged_cache_is_ignored_and_written_again(project: Project, damage: str | None) -> None:
    first = project.load("image: host\n")
    (entry,) = project.host.home.cache.glob("envfile-*")
    good = entry.read_text()
    entry.write_text(good.replace("host", "hoax") if damage is None else damage)
    assert project.load("image: host\n") == first
    assert json.loads(entry.read_text().splitlines()[1]) == json.loads(good.splitlines()[1])


def test_entries_of_envfiles_that_are_gone_can_be_removed(project: Project) -> None:
    project.load("image: host\n")
    cache = project.host.home.cache
    (entry,) = cache.glob("envfile-*")
    (cache / "envfile-0.json").write_text("{}")
    (cache / ".envfile-0.json.half").touch()
    sweep(cache)
    assert [path for path in cache.iterdir() if "envfile" in path.name] == [entry]
    (project.directory / "Envfile").unlink()
    sweep(cache)
    assert not entry.exists()


def test_a_cache_that_cannot_be_written_is_no_error(project: Project) -> None:
    project.host.home.cache.parent.mkdir(exist_ok=True)
    project.host.catalog()
    for file in project.host.home.cache.iterdir():
        file.unlink()
    project.host.home.cache.rmdir()
    project.host.home.cache.write_text("in the way")
    assert project.machine("image: host\n").image == ImageReference("host")


def test_all_problems_are_told_at_once_in_the_order_of_the_file(project: Project) -> None:
    found = project.problems(
        "provider: jial\n"
        "machines:\n"
        "  web:\n"
        "    image: host\n"
        "    memroy: 1GiB\n"
        "    resources: {memory: 512}\n"
        "    environment: {A: '${MISSING}'}\n"
        "  db:\n"
        "    image: host\n"
        "    image: host\n"
        "    depends_on: [wbe]\n"
        "    ports: ['80:80', '80:81']\n"
    )
    assert [problem.split(": ", 2)[:2] for problem in found] == [
        ["Envfile:1:11", "provider"],
        ["Envfile:5:5", "machines.web.memroy"],
        ["Envfile:6:25", "machines.web.resources.memory"],
        ["Envfile:7:22", "machines.web.environment.A"],
        ["Envfile:10:5", "machines.db.image"],
        ["Envfile:11:18", "machines.db.depends_on[0]"],
        ["Envfile:12:22", "machines.db.ports[1]"],
    ]
    assert found[0].startswith("Envfile:1:11: provider: no provider 'jial' is installed, did you mean 'jail'?")
    assert found[1].endswith("unknown key, did you mean 'memory' under 'resources'?")


def test_an_unknown_key_is_told_with_its_place_and_the_nearest_known_one(project: Project) -> None:
    text = "machines:\n  web:\n    image: host\n      \n    memroy: 1GiB\n    resources: {memroy: 1GiB}\n"
    assert project.problems(text)[-1] == (
        "Envfile:6:17: machines.web.resources.memroy: unknown key, did you mean 'memory'?"
    )


def test_the_nearest_parent_with_an_envfile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVUP_FILE", raising=False)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    with pytest.raises(UsageError, match="no Envfile") as caught:
        Opened.open(start=inner)
    assert "env new" in caught.value.hint
    for directory, name in (("a", "Envfile.yml"), ("a", "Envfile"), ("a/b", "Envfile.yaml")):
        (tmp_path / directory / name).touch()
        assert Opened.open(start=inner).file == tmp_path / directory / name
    assert Opened.open(tmp_path / "a" / "Envfile", start=inner).file == tmp_path / "a" / "Envfile"
    with pytest.raises(UsageError, match="other"):
        Opened.open(inner / "other")


def test_a_missing_envfile_is_a_mistake_of_usage(tmp_path: Path, host: Host) -> None:
    for wrong in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UsageError):
            loading.load(wrong, host)


def test_an_option_that_is_given_its_default_is_no_change(project: Project) -> None:
    plain, spelt = (
        project.machine("image: host\n"),
        project.machine("image: host\nlxc: {boot_timeout: 90, init: auto}\n"),
    )
    assert plain.options["lxc"] == spelt.options["lxc"]
    assert plain.options["lxc"]["network"] == "private"
