"""Whatever an Envfile says, the answer is a list of problems with positions, soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import envfiles
import pytest
from fake_plugins import install_provider

from envup.envfile.load import load
from envup.errors import EnvfileError
from envup.home import Home
from envup.model import Environment
from envup.plugins import Host

MALFORMED = dict(envfiles.malformed())
SECONDS = 5.0
"""A loaded test machine is given time; the point is that nothing hangs."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    site = tmp_path / "site"
    install_provider(site, "box", "container")
    monkeypatch.syspath_prepend(str(site))
    return Host(Home(tmp_path / "data", tmp_path / "cache", tmp_path / "run"))


def read(content: bytes, tmp_path: Path, host: Host) -> Environment:
    file = tmp_path / "Envfile"
    file.write_bytes(content)
    return load(file, host, environ={"TOKEN": "t0p"})


def test_there_are_more_than_two_hundred_malformed_envfiles_all_of_them_different() -> None:
    assert len(MALFORMED) == len(list(envfiles.malformed()))
    assert len(set(MALFORMED.values())) >= 200


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_envfile_is_refused_soon_with_positions(name: str, tmp_path: Path, host: Host) -> None:
    started = time.monotonic()
    with pytest.raises(EnvfileError) as caught:
        read(MALFORMED[name], tmp_path, host)
    assert time.monotonic() - started < SECONDS
    assert caught.value.code == 2
    assert caught.value.problems
    lines = MALFORMED[name].count(b"\n") + 2
    for problem in caught.value.problems:
        assert problem.file == "Envfile"
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert problem.message.strip() == problem.message != ""
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
        assert "t0p" not in str(problem), "a value from outside is told"


@pytest.mark.parametrize("name", envfiles.GOOD)
def test_a_good_envfile_loads_and_gives_the_same_again_from_the_cache(name: str, tmp_path: Path, host: Host) -> None:
    first = read(envfiles.GOOD[name].encode(), tmp_path, host)
    assert first.machines
    assert [path.name for path in host.home.cache.glob("envfile-*")]
    assert read(envfiles.GOOD[name].encode(), tmp_path, host) == first


def test_every_prefix_of_an_envfile_is_answered(tmp_path: Path, host: Host) -> None:
    content = envfiles.EVERYTHING.encode()
    answers: set[type] = set()
    for end in range(0, len(content), 37):
        try:
            answers.add(type(read(content[:end], tmp_path, host)))
        except EnvfileError as error:
            answers.add(type(error))
    assert answers == {Environment, EnvfileError}


def test_a_file_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, host: Host) -> None:
    os.mkfifo(tmp_path / "Envfile")
    with pytest.raises(Exception, match="not a regular file"):
        load(tmp_path / "Envfile", host)
