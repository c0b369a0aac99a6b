"""What a lock file says of an Envfile, as that is now; of images only how the Envfile names them.

All of it is the same for every user and in every checkout: paths within the project are relative, references to values
from outside the Envfile stand as they are written, and nothing is said of what sensitive steps say or read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup import __version__, content
from envup import spec as specs
from envup.envfile import own_files
from envup.errors import EnvupError
from envup.image import ImageSource
from envup.images.sources import SOURCES
from envup.locking.document import Lock, LockedImage, Pair
from envup.locking.titles import Named, titles
from envup.locking.written import as_written
from envup.model import Environment, ImageReference, MachineSpec, Pin, Step
from envup.plugins import Host
from envup.provisioner import StepContext

_UNREADABLE = "unreadable"
_NONE = Lock()


def current(environment: Environment, plugins: Host, lock: Lock = _NONE) -> Lock:
    """The lock of an Envfile as declared (with `auto` where it says so), without pins; images have the titles that they
    have in `lock`. Errors: `EnvupError` for a plugin that is missing."""
    written = as_written(environment)
    images = {
        place: LockedImage(reference, lockable=lockable(place[0], plugins))
        for place, reference in named(environment, plugins, lock).values()
    }
    used = {pair: _distribution(plugins, pair) for pair in _plugins(written, plugins)}
    steps = {
        (spec.name, step.name): _step(environment, spec, step, read, plugins)
        for spec, real in zip(written.machines, environment.machines, strict=True)
        for step, read in zip(spec.steps, real.steps, strict=True)
    }
    order = {spec.name: tuple(step.name for step in spec.steps) for spec in written.machines if spec.steps}
    return Lock(images, used, steps, order)


def named(environment: Environment, plugins: Host, lock: Lock = _NONE) -> Mapping[str, tuple[Pair, str]]:
    """By machine, source and title of its image in a lock file, where it keeps the one that it has in `lock`, and a
    digest of how the Envfile names it."""
    found = {
        spec.name: _named(spec.image, real.image, environment, plugins)
        for spec, real in zip(as_written(environment).machines, environment.machines, strict=True)
    }
    title = titles(found.values(), lock)
    return {machine: ((image[0], title[image]), image[2]) for machine, image in found.items()}


def _named(image: ImageReference, real: ImageReference, environment: Environment, plugins: Host) -> Named:
    source, directory = _source(image.source, plugins), Path(os.path.normpath(environment.directory))
    options = {name: _portable(value, directory) for name, value in image.options.items() if value is not None}
    title = source.title(options) if source else str(options.get(image.source, image.source))
    code = source.host_code(real.options) if source else None
    read = _content(code.reads, environment) if code else ""
    return image.source, title, specs.digest([image.source, options, read])


def lockable(source: str, plugins: Host) -> bool:
    """Whether images of that source can be got again as they were."""
    found = _source(source, plugins)
    return found is None or found.lockable


def require_pin(source: str, pin: Pin, plugins: Host) -> None:
    """Refuse to lock an image of that source at what does not say how to get it again. Errors: `EnvupError`."""
    found = _source(source, plugins)
    if found is not None:
        found.require_pin(pin)


def _source(name: str, plugins: Host) -> ImageSource | None:
    """None for what a provider gets by itself, and nobody else (`disk`)."""
    known = name in SOURCES or name in plugins.names("image_source")
    return plugins.image_source(name)() if known else None


def _portable(value: Any, directory: Path) -> Any:
    """A path within the project as it is from there."""
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_relative_to(directory):
        return f"./{Path(value).relative_to(directory)}"
    return value


def _plugins(environment: Environment, plugins: Host) -> Collection[Pair]:
    """Kind and name of what the Envfile names."""
    return {
        *(("provider", spec.provider) for spec in environment.machines if spec.provider != "auto"),
        *(("image_source", s.image.source) for s in environment.machines if _source(s.image.source, plugins)),
        *(("provisioner", step.kind) for spec in environment.machines for step in spec.steps),
    }


def _distribution(plugins: Host, pair: Pair) -> str:
    if pair[0] == "image_source" and pair[1] in SOURCES:
        return f"envup {__version__}"
    plugin = plugins.info(*pair)
    return f"{plugin.distribution} {plugin.version}"


def _step(environment: Environment, spec: MachineSpec, step: Step, real: Step, plugins: Host) -> str:
    """What a step says and reads, and the variables and the user that it runs with."""
    if specs.is_sensitive(step):
        said: Sequence[Any] = [step.kind, "sensitive", step.user]
    else:
        reads = plugins.provisioner(step.kind)().reads(real, StepContext(environment.directory))
        said = [specs.definition(step, ""), _content(reads, environment)]
    return f"sha256:{specs.digest([*said, step.run, dict(spec.environment), spec.user])}"


def _content(reads: Sequence[content.Read], environment: Environment) -> str:
    """A digest of what is read, but for what is another in each checkout. What is missing is no error before somebody
    needs it, and differs from all that was there."""
    try:
        return content.portable(reads, environment.directory, own_files(environment.file))
    except EnvupError:
        return _UNREADABLE
