"""`env lock` and what other verbs make of a lock file, with machines that pretend."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_shop import Shop
from fake_plugins import install, manifest

ENVFILE = """\
name: shop
defaults: {provider: pretend, mounts: []}
machines:
  web:
    image: {edition: {role: SHELVES/one}}
    environment: {TOKEN: "${TOKEN:-none}"}
    provision:
      - {name: app, shell: echo hello}
  db: {image: {edition: {role: SHELVES/two}}}
"""


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    """Two shelves with the first edition on each."""
    for name in ("one", "two"):
        (tmp_path / "shelves" / name).mkdir(parents=True)
    publish(tmp_path / "shelves", "1")
    return tmp_path / "shelves"


@pytest.fixture
def shop(shop: Shop, shelves: Path) -> Shop:
    """With images from the shelves."""
    site = Path(shop.environment["PYTHONPATH"])
    schema = {**manifest("image_source"), "properties": {"role": {"type": "string"}}}
    install(site, "edition", code=(Path(__file__).parent / "edition.py").read_text(), schema=schema)
    shop.write(ENVFILE.replace("SHELVES", str(shelves)))
    return shop


def publish(shelves: Path, edition: str) -> None:
    for name in ("one", "two"):
        (shelves / name / edition).write_text(f"{name} {edition}")


def lock(shop: Shop) -> Path:
    return shop.directory / "Envfile.lock"


def images(shop: Shop) -> dict[str, str]:
    """What machines are made from."""
    return {machine["name"]: machine["image"] for machine in shop.json("status")["machines"]}


def built(shop: Shop) -> Any:
    return shop.events("images", "build")[-1]["images"]


def elsewhere(shop: Shop, tmp_path: Path) -> Shop:
    """The same checkout as somebody else has it, with nothing in store."""
    return Shop(shop.directory, shop.environment | {"ENVUP_HOME": str(tmp_path / "elsewhere")})


def test_it_is_written_once_and_is_the_same_for_others(shop: Shop, tmp_path: Path, fits: Callable[..., None]) -> None:
    shop.environment["TOKEN"] = "very-secret"
    result = shop.events("lock")[-1]
    fits("event", result)
    assert (result["ok"], result["changed"], result["file"]) == (True, True, str(lock(shop)))
    text = lock(shop).read_text()
    assert set(result["images"]) == {"one", "two"} and all(digest in text for digest in result["images"].values())
    assert 'image.edition.one.edition = "1"' in text and "very-secret" not in text
    assert 'plugin.provider.pretend = "dist-pretend 1.5"' in text
    assert shop.run("lock").stdout.splitlines() == ["Envfile.lock: is as it should be"]
    other = elsewhere(shop, tmp_path)
    other.environment["TOKEN"] = "another"
    lock(shop).unlink()
    assert other.run("lock").returncode == 0
    assert lock(shop).read_text() == text


def test_images_are_taken_as_they_are_locked_where_the_store_lacks_them_too(
    shop: Shop, shelves: Path, tmp_path: Path
) -> None:
    shop.run("lock")
    before = built(shop)
    publish(shelves, "2")
    assert shop.run("up", "--locked").returncode == 0
    assert images(shop) == before == built(elsewhere(shop, tmp_path))
    lock(shop).unlink()
    assert shop.events("images", "build", "--refresh")[-1]["images"].items().isdisjoint(before.items())


def test_what_is_locked_and_cannot_be_had_is_an_error_that_changes_nothing(
    shop: Shop, shelves: Path, tmp_path: Path
) -> None:
    shop.run("lock")
    (shelves / "one/1").unlink()
    other = elsewhere(shop, tmp_path)
    result = other.run("images", "build")
    assert (result.returncode, result.stderr) == (1, "envup: edition 1 is out of print\n")


def test_what_cannot_be_had_again_is_not_locked(shop: Shop, shelves: Path) -> None:
    publish(shelves, "draft")
    for argv in (["lock"], ["lock", "--update"]):
        refused = shop.run(*argv)
        assert refused.returncode == 1
        assert refused.stderr.endswith("envup: a draft is printed once\n  to do: wait for the next edition\n")
    assert not lock(shop).exists()
    assert shop.run("up").returncode == 0


def test_what_comes_out_otherwise_than_it_is_locked_is_refused(shop: Shop, shelves: Path, tmp_path: Path) -> None:
    shop.run("lock")
    (shelves / "one/1").write_text("forged")
    result = elsewhere(shop, tmp_path).run("up")
    assert result.returncode == 1
    assert "is not what the lock file has" in result.stderr and "locked: sha256:" in result.stderr
    assert "`env lock --update one`" in result.stderr


def test_update_moves_on_with_all_images_or_with_those_that_are_named(shop: Shop, shelves: Path) -> None:
    first = shop.events("lock")[-1]["images"]
    publish(shelves, "2")
    assert shop.run("lock", "--check").returncode == 0
    second = shop.events("lock", "--update", "one")[-1]["images"]
    assert set(second) == {"one"} and second["one"] != first["one"]
    assert first["two"] in lock(shop).read_text() and first["one"] not in lock(shop).read_text()
    third = shop.events("lock", "--update")[-1]["images"]
    assert third["one"] == second["one"] and third["two"] != first["two"]


def test_another_image_of_the_same_name_moves_no_image_that_is_locked(
    shop: Shop, shelves: Path, tmp_path: Path
) -> None:
    shutil.copytree(shelves / "one", tmp_path / "other/one")
    one = ENVFILE.replace("SHELVES", str(shelves))
    shop.run("lock")
    before, text = built(shop), lock(shop).read_text()
    publish(shelves, "2")
    shop.run("images", "build", "--refresh")
    shop.write(f"{one}  more: {{image: {{edition: {{role: {tmp_path}/other/one}}}}}}\n")
    assert shop.run("lock", "--check").stdout.count("is not locked") == 1
    assert built(shop).items() > before.items()
    assert shop.run("lock").returncode == 0
    assert set(text.splitlines()) < set(lock(shop).read_text().splitlines())
    assert shop.run("up", "--locked").stderr == ""
    shop.write(one)
    assert shop.run("lock").returncode == 0
    assert lock(shop).read_text() == text


def test_a_machine_of_another_image_than_the_one_that_is_locked_is_made_anew(shop: Shop, shelves: Path) -> None:
    shop.run("up")
    shop.run("lock")
    assert shop.run("plan", "--check").returncode == 0
    publish(shelves, "2")
    shop.run("lock", "--update", "one")
    assert {machine["name"]: machine["drift"] for machine in shop.json("status")["machines"]} == {
        "web": ["image"],
        "db": [],
    }
    (ask,) = shop.json("plan")["asks"]
    assert "machine 'web'" in ask and "image is locked at sha256:" in ask
    assert shop.run("up").returncode == 2
    assert shop.run("up", "--yes").returncode == 0
    assert images(shop) == built(shop)
    assert shop.run("plan", "--check").returncode == 0


def test_an_image_of_which_nobody_noted_how_to_get_it_again_is_fetched_once_more(shop: Shop, shelves: Path) -> None:
    before = built(shop)
    for entry in (Path(shop.environment["ENVUP_HOME"]) / "data/images/refs").iterdir():
        kept = json.loads(entry.read_text())
        del kept["pin"]
        entry.write_text(json.dumps(kept))
    publish(shelves, "2")
    assert built(shop) == before
    assert shop.run("lock").returncode == 0
    assert 'image.edition.one.edition = "2"' in lock(shop).read_text()
    assert built(shop).items().isdisjoint(before.items())


CHANGES = {
    "echo hello": ("echo hey", "step 'app' of machine 'web' changed"),
    "role: SHELVES/two": ("role: SHELVES/one", "image two is no longer in the Envfile"),
    "name: app, ": ("", "step 'app' of machine 'web' is no longer in the Envfile"),
}


@pytest.mark.parametrize("old", CHANGES)
def test_a_stale_entry_is_told_by_up_and_plan_and_refused_where_that_is_asked_for(
    old: str, shop: Shop, shelves: Path
) -> None:
    shop.run("lock")
    new, told = CHANGES[old]
    shop.write(ENVFILE.replace(old, new).replace("SHELVES", str(shelves)))
    for verb in ("plan", "up"):
        result = shop.run(verb)
        assert result.returncode == 0
        assert result.stderr.count("warning") == 1
        assert f"warning: Envfile.lock: {told}" in result.stderr and "; `env lock` makes it fit\n" in result.stderr
        refused = shop.run(verb, "--locked")
        assert refused.returncode == 2 and f"  {told}\n" in refused.stderr
    checked = shop.run("lock", "--check", "--json")
    assert checked.returncode == 3 and told in json.loads(checked.stdout)["pending"]
    assert shop.run("lock").returncode == 0
    assert shop.run("up", "--locked").stderr == ""


def test_an_image_whose_digest_is_missing_is_not_locked(shop: Shop) -> None:
    shop.run("lock")
    whole = lock(shop).read_text()
    lock(shop).write_text(re.sub(r"image\.edition\.one\.(digest|edition) = .*\n", "", whole))
    refused = shop.run("up", "--locked")
    assert (refused.returncode, "image one is not locked" in refused.stderr) == (2, True)
    assert shop.run("lock", "--check").returncode == 3
    assert shop.run("lock").returncode == 0
    assert lock(shop).read_text() == whole


def test_other_versions_of_plugins_are_refused_where_that_is_asked_for(shop: Shop) -> None:
    shop.run("lock")
    lock(shop).write_text(lock(shop).read_text().replace("dist-pretend 1.5", "dist-pretend 1.4"))
    told = "provider pretend: dist-pretend 1.5 is installed, locked is dist-pretend 1.4"
    refused = shop.run("up", "--locked")
    assert (refused.returncode, told in refused.stderr) == (2, True)
    assert all(machine["state"] == "absent" for machine in shop.json("status")["machines"])
    assert told in shop.run("up").stderr


def test_without_a_lock_file_nothing_is_refused_or_told_unless_that_is_asked_for(shop: Shop) -> None:
    assert shop.run("up").stderr == ""
    refused = shop.run("up", "--locked")
    assert refused.returncode == 2
    assert refused.stderr == f"envup: there is no lock file {lock(shop)}\n  to do: `env lock` writes it\n"
    assert shop.run("lock", "--check").returncode == 3
    assert not lock(shop).exists()


@pytest.mark.parametrize(
    ("verb", "text", "told"),
    [
        ("up", "format = 1\n<<<<<<< HEAD\n", "Envfile.lock:2: a conflict of a merge is not resolved here"),
        ("lock", "format = 1\n<<<<<<< HEAD\n", "Envfile.lock:2: a conflict of a merge is not resolved here"),
        ("plan", "format = 9\n", "Envfile.lock:1: format 9 is newer than 1"),
        ("images build", "format = 1\n\n{", "Envfile.lock:3: no fact of a lock file"),
    ],
)
def test_a_lock_file_that_does_not_hold_is_an_error_with_its_line(verb: str, text: str, told: str, shop: Shop) -> None:
    lock(shop).write_text(text)
    result = shop.run(*verb.split())
    assert result.returncode == 2 and result.stderr.startswith(f"envup: {told}") and "to do: " in result.stderr
    assert lock(shop).read_text() == text


def test_machines_can_be_stopped_and_destroyed_whatever_the_lock_file_is(shop: Shop) -> None:
    shop.run("up")
    lock(shop).write_text("nonsense")
    assert "Envfile.lock" in shop.json("status")["problem"]
    assert shop.run("stop").returncode == 0
    assert shop.run("destroy", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["one"], "IMAGE goes with --update"),
        (["--check", "--update"], "exclude each other"),
        (["--update", "three"], "there is no image 'three' in the Envfile"),
    ],
)
def test_wrong_usage_is_told(argv: list[str], told: str, shop: Shop) -> None:
    result = shop.run("lock", *argv)
    assert result.returncode == 2 and told in result.stderr


def test_an_envfile_of_another_name_has_a_lock_file_of_its_own(shop: Shop) -> None:
    (shop.directory / "Envfile").rename(shop.directory / "Envfile.prod")
    assert shop.run("lock", "--file", "Envfile.prod").returncode == 0
    assert (shop.directory / "Envfile.prod.lock").exists()
    (shop.directory / "Envfile.prod").rename(shop.directory / "Envfile.yaml")
    assert shop.run("lock").returncode == 0
    assert lock(shop).exists()


def test_the_host_itself_is_not_locked_and_not_refused(shop: Shop) -> None:
    shop.write("defaults: {provider: pretend, mounts: []}\nimage: host\n")
    assert "is another each time, and not locked" in shop.run("lock").stdout
    assert shop.run("up", "--locked").returncode == 0


def test_a_step_and_an_image_of_the_whole_project_can_be_locked(shop: Shop, tmp_path: Path) -> None:
    step = f"copy: {{from: ., to: {tmp_path}/copied}}"
    shop.write(f"{{provider: pretend, mounts: [], image: {{directory: .}}, provision: [{step}]}}\n")
    assert shop.run("lock").returncode == 0
    assert shop.run("lock", "--check").returncode == 0
    up = shop.run("up", "--locked", "--no-provision")
    assert (up.returncode, up.stderr) == (0, "")
    (shop.directory / "more").write_text("x")
    assert shop.run("lock", "--check").returncode == 3
