"""Images that a Docker engine pulls, builds, takes from the hub and gives to it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from docker_engines import busybox, imported
from docker_registry import PASSWORD, USER, push, registry

from envup.errors import EnvupError
from envup.events import Event, silent
from envup.image import FetchContext, Image
from envup.model import ImageReference
from envup.testing import images as kit
from envup.testing.subject import Subject
from envup_docker import containers, endpoint
from envup_docker.engine import Engine
from envup_docker.sources import DockerfileSource, DockerSource

PROVIDER = "docker"


@pytest.fixture(scope="module")
def engine(subject: Subject) -> Engine:
    """This host's engine."""
    return Engine(endpoint.find(os.environ))


@pytest.fixture(scope="module")
def base(engine: Engine) -> Iterator[str]:
    """The name of an image of busybox alone."""
    with imported(engine, busybox(shell=True)) as name:
        yield name


@pytest.fixture
def names(engine: Engine) -> Iterator[list[str]]:
    """Names of images that are removed from the engine afterwards."""
    called: list[str] = []
    yield called
    for name in called:
        with contextlib.suppress(Exception):
            engine.call("DELETE", f"/images/{name}", query={"force": True})


def variant(engine: Engine, base: str, value: str) -> str:
    """The id of an image that differs in a variable and in content."""
    container = engine.call("POST", "/containers/create", body={"Image": base, "Cmd": ["x"]})["Id"]
    try:
        body = {"Env": [f"VARIANT={value}", "PATH=/bin"], "Labels": {"variant": value}}
        made: str = engine.call("POST", "/commit", query={"container": container}, body=body)["Id"]
        return made
    finally:
        containers.remove(engine, container)


def docker(name: str, **options: str) -> ImageReference:
    return ImageReference("docker", {"docker": name, **options})


def has(engine: Engine, name: str) -> bool:
    return any(name in (one["RepoTags"] or ()) for one in engine.call("GET", "/images/json"))


def test_an_image_that_is_there_is_used_as_it_is(subject: Subject, engine: Engine, base: str) -> None:
    said: list[Event] = []
    image = subject.provider.obtain(docker(base), said.append)
    assert (image.digest, image.archive, said) == (engine.call("GET", f"/images/{base}/json")["Id"], None, [])
    assert image.architecture == "amd64"


def test_a_missing_image_is_pulled_and_stays_the_same(
    subject: Subject, engine: Engine, base: str, names: list[str], tmp_path: Path
) -> None:
    with registry(tmp_path) as address:
        name = f"{address}/test/thing:1"
        old, new = variant(engine, base, "old"), variant(engine, base, "new")
        names += [name, old, new]
        digest = push(engine, old, name)
        said: list[Event] = []
        image = subject.provider.obtain(docker(name), said.append)
        assert image.environment["VARIANT"] == "old"
        assert any("pulling" in event.text for event in said)
        assert has(engine, name)

        push(engine, new, name)
        again = subject.provider.obtain(docker(name), silent)
        assert again.environment["VARIANT"] == "old"
        assert has(engine, name)

        fresh = subject.provider.obtain(docker(name), silent, refresh=True)
        assert fresh.environment["VARIANT"] == "new"
        engine.call("DELETE", f"/images/{name}", query={"force": True})
        assert subject.provider.obtain(docker(name), silent).digest == fresh.digest

        exact = f"{address}/test/thing@{digest}"
        names.append(exact)
        assert subject.provider.obtain(docker(exact), silent).environment["VARIANT"] == "old"


def test_a_machine_is_made_from_a_pulled_image(
    subject: Subject, engine: Engine, base: str, names: list[str], tmp_path: Path
) -> None:
    with registry(tmp_path) as address:
        name = f"{address}/test/machine:1"
        names += [name, made := variant(engine, base, "pulled")]
        push(engine, made, name)
        image = subject.provider.obtain(docker(name), silent)
    spec = subject.spec("pulled")
    with subject.running(spec, image=image) as instance:
        assert subject.shell(instance, "echo $VARIANT") == "pulled"
        with pytest.raises(EnvupError, match="in use"):
            subject.provider.remove_form(image.digest)


