"""A template of Jinja, filled in: https://jinja.palletsprojects.com."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError


def filled_in(path: Path, facts: Mapping[str, Any]) -> str:
    """The text. Templates that it includes are looked for beside it; a name that is not known is an error.
    Errors: `EnvupError` with file and line."""
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise EnvupError("templates need the package jinja2", hint="pip install 'envup[templates]'") from error
    loader = jinja2.FileSystemLoader(path.parent)
    environment = ImmutableSandboxedEnvironment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    try:
        return environment.get_template(path.name).render(facts)
    except jinja2.TemplateSyntaxError as error:
        raise EnvupError(f"{error.filename or path}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise EnvupError(f"{path}: there is no template {error.name} beside it") from error
    except UnicodeDecodeError as error:
        raise EnvupError(f"{path} is no text in UTF-8") from error
    except Exception as error:
        raise EnvupError(f"{_place(error, path)}: {type(error).__name__}: {error}") from error


def _place(error: Exception, path: Path) -> str:
    """The innermost line of a template that led to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(path)
