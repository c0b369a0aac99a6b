"""What of a host, an image or an earlier guest kit is fit for a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.image import Image
from envup_kvm import kits, making


def test_a_kit_that_nobody_can_need_goes_when_another_is_made(tmp_path: Path) -> None:
    for name in ("old", "kept", "new"):
        (tmp_path / "kits" / name).mkdir(parents=True)
    snapshots = tmp_path / "machines/abc.web/snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / "one.json").write_text(f'{{"description": "<kernel>{tmp_path}/kits/kept/kernel</kernel>"}}')
    kits._remove_others(tmp_path, tmp_path / "kits/new")
    assert sorted(path.name for path in (tmp_path / "kits").iterdir()) == ["kept", "new"]


@pytest.mark.parametrize("architecture", ["riscv64", "s390x"])
def test_an_image_for_another_processor_is_refused(architecture: str) -> None:
    with pytest.raises(EnvupError, match=f"the image is for {architecture}"):
        making.refuse_foreign(Image("sha256:0", None, architecture))


def test_an_image_of_which_nothing_is_known_is_tried() -> None:
    making.refuse_foreign(Image("sha256:0", None, ""))
