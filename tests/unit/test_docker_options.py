"""The options of the Docker provider, as the Envfile's validation takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import envup_docker

SCHEMA = json.loads((Path(envup_docker.__file__).parent / "options.schema.json").read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", sorted(SCHEMA["properties"]))
def test_every_option_says_what_it_is_and_how_a_change_is_applied(name: str) -> None:
    option = SCHEMA["properties"][name]
    assert option["description"].endswith(".")
    assert option["x-apply"] in ("live", "restart", "recreate")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"command": "image"},
        {"command": ["/sbin/init", "--x"]},
        {"volumes": {"cache": "/var/cache", "data_1": "/data:ro"}},
        {"tmpfs": {"/run": "size=1m", "/tmp": ""}},
        {"shm_size": "64MiB"},
        {"gpus": "all"},
        {"gpus": 1},
        {"gpus": ["GPU-1"]},
        {"ulimits": {"nofile": {"soft": 1, "hard": -1}, "core": -1}},
        {"sysctls": {"a.b": 1, "c": True}},
        {"logging": {"driver": "none"}},
        {"userns_mode": "host"},
    ],
)
def test_what_docker_knows_is_taken(options: dict[str, Any]) -> None:
    CHECK.validate(options)


@pytest.mark.parametrize(
    "options",
    [
        {"comand": "image"},
        {"command": []},
        {"command": "sh"},
        {"volumes": {"cache": "relative"}},
        {"volumes": {"/host": "/path"}},
        {"volumes": {"cache": "/a:rw"}},
        {"tmpfs": {"relative": ""}},
        {"shm_size": "big"},
        {"shm_size": 64},
        {"gpus": 0},
        {"ulimits": {"nofile": {"soft": 1}}},
        {"logging": {"options": {}}},
        {"cap_add": ["A", "A"]},
        {"network": ""},
    ],
)
def test_what_it_does_not_know_is_refused(options: dict[str, Any]) -> None:
    assert not CHECK.is_valid(options)
