"""An ordinary account with subordinate ids works without root: up on a debootstrap image, exec, copy, destroy."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import LIMIT

pytestmark = [pytest.mark.rootless, pytest.mark.slow, pytest.mark.timeout(600)]

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PROGRAM = "import sys; from envup.shim import main; sys.argv[0] = 'envup'; sys.exit(main())"


class Account:
    """An ordinary account with a project of its own. The code that it runs is that of this checkout, copied to where it
    can be read."""

    def __init__(self, name: str, place: Path) -> None:
        self.entry = pwd.getpwnam(name)
        self.place, self.project = place, place / "project"
        code, packages = place / "code", place / "packages"
        site = next(Path(path) for path in sys.path if path.endswith("site-packages"))
        shutil.copytree(site, packages, ignore=shutil.ignore_patterns("__pycache__", "mypy*", "ruff*", "pip*"))
        roots = [ROOT / name for name in ("core", "providers", "provisioners")]
        for root in roots:
            shutil.copytree(root, code / root.name, ignore=shutil.ignore_patterns("__pycache__"))
        paths = [*(code / root.name for root in roots), packages]
        self.environment = {
            "HOME": self.entry.pw_dir,
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "ENVUP_HOME": str(place / "home"),
        }
        shutil.copytree(ROOT / "examples/hello", self.project, ignore=shutil.ignore_patterns(".envup"))
        for path in (place, self.project, *self.project.iterdir()):
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run envup as this account in its project."""
        version = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        return subprocess.run(
            [version, "-c", PROGRAM, *arguments],
            cwd=self.project,
            env=self.environment,
            user=self.entry.pw_uid,
            group=self.entry.pw_gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )

    def must(self, *arguments: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    name = subprocess.run([TESTS / "account.sh"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="envup-rootless-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        account = Account(name, place)
        account.must("up")
        yield account
        account.must("destroy", "--yes")
        account.must("prune")
        left = [path for path in (place / "home/data").rglob("*") if "chroot" in path.parts and path.is_dir()]
        assert not any("machines" in path.parts and path.name != "machines" for path in left), left
        subprocess.run(["rm", "-rf", place / "home"], check=True)


def test_every_need_is_met(account: Account) -> None:
    assert "chroot" in account.must("doctor")


def test_a_step_has_run_as_root_of_the_machine(account: Account) -> None:
    assert account.must("exec", "--", "cat", "/root/hello").startswith("Hello from Debian")
    assert account.must("exec", "--", "id", "-u") == "0\n"


def test_packages_can_be_installed_in_the_machine(account: Account) -> None:
    account.must("exec", "--", "sh", "-c", "apt-get -q update && apt-get -q install -y --no-install-recommends sudo")
    assert account.must("exec", "--", "stat", "-c", "%u %a", "/usr/bin/sudo") == "0 4755\n"


def test_files_are_copied_either_way(account: Account) -> None:
    (account.project / "Envfile").chmod(0o640)
    account.must("copy", "Envfile", "default:/srv/")
    assert account.must("exec", "--", "stat", "-c", "%a", "/srv/Envfile") == "640\n"
    account.must("copy", "default:/etc/hostname", "fetched")
    assert (account.project / "fetched").read_text() == "default\n"
    assert (account.project / "fetched").stat().st_uid == account.entry.pw_uid


def test_the_exit_code_is_the_programs(account: Account) -> None:
    assert account.run("exec", "--", "sh", "-c", "exit 42").returncode == 42


def test_what_is_written_in_the_machine_belongs_to_the_account_or_its_subordinate_ids(account: Account) -> None:
    account.must("exec", "--", "touch", "/workspace/made-inside")
    assert (account.project / "made-inside").stat().st_uid == account.entry.pw_uid


def test_it_starts_again_after_a_stop_with_what_it_had(account: Account) -> None:
    account.must("stop")
    account.must("up")
    assert account.must("exec", "--", "cat", "/root/hello").startswith("Hello from Debian")
