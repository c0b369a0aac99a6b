"""Runs every behaviour against every registered provider: `pytest tests/conformance [--provider NAME]`.

As root they test root mode. `tests/rootless.sh` runs the same cases as an ordinary account: rootless mode. The image
is the tar that ENVUP_TEST_IMAGE names, or one that is built once with mmdebstrap and kept below /var/tmp.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from provider_kit import CANDIDATES, ENVIRONMENT, Candidate, Subject

from envup.image import Image
from envup.provider import Instance

HERE = Path(__file__).parent
MARK = f"envup-conformance-{os.getpid()}-"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--provider", action="append", default=None, help="test only this provider; may be repeated")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These make machines, so they need root, or an account with subordinate ids."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.root if os.geteuid() == 0 else pytest.mark.rootless)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "candidate" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--provider", default=None)
        only = getattr(metafunc.module, "ONLY", wanted)
        chosen = [one for one in CANDIDATES if all(names is None or one.name in names for names in (wanted, only))]
        mode = "root" if os.geteuid() == 0 else "rootless"
        ids = [f"{one.name}-{mode}" for one in chosen]
        metafunc.parametrize("candidate", chosen, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Candidate:
    chosen: Candidate = request.param
    return chosen


@pytest.fixture(scope="session")
def image() -> Image:
    """A minimal Debian."""
    given = os.environ.get("ENVUP_TEST_IMAGE")
    path = Path(given) if given else _built()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Image(f"sha256:{digest}", path, "amd64")


def _built() -> Path:
    kept = Path("/var/tmp") / f"envup-tests-{os.geteuid()}"
    kept.mkdir(mode=0o755, exist_ok=True)
    assert kept.stat().st_uid == os.geteuid(), f"{kept} belongs to somebody else"
    path = kept / "debian.tar"
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            new = path.with_suffix(".new.tar")
            suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
            command = ["mmdebstrap", "--variant=minbase", "--quiet", suite, str(new)]
            subprocess.run(command, check=True, timeout=280)
            new.rename(path)
    return path


@pytest.fixture(scope="session")
def subject(candidate: Candidate, image: Image) -> Iterator[Subject]:
    """The provider under test. What it still has at the end is an error of the cases."""
    with tempfile.TemporaryDirectory(prefix=MARK) as directory:
        base = Path(directory)
        base.chmod(0o711)
        subject = Subject(candidate, base, image)
        yield subject
        left = subject.again().observe(None)
        for instance in left:
            subject.provider.destroy(instance)
        for digest, _size in subject.provider.forms() if hasattr(subject.provider, "forms") else ():
            subject.provider.remove_form(digest)
        assert not left, f"left over: {left}"


@pytest.fixture(scope="module")
def machine(subject: Subject, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A running machine that the cases of one module share."""
    name = request.module.__name__.removeprefix("test_provider_")
    with subject.running(
        subject.spec(name, environment={"GREETING": "grüß dich"}), environment=f"{ENVIRONMENT}s"
    ) as instance:
        yield instance


@pytest.fixture
def check_no_leak(subject: Subject) -> Iterator[None]:
    """No mount, control group or loop device of these machines is on the host afterwards."""
    before = _traces()
    yield
    assert _traces() == before


def _traces() -> dict[str, object]:
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if MARK in line]
    groups = sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{ENVIRONMENT}-*"))
    backing = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return {"mounts": mounts, "groups": groups, "loops": [path for path in backing if MARK in path]}
