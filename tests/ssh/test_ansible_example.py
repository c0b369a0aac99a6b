"""The provisioner in examples/provisioners, installed as a stranger would install it, runs playbooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import managed_image
import pytest
from example_plugins import check_short_and_on_contracts_alone, install
from real_machines import Project, open_directory, remains

pytestmark = [pytest.mark.root, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples/provisioners/envup-ansible"
CONTRACTS = ("provisioner", "hookspecs", "ssh")
ENVFILE = """\
name: managed
defaults: {image: {tarball: "@ARCHIVE@"}, mounts: [], environment: {MARK: "@HOME@"}}
machines:
  web:
    provider: chroot
    depends_on: {db: started}
    provision:
      - ansible:
          playbook: plays/site.yml
          extra_vars: {release: "1.4 'quoted' {{ 2 + 2 }}"}
          skip_tags: [never_here]
        environment: {OF_STEP: from the step, TOKEN: "${TOKEN}"}
  db: {provider: lxc}
"""
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  roles: [site]
  tasks:
    - fail: {msg: a task that is left out}
      tags: never_here
    - debug: {msg: "token {{ lookup('env', 'TOKEN') }}"}
    - delegate_to: db
      copy: {content: "from {{ inventory_hostname }}", dest: /srv/left}
"""
ROLE = """\
- template: {src: site.conf.j2, dest: /srv/site.conf, mode: "0640"}
  notify: restart
- shell: {cmd: "id -un > /srv/user", creates: /srv/user}
"""
HANDLER = '- {name: restart, shell: "echo restarted >> /srv/restarts"}\n'
TEMPLATE = "{{ release }} on {{ envup.provider }}, {{ hostvars.db.envup.state }}, {{ lookup('env', 'OF_STEP') }}\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the distribution, built from a copy of its sources alone."""
    place = tmp_path_factory.mktemp("stranger")
    install(EXAMPLE, place)
    return place


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for all projects, whose home is one, so that the image is unpacked once."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def project(installed: Path, place: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project with a playbook; destroyed and checked for remains at the end."""
    variables = {"PYTHONPATH": str(installed), "TOKEN": "hunter2-secret", "HOME": str(place)}
    project = Project(place / request.node.name, place / "home", variables)
    project.write(ENVFILE.replace("@ARCHIVE@", str(managed_image.archive())))
    texts = {"tasks/main.yml": ROLE, "handlers/main.yml": HANDLER, "templates/site.conf.j2": TEMPLATE}
    for name, text in texts.items():
        put(project.directory / "plays/roles/site" / name, text)
    put(project.directory / "plays/site.yml", PLAYBOOK)
    yield project
    project.must("destroy", "--yes")
    assert remains(project, patience=5) == {}


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def said_in(project: Project, machine: str, *files: str) -> str:
    return project.must("exec", machine, "--", "cat", *files)


def test_it_is_short_and_imports_only_the_contracts() -> None:
    files = sorted(EXAMPLE.rglob("*.py"))
    assert len(files) == 3
    check_short_and_on_contracts_alone(files, CONTRACTS)


def test_a_playbook_makes_the_machine_as_it_says(project: Project) -> None:
    refused = project.run("up", "web")
    assert refused.returncode == 2 and "runs ansible-playbook plays/site.yml on this host" in refused.stderr
    done = project.run("up", "--trust")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "token ***" in done.stdout + done.stderr and "hunter2" not in done.stdout + done.stderr
    assert said_in(project, "web", "/srv/site.conf") == "1.4 'quoted' 4 on chroot, running, from the step\n"
    assert project.must("exec", "web", "--", "stat", "-c", "%a %U", "/srv/site.conf") == "640 root\n"
    assert said_in(project, "web", "/srv/user", "/srv/restarts") == "root\nrestarted\n"
    assert said_in(project, "db", "/srv/left") == "from web"


def test_a_step_runs_again_when_a_role_changes_and_not_before(project: Project) -> None:
    project.must("up", "--trust")
    assert "provision" not in project.must("plan", "--json")
    put(project.directory / "plays/roles/site/templates/site.conf.j2", "changed\n")
    project.must("up", "--trust")
    assert said_in(project, "web", "/srv/site.conf", "/srv/restarts") == "changed\nrestarted\nrestarted\n"


def test_a_task_that_fails_fails_the_step(project: Project) -> None:
    put(project.directory / "plays/site.yml", '- {hosts: all, tasks: [{shell: "echo it is broken >&2; exit 3"}]}\n')
    done = project.run("up", "--trust")
    assert done.returncode == 1
    assert "exit code 2: a task failed" in done.stderr and "it is broken" in done.stderr


def test_a_host_without_ansible_says_so(project: Project, tmp_path: Path) -> None:
    for directory in ("/usr/sbin", "/usr/bin"):
        for program in Path(directory).iterdir():
            if not program.name.startswith("ansible") and not (tmp_path / program.name).is_symlink():
                (tmp_path / program.name).symlink_to(program)
    path, project.environment["PATH"] = project.environment["PATH"], str(tmp_path)
    done = project.run("up", "--trust")
    assert done.returncode == 1
    assert "ansible-playbook is not installed" in done.stderr and "pip install ansible-core" in done.stderr
    project.environment["PATH"] = path
    project.must("up")
