"""Images of machines that pretend: the variables that they declare, secrets in what they are made with, and who makes
them."""

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
    schema = {**manifest("image_source"), "properties": {"role": {"type": "string"}, "args": {"type": "object"}}}
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


SECRET = """\
defaults: {provider: pretend, mounts: []}
machines:
  web: {image: {variant: {role: web, args: {KEY: "${TOKEN}"}}}, pretend: {level: "${LEVEL}"}}
"""


def everything_said(shop: Shop, *argv: str, code: int = 0) -> str:
    result = shop.run(*argv)
    assert result.returncode == code
    return result.stdout + result.stderr


def everything_stored(shop: Shop) -> bytes:
    places = (Path(shop.environment["ENVUP_HOME"]), shop.directory / ".envup")
    return b"".join(path.read_bytes() for place in places for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("call", ["up", "up --verbose", "up --json", "images build", "images build --json"])
def test_secrets_of_an_image_are_neither_told_nor_stored(shop: Shop, call: str) -> None:
    shop.write(SECRET)
    shop.environment |= {"TOKEN": "hunter2-of-the-image", "LEVEL": "73"}
    said = everything_said(shop, *call.split())
    assert "with ***" in said
    assert "of-the-image" not in said
    assert b"of-the-image" not in everything_stored(shop)
    assert "of-the-image" not in everything_said(shop, "images")


@pytest.mark.parametrize("call", ["up", "images build", "images build --json"])
def test_an_image_that_fails_tells_no_secret(shop: Shop, call: str) -> None:
    shop.write(SECRET.replace("KEY", "fail"))
    shop.environment |= {"TOKEN": "hunter2-of-the-image", "LEVEL": "73"}
    said = everything_said(shop, *call.split(), code=1)
    assert "it failed" in said and "***" in said
    assert "of-the-image" not in said


def test_another_secret_of_an_image_is_another_image_and_the_same_one_is_not_made_again(shop: Shop) -> None:
    shop.write(SECRET)
    shop.environment |= {"TOKEN": "hunter2-of-the-image", "LEVEL": "73"}
    assert "--arg ***" in everything_said(shop, "up")
    assert "--arg" not in everything_said(shop, "images", "build")
    assert shop.json("plan")["actions"] == []
    shop.environment["TOKEN"] = "another-of-the-image"
    (asks,) = shop.json("plan")["asks"]
    assert "image changed from" in asks
    assert "--arg ***" in everything_said(shop, "images", "build")


def test_a_changed_secret_in_a_providers_options_is_seen_and_not_told(shop: Shop) -> None:
    shop.write(SECRET)
    shop.environment |= {"TOKEN": "hunter2-of-the-image", "LEVEL": "73737373"}
    shop.run("up")
    assert b"73737373" not in everything_stored(shop)
    shop.environment["LEVEL"] = "84848484"
    (asks,) = shop.json("plan")["asks"]
    assert asks.endswith("pretend.level changed")


OWN_IMAGES = """\
import pluggy
from envup.image import Image
from envup.provider import OwnImages
from plugin_pretend import Pretend

class Shelf(Pretend, OwnImages):
    name, sources = "shelf", frozenset({"variant"})

    def obtain(self, reference, emit, *, refresh=False):
        return Image("from the shelf", None)

@pluggy.HookimplMarker("envup")
def envup_provider():
    return Shelf
"""


FORMS = """\
import pluggy
from envup.errors import EnvupError
from envup.provider import ImageForms, Instance
from plugin_pretend import Pretend

class Mould(Pretend, ImageForms):
    name = "mould"

    def forms(self):
        return [("sha256:mine", 5), ("sha256:yours", 7)]

    def remove_form(self, digest):
        if digest == "sha256:yours":
            if not (self.context.data / "stuck").exists():  # another command makes a machine of it just now
                labels = {"envup.environment": "other", "envup.machine": "one", "envup.image": digest}
                self._write(Instance("1", "running", labels))
            raise EnvupError("it is in use")

@pluggy.HookimplMarker("envup")
def envup_provider():
    return Mould
"""


def test_prune_leaves_an_image_that_a_machine_is_made_from_meanwhile(shop: Shop) -> None:
    schema = manifest("provider", isolation="container")
    install(Path(shop.environment["PYTHONPATH"]), "mould", code=FORMS, schema=schema)
    assert [freed["digest"] for freed in shop.json("prune")["freed"]] == ["sha256:mine"]
    data = Path(shop.environment["ENVUP_HOME"]) / "data/providers/mould"
    next(data.glob("*.json")).unlink()
    (data / "stuck").touch()
    refused = shop.run("prune")
    assert (refused.returncode, refused.stderr) == (1, "envup: it is in use\n")


def test_build_gets_an_image_from_where_up_gets_it(shop: Shop) -> None:
    schema = manifest("provider", isolation="container")
    install(Path(shop.environment["PYTHONPATH"]), "shelf", code=OWN_IMAGES, schema=schema)
    text = "image: {variant: {role: web}}\nmounts: []\n"
    shop.write(f"{text}provider: shelf\n")
    assert shop.run("up").returncode == 0
    shop.write(text)  # the machine stays where it is
    assert shop.run("plan", "--check").returncode == 0
    assert shop.events("images", "build")[-1]["images"] == {"default": "from the shelf"}
    assert shop.json("images")["images"] == []


def test_build_refuses_what_up_would_refuse(shop: Shop) -> None:
    shop.write(f"image: {{variant: {{role: web}}}}\nprovider: chroot\nmounts: ['{shop.directory}/none:/mnt']\n")
    refused = shop.events("plan", code=2)[-1]
    assert shop.events("images", "build", code=2)[-1]["message"] == refused["message"]
