"""An ordinary account works without root, from an image built by mmdebstrap to `destroy`, and leaves nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ordinary import LIMIT, Account, Project

pytestmark = [pytest.mark.rootless, pytest.mark.slow, pytest.mark.timeout(280)]

ENVFILE = """\
image: debian/bookworm
environment: {HOME_OF_TEST: "@HOME@", GREETING: grüß dich}
mounts:
  - .:/workspace
  - {from: conf, to: /etc/app, read_only: true}
provision:
  - name: account
    shell: useradd --create-home app
  - name: packages
    shell: apt-get -q update && apt-get -q install -y --no-install-recommends sudo
  - name: as-app
    shell: {script: setup.sh, args: [--fast, "a b", ""], user: app, workdir: /workspace}
  - copy: {from: conf/app.conf, to: /srv/app.conf, owner: app, mode: "0640"}
"""
SETUP = """\
#!/bin/sh
set -eu
printf '%s|' "$(id -un)" "$(pwd)" "$GREETING" "$@" >~/told
"""


def ids_of(account: Account) -> range:
    """The subordinate ids of the account."""
    lines = [line.split(":") for line in Path("/etc/subuid").read_text().splitlines()]
    first, count = next((int(line[1]), int(line[2])) for line in lines if line[0] == account.name)
    return range(first, first + count)


def in_tmp(account: Account) -> set[Path]:
    """What the account or one of its subordinate ids has in /tmp."""
    owners = {account.entry.pw_uid, *ids_of(account)}
    return {path for path in Path("/tmp").iterdir() if path.exists() and path.lstat().st_uid in owners}


@pytest.fixture(scope="module")
def project(account: Account) -> Iterator[Project]:
    """A project whose machine is up."""
    files = {"setup.sh": SETUP, "conf/app.conf": "conf\n"}
    project = account.project("project", ENVFILE.replace("@HOME@", str(account.home)), files)
    before = in_tmp(account)
    project.must("up")
    yield project
    project.must("destroy", "--yes")
    project.must("prune")
    known = json.loads(project.must("list", "--json"))["environments"]
    assert [environment["machines"] for environment in known if environment["machines"]] == []
    assert json.loads(project.must("images", "--json"))["images"] == []
    data = account.home / ".local/share/envup"
    assert list((data / "providers/chroot/machines").glob("*")) == []
    assert [path for path in (data / "images/work").iterdir() if path.name != "guard"] == []
    assert account.processes() == []
    assert in_tmp(account) <= before


def inside(project: Project, command: str) -> str:
    return project.must("exec", "--", "sh", "-c", command).strip()


def test_every_need_is_met_and_the_limits_that_are_not_are_told(project: Project) -> None:
    assert "chroot: can be used" in project.must("doctor")


def test_packages_are_installed_and_keep_their_modes(project: Project) -> None:
    assert inside(project, "stat -c '%u:%g %a' /usr/bin/sudo") == "0:0 4755"
    assert inside(project, "sudo -u app id -un") == "app"


def test_steps_run_as_the_user_that_they_name(project: Project) -> None:
    assert inside(project, "cat /home/app/told") == "app|/workspace|grüß dich|--fast|a b||"
    assert inside(project, "stat -c '%U %a' /srv/app.conf /home/app/told") == "app 640\napp 644"


def test_a_second_up_has_nothing_to_do(project: Project) -> None:
    assert "everything is as the Envfile says" in project.must("up")


def test_what_the_machine_writes_in_a_mount_belongs_to_the_account_or_its_subordinate_ids(project: Project) -> None:
    inside(project, "touch /workspace/roots && install -o app /dev/null /workspace/apps")
    assert (project.directory / "roots").stat().st_uid == project.account.entry.pw_uid
    assert (project.directory / "apps").stat().st_uid in ids_of(project.account)


def test_a_mount_that_is_read_only_cannot_be_written(project: Project) -> None:
    done = project.run("exec", "--", "touch", "/etc/app/new")
    assert done.returncode == 1 and "Read-only file system" in done.stderr


def test_the_exit_code_is_the_programs(project: Project) -> None:
    assert project.run("exec", "--", "sh", "-c", "exit 42").returncode == 42


def test_a_shell_has_a_terminal_and_its_exit_code_is_the_shells(project: Project) -> None:
    command = shlex.join([f"PYTHONPATH={project.account.place}/packages", *project.command("shell")])
    script = ("script", "--quiet", "--return", "--command", f"env {command}", "/dev/null")
    with project.account.start(*script, directory=project.directory, stdin=subprocess.PIPE) as process:
        output, errors = process.communicate("tty; id -un; exit 7\n", timeout=LIMIT)
    assert process.returncode == 7, output + errors
    assert "/dev/pts/" in output and "root" in output


def test_files_are_copied_either_way_with_modes_and_owners(project: Project) -> None:
    account, tree = project.account, project.directory / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("text")
    (tree / "sub/file").chmod(0o640)
    (tree / "link").symlink_to("sub/file")
    for path in (tree, *tree.rglob("*")):
        os.chown(path, account.entry.pw_uid, account.entry.pw_gid, follow_symlinks=False)
    project.must("copy", "tree", "default:/srv/")
    assert inside(project, "cd /srv/tree; stat -c '%u:%g %a' sub/file; readlink link") == "0:0 640\nsub/file"
    inside(project, "chown app /srv/tree/sub/file && chmod 600 /srv/tree/sub/file")
    project.must("copy", "default:/srv/tree", "fetched")
    fetched = (project.directory / "fetched/sub/file").stat()
    assert (fetched.st_uid, fetched.st_mode & 0o7777) == (account.entry.pw_uid, 0o600)
    assert (project.directory / "fetched/link").readlink() == Path("sub/file")


@pytest.mark.parametrize("limit", ["memory: 512MiB", "cpus: 1", "pids: 100", "disk: 1GiB"])
def test_a_limit_that_cannot_be_kept_is_refused_with_the_reason(account: Account, limit: str) -> None:
    project = account.project("limited", f"{{image: debian/bookworm, provider: chroot, resources: {{{limit}}}}}")
    done = project.run("up")
    assert done.returncode != 0 and done.stdout == ""
    key, *_ = limit.partition(":")
    assert f"resources.{key}: " in done.stderr and ("delegated" in done.stderr or "root" in done.stderr)
    assert json.loads(project.must("status", "--json"))["machines"][0]["state"] == "absent"


def test_a_machine_in_memory_has_its_limits_and_forgets(account: Account, project: Project) -> None:
    tmpfs = "{image: debian/bookworm, mounts: [], chroot: {tmpfs: {size: 16MiB, inodes: 500}}}"
    volatile = account.project("volatile", tmpfs)
    volatile.must("up")
    done = volatile.run("exec", "--", "dd", "if=/dev/zero", "of=/full", "bs=1M", "count=64")
    assert done.returncode == 1 and "No space left on device" in done.stderr
    volatile.must("stop")
    volatile.must("up")
    assert volatile.run("exec", "--", "test", "-e", "/full").returncode == 1
    volatile.must("destroy", "--yes")


def test_other_accounts_read_nothing_of_what_envup_keeps(
    project: Project, account: Account, stranger: Account, request: pytest.FixtureRequest
) -> None:
    account.home.chmod(0o755)
    request.addfinalizer(lambda: account.home.chmod(0o700))
    kept = (str(account.home / ".local"), str(account.home / ".cache"), str(project.directory / ".envup"))
    with stranger.start("find", *kept, "-type", "f", "-readable", "!", "-name", ".gitignore") as process:
        assert process.communicate(timeout=LIMIT)[0] == ""
    run = next((account.home / ".local/share/envup/providers/chroot/machines").glob("**/run.json"))
    holder = Path("/proc") / str(json.loads(run.read_text())["pid"])
    with stranger.start("cat", str(holder / "environ"), str(holder / "root/etc/hostname")) as process:
        assert process.communicate(timeout=LIMIT)[0] == ""
    assert process.returncode == 1


def test_a_project_in_which_nothing_was_made_touches_no_other(account: Account, project: Project) -> None:
    empty = account.project("empty", "{image: debian/bookworm, provider: chroot}")
    machines = json.loads(empty.must("status", "--json"))["machines"]
    assert [machine["state"] for machine in machines] == ["absent"]
    assert "nothing to destroy" in empty.must("destroy", "--yes")
    assert inside(project, "echo alive") == "alive"


def test_an_account_without_subordinate_ids_is_told_the_remedy(stranger: Account) -> None:
    project = stranger.project("project", "{image: debian/bookworm, provider: chroot}")
    for code, command in ((2, ("up",)), (1, ("images", "build"))):
        done = project.run(*command)
        assert (done.returncode, done.stdout) == (code, "")
        assert "subordinate ids" in done.stderr and "run as root: usermod --add-subuids " in done.stderr
        first = int(done.stderr.partition("--add-subuids ")[2].partition("-")[0])
        assert first >= max(int(a) + int(b) for _, a, b in (line.split(":") for line in _subordinate()))
    assert json.loads(project.must("images", "--json"))["images"] == []
    assert project.run("doctor").returncode == 1


def _subordinate() -> list[str]:
    return [line for name in ("subuid", "subgid") for line in Path(f"/etc/{name}").read_text().splitlines()]


def test_without_newuidmap_the_package_is_named(account: Account) -> None:
    project = account.project("bare", "{image: debian/bookworm, provider: chroot}")
    bare = account.place / "bare"
    bare.mkdir()
    for tool in ("tar", "mmdebstrap"):
        (bare / tool).symlink_to(f"/usr/bin/{tool}")
    done = project.run("up", variables={"PATH": str(bare)})
    assert (done.returncode, done.stdout) == (2, "")
    assert "newuidmap" in done.stderr and "apt-get install uidmap" in done.stderr


def test_an_interrupted_build_leaves_nothing(account: Account) -> None:
    recipe = "{image: {debootstrap: {distribution: debian, suite: bookworm, include: [less]}}, provider: chroot}"
    project, before = account.project("interrupted", recipe), in_tmp(account)
    with project.start("up", stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        seen = next((line for line in process.stdout if "installing essential packages" in line), "it ended")
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=LIMIT)[0]
    assert process.returncode == 130, seen + rest
    assert in_tmp(account) <= before
    work = account.home / ".local/share/envup/images/work"
    assert [path.name for path in work.iterdir()] == ["guard"]
    assert not [told for told in account.processes() if "mmdebstrap" in told]


def test_daemons_end_with_the_machine_and_what_it_wrote_stays(project: Project) -> None:
    for daemon in ("sleep 86401", "sh -c 'trap : TERM; sleep 86402'"):
        inside(project, f"setsid --fork {daemon} >/dev/null 2>&1 </dev/null")
    assert len([told for told in project.account.processes() if "sleep" in told]) >= 2
    project.must("stop")
    assert project.account.processes() == []
    project.must("up")
    assert inside(project, "cat /srv/app.conf") == "conf"
