"""What steps know of machines, and whether it still holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from factory import environment, machine

from envup import facts
from envup.model import Port, Resources
from envup.provider import Instance
from envup.value import replace

WEB = machine("web", environment={"TOKEN": "s3cret-value"}, ports=(Port(80, 0),))
DB = machine("db", hostname="", user="postgres")
SHOP = environment(WEB, DB)
RUNNING = Instance("i-1", "running", {}, addresses=("10.0.2.9",), ports=(Port(80, 40123, "127.0.0.1"),))


def looked_at(*parts: str) -> dict[str, Any]:
    """What is noted of a step that looked at these parts, as it is kept."""
    known = facts.Facts(lambda: facts.of(SHOP, {}, "web"))
    assert [known[part] for part in parts]
    noted: dict[str, Any] = json.loads(json.dumps(facts.note(known, SHOP, "web", "salt")))
    return noted


def test_facts_tell_what_is_declared_and_what_is_there() -> None:
    known = facts.of(SHOP, {"web": RUNNING}, "web")
    port = {"host": "127.0.0.1", "port": 40123, "machine_port": 80, "protocol": "tcp"}
    assert known["machine"] == known["machines"]["web"]
    assert known["machine"] == {
        "name": "web",
        "hostname": "web",
        "provider": "chroot",
        "user": "root",
        "environment": {"TOKEN": "s3cret-value"},
        "state": "running",
        "addresses": ["10.0.2.9"],
        "ports": [port],
    }
    db = known["machines"]["db"]
    assert (db["hostname"], db["user"], db["state"], db["addresses"], db["ports"]) == (
        "db",
        "postgres",
        "absent",
        [],
        [],
    )
    assert known["project"] == {"name": "shop", "directory": "/shop"}


def test_facts_are_put_together_when_one_is_looked_at_and_once() -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return facts.of(SHOP, {}, "web")

    known = facts.Facts(make)
    assert list(known) == ["project", "machine", "machines"] and not made and not known.used
    assert known["project"]["name"] == "shop" and known["machine"]["name"] == "web"
    assert made == [1] and known.used == {"project", "machine"}
    assert dict(known) == facts.of(SHOP, {}, "web") and known.used == set(facts.PARTS)


def test_a_step_that_looks_at_nothing_depends_on_nothing() -> None:
    assert facts.note(facts.Facts(dict), SHOP, "web", "salt") == {}
    assert facts.unchanged({}, environment(DB), "db", "salt")


@pytest.mark.parametrize(
    ("parts", "changed"),
    [
        (("machine",), replace(SHOP, machines=(replace(WEB, environment={}), DB))),
        (("machine",), replace(SHOP, machines=(replace(WEB, hostname="www"), DB))),
        (("machine",), replace(SHOP, machines=(replace(WEB, ports=()), DB))),
        (("machines",), replace(SHOP, machines=(WEB, replace(DB, user="root")))),
        (("machines",), replace(SHOP, machines=(WEB,))),
        (("project",), replace(SHOP, directory=Path("/elsewhere"))),
        (("machine", "project"), replace(SHOP, name="store")),
    ],
)
def test_what_a_step_looked_at_has_changed(parts: tuple[str, ...], changed: Any) -> None:
    assert not facts.unchanged(looked_at(*parts), changed, "web", "salt")


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        (facts.PARTS, SHOP),
        (facts.PARTS, replace(SHOP, machines=(replace(WEB, resources=Resources(pids=9), provider="auto"), DB))),
        (("machine",), replace(SHOP, machines=(WEB,))),
        (("project",), replace(SHOP, machines=(replace(WEB, environment={}),))),
        (("machine",), replace(SHOP, machines=(DB,))),
    ],
)
def test_what_a_step_did_not_look_at_and_what_no_fact_tells_is_no_change(parts: tuple[str, ...], same: Any) -> None:
    assert facts.unchanged(looked_at(*parts), same, "web", "salt")


def test_values_of_variables_are_kept_as_a_keyed_digest() -> None:
    noted = json.dumps(looked_at("machine"))
    assert "s3cret" not in noted
    assert not facts.unchanged(looked_at("machine"), SHOP, "web", "another salt")
