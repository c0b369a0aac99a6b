"""What `NamespaceProvider` makes of a host that refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envup import namespaces
from envup.errors import EnvupError
from envup.events import silent
from envup.image import Image
from envup.model import ImageReference
from envup.namespaces.provider import NamespaceProvider
from envup.provider import Check, Instance, MachineSpec, ProviderContext

LABELS = {"envup.environment": "e", "envup.machine": "web"}
SPEC = MachineSpec(name="web", image=ImageReference("host"))
IMAGE = Image("host", "amd64", None)


class ReadOnly(NamespaceProvider):
    """One whose machines are on a file system that takes nothing, once `refuses` is set."""

    name = "readonly"
    isolation = "filesystem"
    modes = frozenset({"root", "rootless"})
    refuses = False

    def doctor(self) -> Sequence[Check]:
        return []

    def check(self, spec: MachineSpec) -> Sequence[str]:
        return []

    def fill(self, directory: Path, tree: Path, spec: MachineSpec, image: Image) -> Mapping[str, Any]:
        return self._refuse() or {}

    def launch(self, directory: Path, lock: int, tree: Path, facts: Mapping[str, Any], spec: MachineSpec) -> None:
        self._refuse()

    def end(self, directory: Path, run: Mapping[str, Any] | None, grace: float) -> None:
        self._refuse()

    def way(self, run: Mapping[str, Any]) -> namespaces.Way:
        raise NotImplementedError

    def _refuse(self) -> None:
        if self.refuses:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/there")


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("start", lambda provider, instance: provider.start(instance, SPEC)),
        ("stop", lambda provider, instance: provider.stop(instance)),
        ("destroy", lambda provider, instance: provider.destroy(instance)),
        ("make", lambda provider, instance: provider.create(SPEC, IMAGE, {**LABELS, "envup.machine": "db"})),
    ],
)
def test_what_the_system_refuses_is_no_bug_of_envup(
    tmp_path: Path, verb: str, call: Callable[[NamespaceProvider, Instance], object]
) -> None:
    provider = ReadOnly(ProviderContext(tmp_path, tmp_path, silent))
    instance = provider.create(SPEC, IMAGE, LABELS)
    provider.refuses = True
    machine = "db" if verb == "make" else "web"
    with pytest.raises(EnvupError) as raised:
        call(provider, instance)
    assert raised.value.brief == f"cannot {verb} machine '{machine}': /there: Read-only file system"


def test_a_machine_that_was_made_survives_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its facts are on the disk before they get their name, and the name is before `create` returns."""
    done: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda file: (done.append(("sync", os.readlink(f"/proc/self/fd/{file}"))), sync(file))
    )
    monkeypatch.setattr(os, "rename", lambda old, new: (done.append(("rename", new)), rename(old, new)))
    ReadOnly(ProviderContext(tmp_path, tmp_path, silent)).create(SPEC, IMAGE, LABELS)
    facts = f"{tmp_path}/machines/e.web/machine.json"
    assert done == [("sync", f"{facts}.new"), ("rename", facts), ("sync", f"{tmp_path}/machines/e.web")]
