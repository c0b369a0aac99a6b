"""`Value` keeps the promises of a frozen, slotted dataclass."""

from __future__ import annotations

import pickle

import pytest

from envup.value import Value, computed, replace


class Point(Value):
    x: int
    y: int = 2


class Named(Point):
    name: str = ""


class Stamped(Value):
    stamp: object = computed(default_factory=object)


def test_fields_are_given_by_place_or_name_and_defaults_fill_in() -> None:
    assert (Point(1), Point(x=1), Point(1, y=2)) == (Point(1, 2),) * 3
    assert Named(1, name="a").y == 2


@pytest.mark.parametrize(
    "call", [lambda: Point(), lambda: Point(1, 2, 3), lambda: Point(1, x=1), lambda: Point(1, z=1)]
)
def test_missing_surplus_double_and_unknown_fields_are_errors(call: object) -> None:
    with pytest.raises(TypeError):
        call()  # type: ignore[operator]


def test_a_value_cannot_be_changed_nor_grow() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del Point(1).x
    assert not hasattr(Point(1), "__dict__")


def test_equal_fields_of_one_class_are_equal_and_hash_alike() -> None:
    assert {Point(1), Point(1, 2)} == {Point(1)}
    assert Point(1) != Named(1)


def test_replace_leaves_the_original_alone() -> None:
    point = Point(1)
    assert (replace(point, y=5), point) == (Point(1, 5), Point(1, 2))


def test_a_computed_default_is_computed_for_each_value() -> None:
    assert Stamped().stamp is not Stamped().stamp


def test_a_value_shows_and_matches_its_fields_and_can_be_pickled() -> None:
    assert repr(Named(1, name="a")) == "Named(x=1, y=2, name='a')"
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)
    assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
