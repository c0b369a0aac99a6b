"""Images built from a Dockerfile, kept in the engine as `envup/build:<key>`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup_docker import images, remedies
from envup_docker.engine import Engine, EngineError


def sdk(module: str) -> Any:
    """A module of the Docker SDK, which takes long to load. Errors: `EnvupError` with the remedy."""
    try:
        return import_module(module)
    except ImportError as error:
        hint = "run: pip install 'envup[docker]'"
        raise EnvupError(f"the Python package docker cannot be used: {error}", hint=hint) from error


def key(options: Mapping[str, Any]) -> str:
    """Tells two builds apart: the Dockerfile, the options, and the names, sizes and times of what the build may copy.
    Errors: `EnvupError` when the Dockerfile or its context is missing."""
    context, dockerfile = Path(options["context"]), Path(options["dockerfile"])
    for path, known in ((dockerfile, dockerfile.is_file()), (context, context.is_dir())):
        if not known:
            raise EnvupError(f"image: {path} does not exist")
    digest = hashlib.sha256(dockerfile.read_bytes())
    digest.update(json.dumps({name: options.get(name) for name in ("target", "args")}, sort_keys=True).encode())
    for line in _listing(context, _excluded(context)):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _listing(context: Path, excluded: list[str]) -> Iterable[str]:
    build = sdk("docker.utils.build")
    for name in sorted(build.exclude_paths(str(context), excluded)):
        status = (context / name).lstat()
        yield f"{name}\0{status.st_mode}\0{status.st_size}\0{status.st_mtime_ns}\n"


def _excluded(context: Path) -> list[str]:
    """Patterns of .dockerignore; the Envfile's own state is never part of a build."""
    file = context / ".dockerignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [".envup", *(line.strip() for line in lines if line.strip() and not line.startswith("#"))]


def called(options: Mapping[str, Any]) -> str:
    """The name of the image once it is built. Errors: `EnvupError` when the Dockerfile or its context is missing."""
    return f"{images.BUILT}:{key(options)}"


def build(engine: Engine, options: Mapping[str, Any], emit: Emit, *, refresh: bool) -> str:
    """The name of the built image; what was built before from the same is not built again, unless `refresh`. Errors:
    `EngineError`, `EnvupError`."""
    try:
        name = called(options)
        if not refresh and images.look(engine, name):
            return name
        with _alone(Path(options["dockerfile"])):
            before = images.look(engine, name)
            if refresh or not before:
                _build(engine, options, name, emit, refresh=refresh)
            if refresh and before and before["Id"] != (images.look(engine, name) or {}).get("Id"):
                images.delete(engine, before["Id"])
    except OSError as error:
        raise EnvupError(f"cannot build {options['dockerfile']}", details=str(error)) from error
    return name


@contextlib.contextmanager
def _alone(dockerfile: Path) -> Iterator[None]:
    """Keep others from building it: machines of other providers, and other commands."""
    with contextlib.ExitStack() as held:
        file = held.enter_context(dockerfile.open("rb"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            fcntl.flock(held.enter_context(dockerfile.open("rb+")), fcntl.LOCK_EX)  # NFS locks what can be written.
        yield


def _build(engine: Engine, options: Mapping[str, Any], name: str, emit: Emit, *, refresh: bool) -> None:
    utils = sdk("docker.utils.build")
    context, dockerfile = str(options["context"]), str(options["dockerfile"])
    inside = os.path.relpath(dockerfile, context)
    arguments = {key: _text(value) for key, value in (options.get("args") or {}).items()}
    named: tuple[str, str | None] = (inside, None)
    if inside.startswith(".."):
        named = ("Dockerfile.envup", Path(dockerfile).read_text(encoding="utf-8"))
    query = {
        "t": name,
        "dockerfile": named[0],
        "buildargs": arguments,
        "target": options.get("target"),
        "rm": True,
        "forcerm": True,
        "pull": True if refresh else None,
        "nocache": True if refresh else None,
    }
    try:
        with (
            utils.tar(context, exclude=_excluded(Path(context)), dockerfile=named, gzip=False) as content,
            engine.stream("POST", "/build", query=query, content=content) as answer,
        ):
            _follow(answer.lines(), dockerfile, emit)
    except EngineError as error:
        if error.status == 0:
            raise
        hint = error.hint or _remedy(error.message)
        raise EnvupError(f"cannot build {dockerfile}", details=error.message, hint=hint) from error


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _follow(lines: Iterable[Mapping[str, Any]], dockerfile: str, emit: Emit) -> None:
    said: list[str] = []
    for line in lines:
        text = str(line.get("stream") or line.get("status") or "")
        if "error" in line:
            details = "".join([*said[-20:], str(line["error"])])
            raise EnvupError(f"cannot build {dockerfile}", details=details, hint=_remedy(str(line["error"])))
        if text.strip():
            said.append(text if text.endswith("\n") else f"{text}\n")
            emit(Event("output", text=said[-1]))


def _remedy(error: str) -> str:
    """What the engine builds by itself is the Dockerfile of 2020: https://docs.docker.com/build/buildkit/."""
    if "buildkit" in error.lower() or "unknown flag" in error.lower():
        return "build it with `docker build -t NAME .`, and write image: {docker: NAME}"
    if error.startswith(("COPY failed", "ADD failed")):
        return "check that the path is in `context` and that .dockerignore does not name it"
    registry = "" if "returned a non-zero code" in error else remedies.of_registry(error)
    return registry or "mend the Dockerfile; what was built before the step that failed is kept"
