"""Which layers go, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from envup import freeing
from envup.errors import EnvupError, UsageError
from envup.provider import Instance, Layer, Layers, MachineSpec
from envup.value import replace


class Kept(Layers):
    """Layers that are in a list alone, of which none goes that another stands on."""

    def __init__(self, *layers: Layer) -> None:
        self.there = list(layers)

    def layers(self) -> Sequence[Layer]:
        return tuple(self.there)

    def keeps_layers(self, spec: MachineSpec) -> bool:
        return bool(spec)

    def keep_layer(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def remove_layer(self, key: str) -> None:
        (layer,) = (layer for layer in self.there if layer.key == key)
        if layer.in_use or any(other.parent == key for other in self.there):
            raise EnvupError("in use")
        self.there.remove(layer)


def layer(key: str, parent: str = "", *, size: int = 10, used: float = 0.0, in_use: bool = False) -> Layer:
    return Layer(key, parent, size, 0.0, used, {}, in_use)


def keys(layers: Sequence[Layer]) -> list[str]:
    return [one.key for one in layers]


def test_a_stack_goes_from_its_top() -> None:
    kept = Kept(layer("a"), layer("b", "a"), layer("c", "b"))
    assert keys(freeing.free(kept, before=1.0)) == ["c", "b", "a"]
    assert kept.there == []


def test_what_is_in_use_or_was_used_lately_stays_with_what_is_below_it() -> None:
    kept = Kept(layer("a"), layer("b", "a", in_use=True), layer("c", "a"), layer("d"), layer("e", "d", used=5.0))
    assert keys(freeing.free(kept, before=1.0)) == ["c"]
    assert keys(kept.there) == ["a", "b", "d", "e"]


def test_the_longest_unused_go_until_there_is_room() -> None:
    kept = Kept(layer("a", used=1.0), layer("b", "a", used=3.0), layer("c", used=2.0), layer("d", used=4.0))
    assert keys(freeing.shrink(kept, 25)) == ["c", "b"]
    assert keys(freeing.shrink(kept, 25)) == []
    assert keys(freeing.shrink(kept, 0)) == ["a", "d"]


def test_what_was_used_lately_stays_where_there_is_no_room_as_well() -> None:
    kept = Kept(layer("a", used=1.0), layer("b", "a", used=3.0), layer("c", used=2.0), layer("d", used=1.5))
    assert keys(freeing.shrink(kept, 35, before=2.0)) == ["d"]
    assert keys(freeing.shrink(kept, 0, before=2.0)) == ["c"]
    assert keys(kept.there) == ["a", "b"]


def test_beyond_the_limit_nothing_goes_that_is_in_use() -> None:
    kept = Kept(layer("a", in_use=True), layer("b", "a", in_use=True))
    assert freeing.shrink(kept, 1) == []


def test_layers_are_cleared_with_all_that_stands_on_them() -> None:
    kept = Kept(layer("a"), layer("b", "a"), layer("c", "b"), layer("d", "b"), layer("e"), layer("f"))
    freeing.clear(kept, ["b", "e", "unknown"])
    assert keys(kept.there) == ["a", "f"]


def test_none_is_cleared_where_a_machine_stands_on_one() -> None:
    kept = Kept(layer("a"), layer("b", "a"), layer("c", "a", in_use=True))
    with pytest.raises(EnvupError, match="a machine stands"):
        freeing.clear(kept, ["a"])
    assert keys(kept.there) == ["a", "b", "c"]


def test_the_limit_is_a_size_or_told_to_be_none() -> None:
    assert freeing.limit({}) == 20 << 30
    assert freeing.limit({"ENVUP_LAYERS": "5GiB"}) == 5 << 30
    assert freeing.limit({"ENVUP_LAYERS": "0"}) == 0
    with pytest.raises(UsageError, match="ENVUP_LAYERS"):
        freeing.limit({"ENVUP_LAYERS": "much"})


class Racing(Kept):
    """A machine comes to stand on a layer just before that is removed."""

    def __init__(self, *layers: Layer, wanted: str) -> None:
        super().__init__(*layers)
        self.wanted = wanted

    def remove_layer(self, key: str) -> None:
        if key == self.wanted:
            self.there = [replace(one, in_use=one.in_use or one.key == key) for one in self.there]
        super().remove_layer(key)


def test_what_comes_into_use_meanwhile_is_left_out() -> None:
    layers = layer("a", used=1.0), layer("b", used=2.0), layer("c", used=3.0)
    racing = Racing(*layers, wanted="a")
    assert keys(freeing.shrink(racing, 20)) == ["b"]
    assert keys(freeing.free(Racing(*layers, wanted="b"), before=5.0)) == ["a", "c"]
    assert keys(racing.there) == ["a", "c"]


def test_what_cannot_be_removed_for_another_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_kept: Kept, _key: str) -> None:
        raise EnvupError("the engine is gone")

    monkeypatch.setattr(Kept, "remove_layer", refuse)
    with pytest.raises(EnvupError, match="the engine is gone"):
        freeing.shrink(Kept(layer("a")), 1)


def test_what_is_gone_by_half_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(kept: Kept, _key: str) -> None:
        kept.there.clear()
        raise EnvupError("the directory is not empty")

    monkeypatch.setattr(Kept, "remove_layer", remove)
    with pytest.raises(EnvupError, match="not empty"):
        freeing.shrink(Kept(layer("a")), 1)


def test_a_layer_that_is_too_large_goes_alone() -> None:
    kept = Kept(layer("a", used=1.0), layer("b", used=2.0), layer("new", used=3.0, size=40))
    assert freeing.make_room(kept, "new", 30) is False
    assert keys(kept.there) == ["a", "b"]
    kept.there.append(layer("small", used=4.0, size=15))
    assert freeing.make_room(kept, "small", 30) is True
    assert keys(kept.there) == ["b", "small"]


def test_a_layer_for_which_those_below_it_leave_no_room_goes_and_that_is_told() -> None:
    kept = Kept(layer("a", used=1.0), layer("b", "a", used=2.0), layer("new", "b", used=3.0))
    assert freeing.make_room(kept, "new", 25) is False
    assert keys(kept.there) == ["a", "b"]
