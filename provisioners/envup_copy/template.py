"""A template of Jinja, filled in: https://jinja.palletsprojects.com."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment


def filled_in(path: Path, names: Mapping[str, Callable[[], Any]]) -> str:
    """The text, with what `names` give for the names that it has. Templates that it includes are looked for beside it;
    a name that is not known is an error. Errors: `UsageError` with file and line."""
    with _told(path):
        environment = _environment(path)
        environment.context_class = _context_class(names)
        return environment.get_template(path.name).render()


def named(path: Path) -> Sequence[Path]:
    """The template, and those beside it that it includes, imports or extends, as far as their names stand in it and
    they are there; and those that these name. Errors: `UsageError` with file and line."""
    found: dict[str, Path] = {}
    with _told(path):
        _follow(_environment(path), path.name, found)
    return list(found.values())


def _follow(environment: Environment, name: str, found: dict[str, Path]) -> None:
    import jinja2
    from jinja2 import meta

    assert environment.loader is not None
    try:
        source, file, _is_current = environment.loader.get_source(environment, name)
    except jinja2.TemplateNotFound:
        return
    found[name] = Path(str(file))
    tree = environment.parse(source, name, file)
    others = {other for other in meta.find_referenced_templates(tree) if other}
    environment.compile(tree, name, file)
    for other in sorted(others - found.keys()):
        _follow(environment, other, found)


def _environment(path: Path) -> Environment:
    """A sandbox: a template is data of the project, and no program that runs on the host."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    loader = jinja2.FileSystemLoader(path.parent)
    options = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    return ImmutableSandboxedEnvironment(loader=loader, **options)


def _context_class(names: Mapping[str, Callable[[], Any]]) -> Any:
    from jinja2.runtime import Context

    class Known(Context):
        def resolve_or_missing(self, key: str) -> Any:
            return names[key]() if key in names and key not in self else super().resolve_or_missing(key)

    return Known


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raises what a template led to as an `UsageError` with its place."""
    try:
        import jinja2
    except ImportError as error:
        raise UsageError("templates need the package jinja2", hint="pip install 'envup[templates]'") from error
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{error.filename or path}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise UsageError(f"{path}: there is no template {error.name} beside it") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8") from error
    except Exception as error:
        raise UsageError(f"{_place(error, path)}: {type(error).__name__}: {error}") from error


def _place(error: Exception, path: Path) -> str:
    """The innermost line of a template that led to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(path)
