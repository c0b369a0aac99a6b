"""Templates of the provisioner copy: what they read, what they know, and when they are found to be wrong."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from envup.errors import UsageError
from envup.model import Step
from envup.provisioner import StepContext
from envup_copy import envup_provisioner as copy_class
from envup_copy.template import filled_in

STEP = Step(0, "configuration", "copy", {"from": "app.conf", "to": "/etc/", "template": True})


def reads(directory: Path, text: str) -> list[str]:
    (directory / "app.conf").write_text(text)
    return [str(path.relative_to(directory)) for path in copy_class()().reads(STEP, StepContext(directory))]


def test_a_template_reads_those_that_it_names_and_those_that_they_name(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/base.conf").write_text("{% import 'macros.conf' as macros %}{% block body %}{% endblock %}")
    (tmp_path / "macros.conf").write_text("{% include 'app.conf' %}")
    (tmp_path / "optional.conf").touch()
    text = "{% extends 'parts/base.conf' %}{% include ['optional.conf', 'absent.conf'] %}{% include machine.name %}"
    assert sorted(reads(tmp_path, text)) == ["app.conf", "macros.conf", "optional.conf", "parts/base.conf"]


def test_a_template_reads_nothing_that_is_not_beside_it(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "project").mkdir()
    assert reads(tmp_path / "project", "{% include '../outside' %}") == ["app.conf"]


def test_a_template_that_is_not_there_is_read_all_the_same(tmp_path: Path) -> None:
    assert list(copy_class()().reads(STEP, StepContext(tmp_path))) == [tmp_path / "app.conf"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("one\n{% if %}", r"/app\.conf:2: "),
        ("{{ 1 | nosuch }}", r"/app\.conf:1: No filter named 'nosuch'"),
        ("{% include 'part.conf' %}", r"/part\.conf:3: "),
    ],
)
def test_a_template_that_does_not_hold_is_told_before_anything_runs(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "part.conf").write_text("\n\n{% endif %}")
    with pytest.raises(UsageError, match=told):
        reads(tmp_path, text)


def test_the_package_that_templates_need_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="need the package jinja2") as caught:
        reads(tmp_path, "text")
    assert caught.value.hint == "pip install 'envup[templates]'"


def fill_in(directory: Path, text: str, **values: Any) -> tuple[str, list[str]]:
    """The text, and which of the values were looked at."""
    used: list[str] = []

    def look(name: str) -> Any:
        used.append(name)
        return values[name]

    (directory / "app.conf").write_text(text)
    return filled_in(directory / "app.conf", {name: partial(look, name) for name in values}), used


def test_only_what_a_template_names_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "part.conf").write_text("{{ b }}")
    assert fill_in(tmp_path, "{% include 'part.conf' %}{% if a is defined %}{% endif %}", a=1, b=2, c=3) == (
        "2",
        ["a", "b"],
    )


def test_what_a_template_sets_goes_before_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "part.conf").write_text("{{ a }}")
    text = "{% set a = 'own' %}{{ a }} {% include 'part.conf' %} {% for a in 'x' %}{{ a }}{% endfor %}"
    assert fill_in(tmp_path, text, a="known") == ("own own x", [])
