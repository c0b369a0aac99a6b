"""The steps that the kit runs, as their file declares them: read as the steps of an Envfile that stood in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from envup.envfile.build import build
from envup.envfile.examine import examine
from envup.envfile.interpolate import resolved
from envup.errors import UsageError
from envup.model import Step
from envup.plugins import Host
from envup.value import Value, replace

PARTS = ("prepare", "succeed", "fail")


class Steps(Value):
    """`prepare` runs once on each machine, of whatever kind; `succeed` and `fail` are of the provisioner under test."""

    file: Path
    prepare: tuple[Step, ...]
    succeed: tuple[Step, ...]
    fail: tuple[Step, ...]

    @property
    def directory(self) -> Path:
        """What paths of the steps are relative to."""
        return self.file.parent


def read(file: Path, kind: str, host: Host) -> Steps:
    """Errors: `UsageError`, `EnvfileError`."""
    file = file.absolute()
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not isinstance(document, dict) or not set(document) <= set(PARTS):
        raise UsageError(f"{file}: expected lists of steps under {', '.join(PARTS)}")
    declared = _declared({part: document.get(part) or [] for part in PARTS}, file, host)
    steps = Steps(file, *(declared[part] for part in PARTS))
    for part in ("succeed", "fail"):
        if not declared[part] or {step.kind for step in declared[part]} != {kind}:
            raise UsageError(f"{file}: expected steps of {kind} under {part}, at least one")
    return steps


def is_accepted(step: Step, options: Any, file: Path, host: Host) -> bool:
    """Whether an Envfile may have a step like this one with other options."""
    try:
        _declared({"x": [{step.kind: options}]}, file, host)
    except UsageError:
        return False
    return True


def with_longer_texts(step: Step, file: Path, host: Host) -> Iterator[Step]:
    """The step with each of its texts made long, and of several lines, where an Envfile may have that."""
    for more in (" and so on" * 40, "\nand so on\n"):
        for options in _variants(step.options, more):
            if is_accepted(step, options, file, host):
                yield replace(step, options=options)


def _variants(options: Any, more: str) -> Iterator[Any]:
    if isinstance(options, str):
        yield options + more
        yield more.lstrip("\n") + options
    elif isinstance(options, Mapping):
        for key, value in options.items():
            yield from ({**options, key: changed} for changed in _variants(value, more))
    elif isinstance(options, list):
        for place, value in enumerate(options):
            yield from ([*options[:place], changed, *options[place + 1 :]] for changed in _variants(value, more))


def _declared(parts: Mapping[str, Any], file: Path, host: Host) -> dict[str, tuple[Step, ...]]:
    """The steps of each part. What an Envfile interpolates is interpolated."""
    machines = {part: {"image": "debian/stable", "provision": steps} for part, steps in parts.items()}
    text = yaml.safe_dump({"machines": machines}, allow_unicode=True, sort_keys=False)
    document, variables = examine(text.encode(), file, host, environ=os.environ, provider=None)
    whole, outside, _written = resolved(document, variables)
    environment = build(whole, file, outside, None)
    return {spec.name: spec.steps for spec in environment.machines}
