"""An environment by its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from envup.project import Project


def test_no_backend_is_asked_about_a_project_in_which_nothing_was_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Envfile").write_text("image: debian/bookworm\nprovider: chroot\n")
    project = Project.open(tmp_path / "Envfile")
    environment = project.environment()

    def ask(_self: Project, name: str) -> None:
        raise AssertionError(f"{name} was asked for the machines of no environment")

    monkeypatch.setattr(Project, "provider", ask)
    assert project.observe(environment).machines == {}