def test_another_platform_is_not_taken_for_the_one_that_is_wanted(
    subject: Subject, engine: Engine, base: str, names: list[str], tmp_path: Path
) -> None:
    with registry(tmp_path) as address:
        name = f"{address}/test/platform:1"
        names += [name, made := variant(engine, base, "platform")]
        push(engine, made, name)
        subject.provider.obtain(docker(name, platform="linux/amd64"), silent)
        with pytest.raises(EnvupError, match="linux/s390x"):
            subject.provider.obtain(docker(name, platform="linux/s390x"), silent)


def test_an_unknown_image_is_told_with_a_remedy(subject: Subject, tmp_path: Path) -> None:
    with registry(tmp_path) as address, pytest.raises(EnvupError, match="cannot") as caught:
        subject.provider.obtain(docker(f"{address}/test/none:1"), silent)
    assert "name and the tag" in (caught.value.hint or "")


def test_a_registry_that_does_not_run_is_told_with_a_remedy(subject: Subject, tmp_path: Path) -> None:
    with registry(tmp_path) as address:
        pass
    with pytest.raises(EnvupError, match="cannot") as caught:
        subject.provider.obtain(docker(f"{address}/test/none:1"), silent)
    assert "can be reached" in (caught.value.hint or "")


def test_credentials_are_those_of_docker_login(
    subject: Subject, engine: Engine, base: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with registry(tmp_path, private=True) as address:
        name = f"{address}/test/secret:1"
        names += [name, made := variant(engine, base, "secret")]
        push(engine, made, name, {"username": USER, "password": PASSWORD, "serveraddress": address})
        with pytest.raises(EnvupError, match="cannot") as caught:
            subject.provider.obtain(docker(name), silent)
        assert "docker login" in (caught.value.hint or "")
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
        assert subject.provider.obtain(docker(name), silent).environment["VARIANT"] == "secret"


def test_a_helper_for_credentials_that_fails_is_told(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"credsStore": "that-does-not-exist"}')
    with pytest.raises(EnvupError, match="credentials") as caught:
        subject.provider.obtain(docker("127.0.0.1:1/x/y:1"), silent)
    assert "that-does-not-exist" in (caught.value.details or "")


Build = Callable[..., ImageReference]


def builds(engine: Engine) -> set[str]:
    wanted = {"reference": ["envup/build"]}
    return {one["Id"] for one in engine.call("GET", "/images/json", query={"filters": wanted})}


@pytest.fixture
def build(subject: Subject, engine: Engine, base: str, tmp_path: Path) -> Iterator[Build]:
    """Writes a Dockerfile beside its context and refers to them; what was built is removed afterwards."""
    (tmp_path / "context").mkdir()

    def written(text: str, **options: Any) -> ImageReference:
        path = tmp_path / options.pop("file", "context/Dockerfile")
        path.write_text(text.replace("BASE", base))
        where = {"dockerfile": str(path), "context": str(tmp_path / "context")}
        return ImageReference("dockerfile", where | options)

    before = builds(engine)
    yield written
    for digest in builds(engine) - before:
        subject.provider.remove_form(digest)
    engine.call("POST", "/build/prune", query={"all": True})


def label(engine: Engine, image: Image, name: str) -> str:
    found: str = engine.call("GET", f"/images/{image.digest}/json")["Config"]["Labels"][name]
    return found


def test_a_dockerfile_is_built_with_its_arguments_up_to_its_target(
    subject: Subject, engine: Engine, build: Build
) -> None:
    text = "ARG who=none\nFROM BASE AS one\nARG who\nLABEL said=$who\nENV A=b\nFROM one AS two\nLABEL said=two\n"
    said: list[Event] = []
    image = subject.provider.obtain(build(text, target="one", args={"who": True}), said.append)
    assert label(engine, image, "said") == "true"
    assert image.environment["A"] == "b"
    assert any(event.kind == "output" and "LABEL said" in event.text for event in said)
    assert label(engine, subject.provider.obtain(build(text), silent), "said") == "two"


def test_an_unchanged_dockerfile_is_not_built_again(subject: Subject, build: Build, tmp_path: Path) -> None:
    reference = build("FROM BASE\nCOPY file /file\n")
    (tmp_path / "context/file").write_text("one")
    first = subject.provider.obtain(reference, silent)
    said: list[Event] = []
    assert subject.provider.obtain(reference, said.append).digest == first.digest
    assert not said
    (tmp_path / "context/file").write_text("another")
    assert subject.provider.obtain(reference, said.append).digest != first.digest
    assert said


def test_those_who_want_the_same_dockerfile_at_once_get_one_image(subject: Subject, build: Build) -> None:
    reference = build('FROM BASE\nRUN ["sleep", "0.5"]\n')
    built: list[str] = []

    def obtain() -> None:
        built.append(subject.again().obtain(reference, silent).digest)

    threads = [threading.Thread(target=obtain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 3
    assert len(set(built)) == 1


def test_a_refreshed_build_leaves_no_nameless_image(
    subject: Subject, engine: Engine, build: Build, tmp_path: Path
) -> None:
    shutil.copy(str(shutil.which("busybox")), tmp_path / "context/busybox")
    step = ["/busybox", "dd", "if=/dev/urandom", "of=/random", "bs=8", "count=1"]
    reference = build(f"FROM scratch\nCOPY busybox /busybox\nRUN {json.dumps(step)}\n")

    def nameless() -> list[str]:
        return [one["Id"] for one in engine.call("GET", "/images/json", query={"filters": {"dangling": ["true"]}})]

    before = nameless()
    first = subject.provider.obtain(reference, silent)
    second = subject.provider.obtain(reference, silent, refresh=True)
    assert first.digest != second.digest
    assert nameless() == before


def test_what_dockerignore_names_is_not_sent(subject: Subject, build: Build, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / ".dockerignore").write_text("# a comment\nsecret*\n!secret-but-needed\n")
    for name in ("secret", "secret-but-needed", "seen"):
        (context / name).write_text("x")
    reference = build("FROM BASE\nCOPY . /all/\n")
    image = subject.provider.obtain(reference, silent)
    with subject.running(subject.spec("built"), image=image) as instance:
        assert subject.shell(instance, "ls /all").split() == ["Dockerfile", "secret-but-needed", "seen"]
    (context / "secret").write_text("changed")
    assert subject.provider.obtain(reference, silent).digest == image.digest


def test_a_dockerfile_may_be_outside_of_its_context(subject: Subject, build: Build, tmp_path: Path) -> None:
    (tmp_path / "context/file").write_text("x")
    reference = build("FROM BASE\nCOPY file /copied\n", file="elsewhere.Dockerfile")
    with subject.running(subject.spec("built"), image=subject.provider.obtain(reference, silent)) as instance:
        assert subject.shell(instance, "ls /copied") == "/copied"


def test_a_step_that_fails_is_told_with_its_output(subject: Subject, build: Build) -> None:
    with pytest.raises(EnvupError, match="cannot build") as caught:
        subject.provider.obtain(build('FROM BASE\nRUN ["cat", "/there-is-none"]\n'), silent)
    assert "RUN" in caught.value.details
    assert "/there-is-none" in caught.value.details
    assert "mend the Dockerfile" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("FROM BASE\nUNKNOWN\n", "mend the Dockerfile"),
        ("FROM BASE\nCOPY none /x\n", ".dockerignore"),
        ("FROM 127.0.0.1:1/none\n", "registry"),
    ],
)
def test_a_build_that_fails_is_told_with_a_remedy(subject: Subject, build: Build, text: str, remedy: str) -> None:
    with pytest.raises(EnvupError, match="cannot build") as caught:
        subject.provider.obtain(build(text), silent)
    assert remedy in caught.value.hint


def test_what_needs_another_builder_is_told_with_a_way_out(subject: Subject, build: Build, tmp_path: Path) -> None:
    (tmp_path / "context/file").write_text("x")
    with pytest.raises(EnvupError) as caught:
        subject.provider.obtain(build("FROM BASE\nCOPY --chmod=600 file /file\n"), silent)
    assert "docker build" in (caught.value.hint or "")


def test_a_missing_dockerfile_is_told(subject: Subject, tmp_path: Path) -> None:
    options = {"dockerfile": str(tmp_path / "Dockerfile"), "context": str(tmp_path)}
    with pytest.raises(EnvupError, match="does not exist"):
        subject.provider.obtain(ImageReference("dockerfile", options), silent)


def fetched(source: Any, options: Mapping[str, Any], directory: Path) -> tuple[Any, dict[str, tarfile.TarInfo]]:
    work = directory / "work"
    work.mkdir()
    archive = directory / "image.tar"
    found = source.fetch(options, archive, FetchContext(work, silent))
    with tarfile.open(archive) as members:
        return found, {member.name.strip("/"): member for member in members}


def test_an_image_feeds_the_hub(engine: Engine, base: str, names: list[str], tmp_path: Path) -> None:
    names.append(made := variant(engine, base, "hub"))
    engine.call("POST", f"/images/{made}/tag", query={"repo": "envup-test-hub", "tag": "1"})
    names.insert(0, "envup-test-hub:1")
    found, members = fetched(DockerSource(), {"docker": "envup-test-hub:1"}, tmp_path)
    assert (found.architecture, found.environment["VARIANT"]) == ("amd64", "hub")
    assert members["busybox"].mode & 0o777 == 0o755
    assert ".dockerenv" not in members
    assert not containers.listed(engine, "envup.export")


def test_a_dockerfile_feeds_the_hub(build: Build, tmp_path: Path) -> None:
    reference = build("FROM BASE\nENV A=b\nCOPY Dockerfile /copied\n")
    source = DockerfileSource()
    found, members = fetched(source, reference.options, tmp_path)
    assert found.environment["A"] == "b"
    assert "copied" in members
    key = source.key(reference.options)
    assert source.key(reference.options) == key
    (tmp_path / "context/more").write_text("x")
    assert source.key(reference.options) != key


def test_containers_of_dead_commands_are_removed_by_the_next_fetch(engine: Engine, base: str, tmp_path: Path) -> None:
    dead = {"Image": base, "Cmd": ["x"], "Labels": {"envup.export": "999999999.1"}}
    alive = {"Image": base, "Cmd": ["x"], "Labels": {"envup.export": f"{os.getpid()}.{start_time()}"}}
    left = [engine.call("POST", "/containers/create", body=body)["Id"] for body in (dead, alive)]
    try:
        fetched(DockerSource(), {"docker": base}, tmp_path)
        assert [one["Id"] for one in containers.listed(engine, "envup.export")] == left[1:]
    finally:
        containers.remove(engine, left[1])


def start_time() -> str:
    from envup.namespaces import records

    return str(records.start_time(os.getpid()))


@pytest.fixture
def hub(tmp_path: Path, subject: Subject) -> Iterator[Image]:
    """A small image of the hub that no other case has."""
    archive = tmp_path / "hub.tar"
    archive.write_bytes(busybox(shell=True).read())
    with tarfile.open(archive, "a") as added:
        info = tarfile.TarInfo("etc/unique")
        info.size = 16
        added.addfile(info, io.BytesIO(os.urandom(16)))
    image = kit.describe(archive)
    yield image
    subject.provider.remove_form(image.digest)


def test_an_image_of_the_hub_is_taken_in_once_and_freed(subject: Subject, hub: Image) -> None:
    with subject.running(subject.spec("first"), image=hub), subject.running(subject.spec("second"), image=hub):
        assert [digest for digest, size in subject.provider.forms() if size > 0].count(hub.digest) == 1
        with pytest.raises(EnvupError, match=r"in use by /project: (first|second)"):
            subject.provider.remove_form(hub.digest)
    subject.provider.remove_form(hub.digest)
    assert hub.digest not in dict(subject.provider.forms())


def test_commands_that_take_an_image_in_at_once_leave_one(
    subject: Subject, engine: Engine, hub: Image, tmp_path: Path
) -> None:
    """Also where they have nothing in common but the engine."""
    from envup_docker import images

    failures: list[BaseException] = []

    def ensure(number: int) -> None:
        try:
            (tmp_path / str(number)).mkdir()
            images.ensure(Engine(engine.endpoint), tmp_path / str(number), hub)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ensure, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [digest for digest, _size in subject.provider.forms()].count(hub.digest) == 1
    subject.provider.remove_form(hub.digest)
    wanted = {"label": [f"{images.LABEL}={hub.digest}"]}
    assert engine.call("GET", "/images/json", query={"filters": wanted}) == []


def test_a_users_own_images_are_no_forms(subject: Subject, engine: Engine, base: str) -> None:
    own = engine.call("GET", f"/images/{base}/json")["Id"]
    assert own not in dict(subject.provider.forms())
    subject.provider.remove_form(own)
    assert has(engine, base)
