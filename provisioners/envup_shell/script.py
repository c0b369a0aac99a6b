"""The script as a file in the machine.

Only its user can read it, and it is removed afterwards: so it can read standard input, and its text shows in no process
list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from envup.errors import EnvupError, InterruptedByUser, TransportError
from envup.provisioner import Machine, StepFailed

_PREFIX = "/tmp/.envup-step-"


@contextmanager
def placed(step: str, command: str, machine: Machine, body: bytes, user: str) -> Iterator[str]:
    """The path of a file in the machine that holds the script for as long as this lasts. Errors: `StepFailed`, naming
    the step and its command; `TransportError`."""
    path = f"{_PREFIX}{os.urandom(8).hex()}"
    try:
        machine.write(path, body, owner=user.partition(":")[0], mode=0o700)
    except (InterruptedByUser, TransportError):
        raise
    except EnvupError as error:
        brief = f"step '{step}' failed: {error.brief}"
        raise StepFailed(brief, command=command, details=error.details, hint=error.hint) from error
    try:
        yield path
    finally:
        _remove_all(machine)


def _remove_all(machine: Machine) -> None:
    """This step's, and that of a step that was interrupted: no two steps run in a machine at once."""
    try:
        machine.run(("/bin/sh", "-c", f"rm -f {_PREFIX}*"), user="0", workdir="/", quiet=True)
    except InterruptedByUser:
        return
    except EnvupError as error:
        machine.emit("warning", f"the script of the step could not be removed from the machine: {error.brief}")
