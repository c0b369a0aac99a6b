"""Templates on the command line: they are filled in again when facts change that they name, and told when wrong."""

from __future__ import annotations

from pathlib import Path

from cli_shop import Shop

ENVFILE = """\
name: shop
defaults: {{image: host, provider: pretend, mounts: []}}
machines:
  db:
    environment: {{LEVEL: {level}, SECRET: "${{SECRET}}"}}
  web:
    depends_on: [db]
    provision:
      - {{name: own, copy: {{from: own.conf, to: "{target}/", template: true}}}}
      - {{name: shared, copy: {{from: shared.conf, to: "{target}/", template: true}}}}
"""


def write(shop: Shop, target: Path, level: str) -> None:
    shop.environment["SECRET"] = "s3cret-value"
    (shop.directory / "own.conf").write_text("{{ machine.name }}\n")
    (shop.directory / "shared.conf").write_text("{{ machines.db.environment.LEVEL }}\n")
    shop.write(ENVFILE.format(level=level, target=target))


def test_a_template_is_filled_in_again_when_what_it_names_changes(shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "target"
    write(shop, target, "info")
    assert shop.run("up").returncode == 0
    assert ((target / "own.conf").read_text(), (target / "shared.conf").read_text()) == ("web\n", "info\n")
    assert shop.run("plan", "--check").returncode == 0

    write(shop, target, "debug")
    actions = {action["id"]: action["cause"] for action in shop.json("plan")["actions"]}
    assert "web/provision:1" not in actions
    assert actions["web/provision:2"] == "what step 'shared' knows of the machines changed"
    web = next(one for one in shop.json("status")["machines"] if one["name"] == "web")
    assert web["drift"] == ["provision: what step 'shared' knows of the machines changed"]
    assert shop.run("up").returncode == 0
    assert (target / "shared.conf").read_text() == "debug\n"
    assert shop.run("plan", "--check").returncode == 0
    kept = [file for file in (tmp_path / "home").rglob("*") if file.is_file() and file.suffix != ".variables"]
    assert kept and not [file for file in kept if b"s3cret-value" in file.read_bytes()]


def test_a_template_that_does_not_hold_is_told_before_anything_is_made(shop: Shop, tmp_path: Path) -> None:
    write(shop, tmp_path / "target", "info")
    (shop.directory / "shared.conf").write_text("one\n{% endfor %}\n")
    result = shop.run("up")
    assert result.returncode == 2 and f"{shop.directory}/shared.conf:2: " in result.stderr
    assert {machine["state"] for machine in shop.json("status")["machines"]} == {"absent"}
