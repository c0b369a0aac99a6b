"""Modules of the project, loaded from the very bytes that were agreed to, and no others.

Python would as well take compiled code that lies beside them, or a module that nobody has looked at.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType


class NotAgreed(ImportError):
    """A module of the project is not among the files that were agreed to, or is not what it was then."""


class Agreed(MetaPathFinder):
    """Finds modules below `root`. `digests` are SHA-256 of the files that were agreed to, by path."""

    def __init__(self, root: Path, digests: Mapping[str, str]) -> None:
        self._root, self._digests = root, digests

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`. Errors: `NotAgreed`."""
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None or not self._is_of_project(Path(found.origin)):
            return None
        return self.spec(fullname, Path(found.origin))

    def spec(self, name: str, file: Path) -> ModuleSpec:
        """For a module or, where it is the `__init__.py` of one, a package. Errors: `NotAgreed`."""
        digest = self._digests.get(str(file))
        if digest is None:
            raise NotAgreed(f"{file} is not among the files that were agreed to: import it by an import statement")
        inner = [str(file.parent)] if file.name == "__init__.py" else None
        loader = _Loader(name, str(file), digest)
        made = spec_from_file_location(name, file, loader=loader, submodule_search_locations=inner)
        assert made is not None, "there is a loader"
        return made

    def _is_of_project(self, file: Path) -> bool:
        installed = "site-packages" in file.parts or file.is_relative_to(sys.prefix)
        return file.is_relative_to(self._root) and not installed


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, digest: str) -> None:
        super().__init__(name, path)
        self._digest = digest

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        data = self.get_data(self.path)
        if hashlib.sha256(data).hexdigest() != self._digest:
            raise NotAgreed(f"{self.path} has changed since it was agreed to; `env up` asks again")
        return compile(data, self.path, "exec", dont_inherit=True)
