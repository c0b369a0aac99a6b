"""The tasks of a fabfile: loading it, checking what it needs, running them as `fab` does."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from fabric import Config
from fabric import Executor as FabricExecutor
from invoke.collection import Collection
from invoke.loader import Loader
from invoke.parser import ParseResult
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from envup.errors import EnvupError
from envup_fabric.agreed import Agreed


def load(path: Path, config: Config, agreed: Agreed) -> Collection:
    """The collection of a fabfile or package, with Fabric's settings beside it read into `config`. Errors:
    `EnvupError`, `NotAgreed`; whatever the fabfile raises."""
    module, parent = _At(path, agreed, config=config).load(path.stem)
    config.set_project_location(parent)
    with _without_compiled():
        config.load_project()
    return Collection.from_module(module, loaded_from=parent, auto_dash_names=config.tasks.auto_dash_names)


@contextmanager
def _without_compiled() -> Iterator[None]:
    """Python takes no compiled code from beside a source."""
    before, sys.pycache_prefix = sys.pycache_prefix, os.devnull
    try:
        yield
    finally:
        sys.pycache_prefix = before


class _At(Loader):
    """Loads one file or package."""

    def __init__(self, path: Path, agreed: Agreed, **options: Any) -> None:
        super().__init__(**options)
        self._path, self._agreed = path, agreed

    def find(self, name: str) -> ModuleSpec | None:
        """See `Loader`."""
        if not self._path.is_dir():
            return self._agreed.spec(name, self._path)
        start = self._path / "__init__.py"
        if not start.is_file():
            raise EnvupError(f"{self._path} is no package: it has no __init__.py")
        return self._agreed.spec(name, start)


def check_requirements(requirements: Sequence[str], python: str) -> None:
    """Errors: `EnvupError`, naming all that is missing or has another version."""
    from packaging.requirements import InvalidRequirement, Requirement

    missing = []
    for text in requirements:
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise EnvupError(f"requirements: {text!r} is none: {error}") from error
        if wanted.marker is None or wanted.marker.evaluate():
            found = _version(wanted.name)
            if found is None or not wanted.specifier.contains(found, prereleases=True):
                missing.append((text, "is not installed" if found is None else f"is installed as {found}"))
    if missing:
        told = ", ".join(f"{text} ({why})" for text, why in missing)
        wanted_all = " ".join(f"'{text}'" for text, _why in missing)
        raise EnvupError(f"the fabfile needs {told}", hint=f"{python} -m pip install {wanted_all}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_call(collection: Collection, name: str, arguments: dict[str, Any]) -> None:
    """Errors: `EnvupError`, the fabfile has no such task or the task no such arguments."""
    known = {*collection.task_names, *(alias for names in collection.task_names.values() for alias in names)}
    if collection.transform(name) not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(known)) or 'none'}"
        raise EnvupError(f"the fabfile has no task '{name}'", hint=hint)
    signature = inspect.signature(collection[name].body)
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:]) or "no arguments"
        raise EnvupError(f"task '{name}' cannot be called so: {error}", hint=f"it takes {takes}") from error


class Executor(FabricExecutor):
    """Runs each task for `machines`, as `fab -H` does, else for the hosts that the task names, else for `own`."""

    def __init__(self, collection: Collection, config: Config, machines: Sequence[str], own: str) -> None:
        hosts = Argument("hosts", default=",".join(machines))
        super().__init__(collection, config, ParseResult([ParserContext("fab", args=[hosts])]))
        self._own = own

    def normalize(self, tasks: Any) -> Any:
        """See `invoke.Executor`."""
        calls = super().normalize(tasks)
        for call in calls:
            if not getattr(call, "hosts", None):
                call.hosts = [self._own]
        return calls
