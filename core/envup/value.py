"""Frozen, slotted values that cost nothing to define.

A class derived from `Value` behaves like `@dataclass(frozen=True, slots=True)` and type checkers take it for one
(PEP 681). The standard decorator compiles each class's methods from text and imports `inspect`: 40 ms over the classes
that every verb needs, more than the rest of `env status` together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import dataclass_transform
else:

    def dataclass_transform(**_options: Any) -> Any:
        return lambda kind: kind


NOTHING: Mapping[str, Any] = {}
"""An empty mapping as a shared default; never written to."""

_T = TypeVar("_T")
_V = TypeVar("_V", bound="Value")


class _Factory:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def computed(*, default_factory: Callable[[], _T]) -> _T:
    """A default that is computed for each value."""
    return _Factory(default_factory)  # type: ignore[return-value]


@dataclass_transform(frozen_default=True, field_specifiers=(computed,))
class _Meta(type):
    """Turns the annotations of a class body into slots, its assignments into defaults."""

    def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> _Meta:
        own = tuple(key for key in space.get("__annotations__", ()) if not key.startswith("_"))
        inherited: dict[str, Any] = {}
        fields: tuple[str, ...] = ()
        for base in bases:
            fields += getattr(base, "__match_args__", ())
            inherited |= getattr(base, "_defaults", {})
        defaults = {key: space.pop(key) for key in own if key in space}
        space |= {"__slots__": own, "__match_args__": fields + own, "_defaults": inherited | defaults}
        return super().__new__(cls, name, bases, space)


class Value(metaclass=_Meta):
    """Base of values: set once by its constructor, equal and hashed by its fields."""

    if TYPE_CHECKING:
        __match_args__: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[Mapping[str, Any]]
    else:

        def __init__(self, *positional: Any, **named: Any) -> None:
            fields = self.__match_args__
            if len(positional) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {len(fields)} values, not {len(positional)}")
            values = self._defaults | dict(zip(fields, positional, strict=False))
            if twice := named.keys() & set(fields[: len(positional)]):
                raise TypeError(f"{type(self).__name__} got {', '.join(sorted(twice))} twice")
            values |= named
            if values.keys() != set(fields):
                wrong = ", ".join(sorted(values.keys() ^ set(fields)))
                raise TypeError(f"{type(self).__name__}: missing or unknown: {wrong}")
            for name in fields:
                value = values[name]
                object.__setattr__(self, name, value.make() if isinstance(value, _Factory) else value)

        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __iter_values(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    def __hash__(self) -> int:
        return hash((type(self), *self.__iter_values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__match_args__)})"

    def __reduce__(self) -> Any:
        return type(self), tuple(self.__iter_values())


def replace(value: _V, **changes: Any) -> _V:
    """The same value with some fields changed, as `dataclasses.replace`."""
    kept = {name: getattr(value, name) for name in value.__match_args__}
    return type(value)(**kept | changes)
