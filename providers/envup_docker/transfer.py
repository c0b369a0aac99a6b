"""Trees of files into and out of a running container, as tar streams.

GNU tar of the machine keeps everything; where there is none, the engine's own way keeps whole seconds and no extended
attributes, https://docs.docker.com/reference/api/engine/ under "archive".
"""

from __future__ import annotations

import posixpath
from contextlib import closing
from typing import BinaryIO, NoReturn

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup_docker import tars
from envup_docker.engine import Engine, EngineError
from envup_docker.members import Members, Refused

_LOST = "has no GNU tar: fractions of seconds and extended attributes are not kept (apt-get install tar)"
_CHUNK = 1 << 18
_SOME_FILES_DIFFER = 1


def send(engine: Engine, container: str, directory: str, archive: BinaryIO, *, machine: str, emit: Emit) -> None:
    """`Provider.send`. Errors: `EnvupError`; what could not be kept is told as a warning."""
    failure = f"cannot send files to machine '{machine}'"
    members = Members(archive)
    try:
        with closing(tars.Tar(engine, container, tars.UNPACK, directory)) as tar:
            if tar.usable:
                tar.send(members)
                _judge(tar, failure, machine, emit, fine=(0,))
                return
        _warn(emit, machine, f"{machine} {_LOST}")
        query = {"path": directory, "noOverwriteDirNonDir": False}
        with engine.stream("PUT", f"/containers/{container}/archive", query=query, content=members) as answer:
            answer.read()
    except Refused as error:
        raise EnvupError(failure, details=str(error)) from error
    except EngineError as error:
        _refuse(error, failure, directory)


def fetch(engine: Engine, container: str, path: str, archive: BinaryIO, *, machine: str, emit: Emit) -> None:
    """`Provider.fetch`. Errors: `EnvupError`; what was left out is told as a warning."""
    failure = f"cannot fetch files from machine '{machine}'"
    directory, name = posixpath.split(path.rstrip("/"))
    archive.flush()
    write = tars.write_all(archive.fileno())
    try:
        with closing(tars.Tar(engine, container, tars.PACK, directory or "/", name or ".", path)) as tar:
            if tar.usable:
                tar.receive(write)
                _judge(tar, failure, machine, emit, fine=(0, _SOME_FILES_DIFFER))
                return
        _warn(emit, machine, f"{machine} {_LOST}")
        query = {"path": path.rstrip("/") or "/"}
        with engine.stream("GET", f"/containers/{container}/archive", query=query) as answer:
            while data := answer.read(_CHUNK):
                write(memoryview(data))
    except EngineError as error:
        _refuse(error, failure, path)


def export(engine: Engine, container: str, archive: BinaryIO) -> None:
    """Write all files of a container, whether it runs or not, without what is mounted. Errors: `EngineError`."""
    archive.flush()
    write = tars.write_all(archive.fileno())
    with engine.stream("GET", f"/containers/{container}/export") as answer:
        while data := answer.read(_CHUNK):
            write(memoryview(data))


def _judge(tar: tars.Tar, failure: str, machine: str, emit: Emit, *, fine: tuple[int, ...]) -> None:
    """A file that grows while it is read is fetched as it was; one that shrinks has no end to fetch."""
    code = tar.exit_code()
    if code not in fine or "padding with zeros" in tar.said:
        full = "\nno space is left there, or a quota is used up" if "Wrote only" in tar.said else ""
        raise EnvupError(failure, details=f"{tar.said or f'tar ended with {code}'}{full}")
    for line in tar.said.splitlines():
        _warn(emit, machine, line)


def _warn(emit: Emit, machine: str, text: str) -> None:
    emit(Event("warning", machine=machine, text=text))


def _refuse(error: EngineError, failure: str, path: str) -> NoReturn:
    """The engine names the file as it likes; users get it as they wrote it."""
    details = error.message if path in error.message else f"{path}: {error.message}"
    raise EnvupError(failure, details=details, hint=error.hint) from error
