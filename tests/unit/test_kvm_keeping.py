"""What the KVM provider makes of a host that refuses while a layer is kept."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from factory import machine

from envup.errors import EnvupError
from envup.events import silent
from envup.image import Image
from envup.namespaces.layers import LayerStore
from envup.provider import Instance, ProviderContext
from envup_kvm import keeping
from envup_kvm.disks import Disks
from envup_kvm.machines import DISK
from envup_kvm.provider import KvmProvider

LABELS = {"envup.environment": "e", "envup.machine": "web"}


def test_what_the_host_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there")

    monkeypatch.setattr(keeping, "keep", refuse)
    monkeypatch.setattr(KvmProvider, "_libvirtd", lambda *_arguments: None)
    provider = KvmProvider(ProviderContext(tmp_path, tmp_path, silent))
    (tmp_path / "machines" / "e.web").mkdir(parents=True)
    (tmp_path / "machines" / "e.web" / "machine.json").write_text("{}")
    with pytest.raises(EnvupError, match="cannot keep machine 'web': /there: No space left"):
        provider.keep_layer(Instance("1", "running", LABELS), "ab", {})


def test_the_disk_that_layers_lie_over_is_not_made_again(tmp_path: Path) -> None:
    provider = KvmProvider(ProviderContext(tmp_path, tmp_path, silent))
    base = tmp_path / "images" / "ab.ext4"
    base.parent.mkdir()
    base.touch()
    store = LayerStore(provider.context, dict, DISK)
    store.keep("cd", (), {"image": "sha256:ab"}, lambda new: (new / DISK).touch())
    with pytest.raises(EnvupError, match="the disk of image sha256:ab is in use by the layer cd"):
        provider.remove_form("sha256:ab")
    assert base.exists()
    provider.remove_layer("cd")
    provider.remove_form("sha256:ab")
    assert not base.exists()


def test_the_disk_that_something_lies_over_is_not_made_anew_where_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _MadeError(Exception):
        pass

    def make(*_arguments: object) -> None:
        raise _MadeError

    monkeypatch.setattr(Disks, "_make", make)
    monkeypatch.setattr(KvmProvider, "_kit", lambda *_arguments: None)
    provider = KvmProvider(ProviderContext(tmp_path, tmp_path, silent))
    LayerStore(provider.context, dict, DISK).keep("cd", (), {"image": "sha256:ab"}, lambda new: (new / DISK).touch())
    other = tmp_path / "machines" / "e.db"
    other.mkdir(parents=True)
    facts = {"image": "sha256:ab", "labels": {"envup.project": "shop"}}
    (other / "machine.json").write_text(json.dumps(facts))

    def create() -> None:
        provider.create(machine(), Image("sha256:ab", tmp_path / "hub.tar"), LABELS)

    with pytest.raises(EnvupError, match="is gone, and another one does not fit shop: db"):
        create()
    (other / "machine.json").unlink()
    with pytest.raises(EnvupError, match="is gone, and another one does not fit the layer cd") as told:
        create()
    assert told.value.hint == "run: env prune"
    provider.remove_layer("cd")
    with pytest.raises(_MadeError):
        create()
