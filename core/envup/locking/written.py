"""An Envfile as it is written: with its references to values from outside instead of the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.model import Environment, ImageReference, MachineSpec, Place, Step
from envup.value import replace


def as_written(environment: Environment) -> Environment:
    """The same with references in the images, providers, users, variables and steps of its machines, and without
    secrets, as it holds none."""
    written = environment.written
    return replace(environment, machines=tuple(_machine(spec, written) for spec in environment.machines))


def _machine(spec: MachineSpec, written: Mapping[Place, str]) -> MachineSpec:
    at = ("machines", spec.name)
    return replace(
        spec,
        image=_image(spec.image, (*at, "image"), written),
        provider="auto" if (*at, "provider") in written else spec.provider,
        user=_overlaid(spec.user, (*at, "user"), written),
        environment=_overlaid(spec.environment, (*at, "environment"), written),
        secrets=frozenset(),
        steps=tuple(_step(step, (*at, "provision", step.index), written) for step in spec.steps),
    )


def _image(image: ImageReference, at: Place, written: Mapping[Place, str]) -> ImageReference:
    if at in written:
        distribution, _, suite = written[at].partition("/")
        return replace(image, options={**image.options, "distribution": distribution, "suite": suite})
    options, own = _overlaid(image.options, at, written), (*at, image.source)
    return replace(image, options=options if own in written else _overlaid(options, own, written), secrets=frozenset())


def _step(step: Step, at: Place, written: Mapping[Place, str]) -> Step:
    return replace(
        step,
        name=_overlaid(step.name, (*at, "name"), written),
        options=_overlaid(step.options, (*at, step.kind), written),
        environment=_overlaid(step.environment, (*at, "environment"), written),
        user=_overlaid(step.user, (*at, "user"), written),
        secrets=frozenset(),
        secret_options=frozenset(),
    )


def _overlaid(value: Any, at: Place, written: Mapping[Place, str]) -> Any:
    """`value`, which stands at a place of the file, with what is written there."""
    if at in written:
        return written[at]
    if isinstance(value, Mapping):
        return {key: _overlaid(item, (*at, key), written) for key, item in value.items()}
    if isinstance(value, list):
        return [_overlaid(item, (*at, index), written) for index, item in enumerate(value)]
    return value
