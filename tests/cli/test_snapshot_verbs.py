"""What `env snapshot` does with machines as a whole: how they come back, and what it refuses or takes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_shop import Shop
from fake_plugins import install, manifest

ENVFILE = """\
name: shop
defaults: {image: host, provider: pretend, mounts: []}
machines:
  web:
    depends_on: {db: ready}
    provision: [{name: page, shell: echo page >> ran}, {name: serve, shell: touch @UP@, run: always}]
    ready: {command: test -e @UP@}
  db:
    provision: [{name: begin, shell: echo begin >> ran, run: always}]
    ready: {command: "true"}
"""


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.write(ENVFILE.replace("@UP@", str(up(shop))))
    return shop


def up(shop: Shop) -> Path:
    """What a step that runs always makes, and without which `web` is not ready."""
    return shop.directory / "up"


def must(shop: Shop, *argv: str) -> str:
    done = shop.run(*argv)
    assert done.returncode == 0, done
    return done.stdout


def data(shop: Shop) -> Path:
    return Path(shop.environment["ENVUP_HOME"]) / "data/providers/pretend"


def states(shop: Shop) -> dict[str, str]:
    return {machine["name"]: machine["state"] for machine in shop.json("status")["machines"]}


def restored(shop: Shop, *argv: str) -> list[str]:
    """Ids of the actions of a restoration, in the order in which they ended."""
    events = shop.events("snapshot", "restore", *argv, "--yes")
    return [event["action"] for event in events if event["event"] == "finished"]


def test_a_restored_machine_that_ran_runs_its_steps_and_is_ready_and_those_that_depend_on_it_follow(
    shop: Shop,
) -> None:
    must(shop, "up")
    must(shop, "snapshot", "create", "clean")
    up(shop).unlink()
    done = restored(shop, "clean")
    behind = done[done.index("db/start") :]
    assert [action for action in behind if action != "web/restore"] == [
        "db/start",
        "db/provision:1",
        "db/ready",
        "web/start",
        "web/provision:2",
        "web/ready",
    ]
    assert states(shop) == {"web": "running", "db": "running"}
    assert shop.run("plan", "--check").returncode == 0


def test_what_had_not_run_in_the_snapshot_nor_what_is_behind_it_runs_and_up_does_it(shop: Shop) -> None:
    up(shop).touch()
    must(shop, "up", "--no-provision")
    must(shop, "snapshot", "create", "bare")
    must(shop, "up")
    events = shop.events("snapshot", "restore", "bare", "--yes")
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert notes == ["not all steps of machine 'web' had run in snapshot 'bare': `env up` runs the others"]
    done = [event["action"] for event in events if event["event"] == "finished" and event["machine"] == "web"]
    assert done == ["web/suspend", "web/restore", "web/start"]
    must(shop, "up")
    assert (shop.directory / "ran").read_text().split().count("page") == 2


@pytest.mark.parametrize(
    ("envfile", "machine", "why"),
    [
        ("name: [", "web", "as the Envfile is broken or gone"),
        ("name: shop\nprovider: pretend\nmachines: {other: {image: host}}\n", "web", "as it is not in the Envfile"),
        (
            "name: shop\nprovider: pretend\nmachines: {web: {image: {tarball: x.tar}}}\n",
            "web",
            "as `env up` would make it anew: image changed from host to ",
        ),
    ],
)
def test_a_machine_that_cannot_be_started_again_is_told(envfile: str, machine: str, why: str, shop: Shop) -> None:
    must(shop, "up")
    must(shop, "snapshot", "create", "web", "clean")
    shop.write(envfile)
    said = must(shop, "snapshot", "restore", machine, "clean", "--yes")
    assert f"machine '{machine}' stays stopped, {why}" in said
    assert states(shop)[machine] == "stopped"
    shop.write(ENVFILE.replace("@UP@", str(up(shop))))
    assert restored(shop, machine, "clean")[:2] == ["web/restore", "web/start"]


def test_a_machine_that_did_not_run_stays_stopped_and_is_told(shop: Shop) -> None:
    must(shop, "up")
    must(shop, "snapshot", "create", "clean")
    must(shop, "stop")
    said = must(shop, "snapshot", "restore", "clean", "--yes")
    assert "machine 'db' stays stopped, as it did not run: `env up` starts it" in said
    assert states(shop) == {"web": "stopped", "db": "stopped"}


def test_machines_come_back_when_a_restoration_that_was_killed_is_repeated(shop: Shop) -> None:
    must(shop, "up")
    must(shop, "snapshot", "create", "clean")
    (data(shop) / "deadly").touch()
    for _ in range(2):
        assert shop.run("snapshot", "restore", "db", "clean", "--yes").returncode == -9
        assert states(shop)["db"] == "stopped"
    (data(shop) / "deadly").unlink()
    must(shop, "snapshot", "restore", "db", "clean", "--yes")
    assert states(shop)["db"] == "running"


def test_steps_that_run_on_the_host_need_consent_before_anything_is_restored(shop: Shop, tmp_path: Path) -> None:
    code = (Path(__file__).parent / "hostly.py").read_text()
    schema = {"type": "string", "x-envup": manifest("provisioner", "image_source")["x-envup"]}
    install(tmp_path / "site", "hostly", code=code, schema=schema)
    (shop.directory / "task.sh").write_text("echo one >> ran-here\n")
    shop.write("name: shop\nprovider: pretend\nimage: host\nmounts: []\nprovision: [{hostly: task.sh, run: always}]\n")
    must(shop, "up", "--trust")
    must(shop, "snapshot", "create", "clean")
    (shop.directory / "task.sh").write_text("echo two >> ran-here\n")
    refused = shop.run("snapshot", "restore", "clean", "--yes")
    assert refused.returncode == 2
    assert "needs your consent; nothing was changed" in refused.stderr
    assert states(shop) == {"default": "running"}
    must(shop, "snapshot", "restore", "clean", "--yes", "--trust")
    assert (shop.directory / "ran-here").read_text().split() == ["one", "two"]


def test_a_machine_that_none_can_be_taken_of_is_told_before_others_are_taken(shop: Shop) -> None:
    must(shop, "up")
    (data(shop) / "fleeting-web").touch()
    refused = shop.run("snapshot", "create", "clean")
    assert refused.returncode == 2
    assert "machine 'web' keeps nothing" in refused.stderr and "give it a shelf" in refused.stderr
    assert shop.json("snapshot", "list")["snapshots"] == []
    must(shop, "snapshot", "create", "db", "clean")


def test_a_machine_of_which_the_snapshot_s_name_was_forgotten_is_told(shop: Shop) -> None:
    must(shop, "up")
    refused = shop.run("snapshot", "create", "web")
    assert refused.returncode == 2
    assert "'web' is a machine, so no snapshot is named so" in refused.stderr
    assert "`env snapshot create web NAME` keeps that machine" in refused.stderr


def test_where_one_machine_fails_none_has_the_snapshot_and_all_go_on(shop: Shop) -> None:
    must(shop, "up")
    must(shop, "snapshot", "create", "older")
    (data(shop) / "full-web").touch()
    events = shop.events("snapshot", "create", "clean", code=1)
    assert events[-1]["failed"] == ["web/snapshot"]
    assert {one["name"] for one in shop.json("snapshot", "list")["snapshots"]} == {"older"}
    assert states(shop) == {"web": "running", "db": "running"}
    (data(shop) / "full-web").unlink()
    must(shop, "snapshot", "create", "clean")
