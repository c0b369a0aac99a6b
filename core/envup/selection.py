"""Which files of a directory are meant, by patterns as in gitignore(5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class Selection:
    """Of the files below a directory those that `include` names, all where it is empty, without those that `exclude`
    names. Patterns are those of https://git-scm.com/docs/gitignore, relative to the directory."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self.include, self.exclude = tuple(include), tuple(exclude)

    def below(self, root: Path) -> Iterator[tuple[Path, str]]:
        """(path, name relative to `root`) of all that is meant, each directory before what is in it. A directory is
        meant with what is in it, and one in which nothing is included is not. Links are not followed.
        Errors: `OSError`."""
        yield from self._below(root, "")

    def _below(self, directory: Path, name: str) -> Iterator[tuple[Path, str]]:
        for path in sorted(directory.iterdir()):
            inner = f"{name}/{path.name}" if name else path.name
            is_directory = path.is_dir() and not path.is_symlink()
            asked = f"{inner}/" if is_directory else inner
            if self.exclude and self._excluded.match_file(asked):
                continue
            found = list(self._below(path, inner)) if is_directory else []
            if found or not self.include or self._included.match_file(asked):
                yield path, inner
                yield from found

    @cached_property
    def _included(self) -> GitIgnoreSpec:
        return _spec(self.include)

    @cached_property
    def _excluded(self) -> GitIgnoreSpec:
        return _spec(self.exclude)


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)
