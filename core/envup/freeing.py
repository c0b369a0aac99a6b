"""Which layers of a provider are freed: the latest used ones stay, and none that anything stands on goes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from envup.envfile.units import size
from envup.errors import EnvupError, UsageError
from envup.provider import Layer, Layers

VARIABLE = "ENVUP_LAYERS"
_LIMIT = 20 << 30
"""Bytes that the layers of a provider may take, where the variable of the environment says nothing else."""


def limit(environment: Mapping[str, str]) -> int:
    """Bytes; 0 where none are to be kept. Errors: `UsageError` where the variable holds no size."""
    text = environment.get(VARIABLE)
    if not text:
        return _LIMIT
    if text == "0":
        return 0
    try:
        return size(text)
    except ValueError as error:
        raise UsageError(f"{VARIABLE}: {error}") from error


def free(provider: Layers, *, before: float) -> list[Layer]:
    """Remove the layers that were last used before a time (seconds since the epoch), the uppermost of a stack first;
    those below one that stays do too, and those that come into use meanwhile. Errors: `EnvupError`."""
    layers, freed = list(provider.layers()), []
    while going := [layer for layer in _tops(layers) if layer.last_used <= before]:
        if _is_removed(provider, going[0]):
            layers.remove(going[0])
            freed.append(going[0])
        else:
            layers = list(provider.layers())
    return freed


def shrink(provider: Layers, most: int, *, before: float = math.inf) -> list[Layer]:
    """Remove layers until they take no more than `most` bytes, those first that were not used for the longest time, as
    far as they were last used before a time (seconds since the epoch) and nothing stands on them or comes to meanwhile.
    Errors: `EnvupError`."""
    layers, freed = list(provider.layers()), []
    while sum(layer.size for layer in layers) > most and (tops := _tops(layers)):
        oldest = min(tops, key=lambda layer: layer.last_used)
        if oldest.last_used > before:
            break
        if _is_removed(provider, oldest):
            layers.remove(oldest)
            freed.append(oldest)
        else:
            layers = list(provider.layers())
    return freed


def make_room(provider: Layers, key: str, most: int) -> bool:
    """`shrink` for a layer that has just been kept; whether that stays. One that takes more than `most` by itself goes
    before any other, which would go in vain. Errors: `EnvupError`."""
    for layer in provider.layers():
        if layer.key == key and layer.size > most:
            _is_removed(provider, layer)
    shrink(provider, most)
    return any(layer.key == key for layer in provider.layers())


def clear(provider: Layers, keys: Collection[str]) -> None:
    """Remove layers, those that there are, and before them all that stand on them; none where a machine stands on one.
    Errors: `EnvupError`."""
    layers, going = provider.layers(), set(keys)
    while more := {layer.key for layer in layers if layer.parent in going} - going:
        going |= more
    left = [layer for layer in layers if layer.key in going]
    if any(layer.in_use for layer in left):
        raise EnvupError("a machine stands on it")
    while left:
        below = {layer.parent for layer in left}
        top = next(layer for layer in left if layer.key not in below)
        provider.remove_layer(top.key)
        left.remove(top)


def _is_removed(provider: Layers, layer: Layer) -> bool:
    """Remove a layer, unless something has come to stand on it. Errors: `EnvupError`."""
    try:
        provider.remove_layer(layer.key)
    except EnvupError:
        layers = provider.layers()
        if layer.key not in {other.key for other in layers} - {top.key for top in _tops(layers)}:
            raise
        return False
    return True


def _tops(layers: Sequence[Layer]) -> list[Layer]:
    """Those that nothing stands on."""
    below = {layer.parent for layer in layers}
    return [layer for layer in layers if layer.key not in below and not layer.in_use]
