"""Images of machines that pretend: the variables that they declare."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_shop import Shop
from fake_plugins import install, manifest

TWO = """\
defaults: {provider: pretend, mounts: []}
machines:
  web: {image: {variant: {role: web}}}
  worker: {image: {variant: {role: worker}}, environment: {OWN: "1"}}
"""


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """With a source of images that declare variables."""
    code = (Path(__file__).parent / "variant.py").read_text()
    schema = {**manifest("image_source"), "properties": {"role": {"type": "string"}}}
    install(Path(shop.environment["PYTHONPATH"]), "variant", code=code, schema=schema)
    shop.write(TWO)
    return shop


def roles(shop: Shop) -> list[str]:
    return [shop.run("exec", machine, "--", "sh", "-c", "echo $ROLE").stdout.strip() for machine in ("web", "worker")]


def test_machines_keep_the_variables_of_their_own_image_where_two_images_have_one_digest(shop: Shop) -> None:
    assert shop.run("up").returncode == 0
    assert len({machine["image"] for machine in shop.json("status")["machines"]}) == 1
    assert roles(shop) == ["web", "worker"]
    assert shop.run("restart").returncode == 0
    assert roles(shop) == ["web", "worker"]


def test_machines_keep_the_variables_of_an_image_that_is_removed_and_when_the_records_are_lost(shop: Shop) -> None:
    shop.run("up")
    (image,) = shop.json("images")["images"]
    assert shop.run("images", "remove", image["digest"], "--yes").returncode == 0
    shop.run("restart")
    assert roles(shop) == ["web", "worker"]
    (Path(shop.environment["ENVUP_HOME"]) / "data/state.db").unlink()
    shop.run("restart")
    assert roles(shop) == ["web", "worker"]


def test_variables_of_the_envfile_stand_above_those_of_the_image(shop: Shop) -> None:
    shop.write(TWO.replace('OWN: "1"', "ROLE: mine"))
    shop.run("up")
    assert roles(shop) == ["web", "mine"]
    shop.write(TWO)
    shop.run("up")
    assert roles(shop) == ["web", "worker"]
