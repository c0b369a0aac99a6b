"""One backend that does not answer: what it has is unknown, and the machines of others are in reach all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_shop import Shop
from fake_plugins import install, manifest

ENVFILE = """\
name: shop
defaults: {image: host, mounts: []}
machines:
  far: {provider: pretend, depends_on: {near: provisioned}, provision: [{shell: echo far away}]}
  near: {provider: other, ports: ["80:80"], provision: [{shell: echo close by}]}
"""


@pytest.fixture
def half(shop: Shop, tmp_path: Path) -> Shop:
    """Two machines that are up, one on a provider that answers no longer."""
    code = (Path(__file__).parent / "pretend.py").read_text().replace('name = "pretend"', 'name = "other"')
    install(tmp_path / "site", "other", code=code, schema=manifest("provider", isolation="container"))
    shop.write(ENVFILE)
    done = shop.run("up")
    assert done.returncode == 0, done.stdout + done.stderr
    silence(shop).touch()
    return shop


def silence(shop: Shop) -> Path:
    return Path(shop.environment["ENVUP_HOME"]) / "data/providers/pretend/silent"


def test_status_tells_the_others_and_what_is_unknown(half: Shop, fits: Callable[[str, Any], None]) -> None:
    document = half.json("status", code=1)
    fits("status", document)
    assert {one["name"]: one["state"] for one in document["machines"]} == {"far": "unknown", "near": "running"}
    assert document["problems"] == ["the shelf does not answer; to do: knock louder"]
    told = half.run("status")
    assert told.returncode == 1
    assert "warning: the shelf does not answer; to do: knock louder" in told.stderr
    assert half.json("status", "near")["machines"][0]["state"] == "running"
    assert half.run("ports").returncode == 1
    assert half.run("ports", "near").returncode == 0


def test_status_tells_what_is_unknown_where_the_envfile_is_gone(half: Shop) -> None:
    (half.directory / "Envfile").unlink()
    assert {one["name"]: one["state"] for one in half.json("status", code=1)["machines"]} == {
        "far": "unknown",
        "near": "running",
    }


def test_logs_show_all_but_the_console_that_is_not_to_be_had(half: Shop) -> None:
    result = half.run("logs")
    assert result.returncode == 1
    assert "far away" in result.stdout and "close by" in result.stdout and "near booted" in result.stdout
    assert "the console of machine 'far' is not to be had: the shelf does not answer" in result.stderr
    assert half.run("logs", "near").returncode == 0


@pytest.mark.parametrize(
    "words", [("exec", "near", "true"), ("plan", "near"), ("up", "near"), ("suspend", "near"), ("resume", "near"),
              ("provision", "near"), ("stop", "near"), ("restart", "near"), ("destroy", "near", "--yes")],
    ids=" ".join,
)  # fmt: skip
def test_a_verb_for_the_other_machine_works(half: Shop, words: tuple[str, ...]) -> None:
    result = half.run(*words)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("words", [("up",), ("plan",), ("stop",), ("up", "far"), ("destroy", "far", "--yes")])
def test_a_verb_for_its_machine_or_for_all_is_an_error_that_names_the_remedy(
    half: Shop, words: tuple[str, ...]
) -> None:
    result = half.run(*words)
    assert result.returncode == 1
    assert "the shelf does not answer" in result.stderr and "knock louder" in result.stderr


def test_nothing_is_forgotten_of_what_is_unknown(half: Shop) -> None:
    assert half.run("destroy", "near", "--yes").returncode == 0
    silence(half).unlink()
    (far,) = [one for one in half.json("status")["machines"] if one["name"] == "far"]
    assert (far["state"], far["provisioned"]) == ("running", True)
    assert "far away" in half.run("logs", "far").stdout
