"""The engine is stopped in the middle of `env up`, and started again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_daemon import Daemon, daemon
from real_machines import LIMIT, Project, make_small_archive

ENVFILE = """\
provider: docker
image: {tarball: "@HOME@/small.tar"}
mounts: []
provision:
  - {name: first, shell: echo first >> /root/log}
  - {name: second, shell: "echo waiting; until [ -e /root/go ]; do sleep 0.1; done; echo second >> /root/log"}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    """An engine that these cases stop and start."""
    with daemon() as own:
        yield own


@pytest.fixture
def project(engine: Daemon, tmp_path: Path) -> Iterator[Project]:
    """A machine of that engine whose second step waits for a file."""
    made = Project(tmp_path / "shop", tmp_path / "home", {"DOCKER_HOST": engine.address})
    (tmp_path / "home").mkdir()
    make_small_archive(tmp_path / "home" / "small.tar")
    made.write(ENVFILE)
    yield made
    engine.start()
    made.must("destroy", "--yes")


@pytest.mark.parametrize(
    ("action", "sign"),
    [("default/create", "started"), ("default/start", "started"), ("default/provision:2", "output")],
    ids=["create", "start", "step"],
)
def test_up_tells_that_the_engine_went_away_and_the_next_one_goes_on(
    project: Project, engine: Daemon, action: str, sign: str
) -> None:
    said: list[dict[str, object]] = []
    with project.start("up", "--json") as process:
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            said.append(json.loads(line))
            if (said[-1].get("action"), said[-1]["event"]) == (action, sign):
                engine.stop()
        timer.cancel()
        assert process.wait() == 1, said
        assert process.stderr is not None
        assert process.stderr.read() == ""
    (failed,) = (event for event in said if event["event"] == "failed")
    assert "engine" in json.dumps(failed), failed
    status = project.run("status")
    assert (status.returncode, "no Docker engine answers" in status.stderr) == (1, True), status
    assert "dockerd" in status.stderr

    engine.start()
    with project.start("up") as process:
        while project.run("exec", "--", "touch", "/root/go").returncode != 0:
            assert process.poll() is None, process.communicate()
        output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output + errors
    assert project.must("exec", "--", "cat", "/root/log").split() == ["first", "second"]
