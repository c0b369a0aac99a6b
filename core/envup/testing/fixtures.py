"""The kit's fixtures, also for a provider's own tests: import them into a `conftest.py` and name the provider in each
module, `PROVIDER = "chroot"`.

The image is the tar that `--envup-image` or ENVUP_TEST_IMAGE names, or one that is built once with mmdebstrap and kept
below /var/tmp.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.image import Image
from envup.provider import ImageForms, Instance, Provider
from envup.testing import images, traces
from envup.testing.subject import ENVIRONMENT, Subject

MARK = f"envup-conformance-{os.getpid()}-"


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Image:
    """A minimal Debian."""
    given = request.config.getoption("envup_image") or os.environ.get("ENVUP_TEST_IMAGE")
    return images.describe(Path(given) if given else images.built())


@pytest.fixture(scope="session")
def subjects(request: pytest.FixtureRequest, image: Image) -> Iterator[Callable[[str], Subject]]:
    """Gives the subject of a provider; each has one for the whole run."""
    options = json.loads(request.config.getoption("envup_options") or "{}")
    made: dict[str, Subject] = {}
    with ExitStack() as stack:

        def subject(name: str) -> Subject:
            if name not in made:
                made[name] = stack.enter_context(_subject(name, image, options))
            return made[name]

        yield subject


@contextmanager
def _subject(name: str, image: Image, options: dict[str, object]) -> Iterator[Subject]:
    """What the provider still has at the end is an error of the cases."""
    from envup.home import Home
    from envup.plugins import Host

    kind = Host(Home.locate().make()).provider(name)
    before = traces.interfaces()
    with tempfile.TemporaryDirectory(prefix=MARK) as directory:
        base = Path(directory)
        base.chmod(0o711)
        subject = Subject(kind, base, image, options)
        yield subject
        left = [one for one in subject.again().observe(None) if one.labels["envup.environment"].startswith(ENVIRONMENT)]
        for instance in left:
            subject.provider.destroy(instance)
        _remove_form(subject.provider, image.digest)
        assert not left, f"left over: {left}"
    assert not [one for one in traces.interfaces() - before if one.startswith(("envup", f"br-{ENVIRONMENT}"))]


def _remove_form(provider: Provider, digest: str) -> None:
    """Free the image, unless another run of the kit uses it in the same backend."""
    if isinstance(provider, ImageForms) and digest in {known for known, _size in provider.forms()}:
        try:
            provider.remove_form(digest)
        except EnvupError as error:
            if "in use" not in error.brief:
                raise


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, subjects: Callable[[str], Subject]) -> Subject:
    """The provider under test."""
    name = getattr(request.module, "PROVIDER", None) or request.config.getoption("envup_provider")
    if not name:
        raise pytest.UsageError("envup.testing needs to know the provider: --envup-provider NAME")
    return subjects(name)


@pytest.fixture(scope="module")
def machine(subject: Subject, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A running machine that the cases of one module share."""
    name = request.module.__name__.rpartition("test_")[2]
    spec = subject.spec(name, environment={"GREETING": "grüß dich"})
    with subject.running(spec, environment=f"{ENVIRONMENT}s") as instance:
        yield instance


@pytest.fixture
def check_no_leak() -> Iterator[None]:
    """No mount, control group or loop device of these machines is on the host afterwards."""
    before = traces.traces(MARK, ENVIRONMENT)
    yield
    assert traces.traces(MARK, ENVIRONMENT) == before
