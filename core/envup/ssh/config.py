"""The text of an OpenSSH configuration, after ssh_config(5)."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from envup.errors import UsageError
from envup.home import Home
from envup.ssh import keys as pairs
from envup.ssh.keys import Keys
from envup.state import identity as identities

_CIPHER = "aes128-gcm@openssh.com"
"""Of those that both sides know, the one that processors are quickest at."""


def sections(directory: Path, users: Mapping[str, str]) -> dict[str, str]:
    """What `env ssh-config` prints of machines of the environment in `directory`, by name; `users` has the default user
    of each. The first call makes the keys. Errors: `EnvupError`, a `UsageError` where no machine was ever made."""
    identity = identities.find(directory)
    if identity is None:
        raise UsageError("no machine of this environment was ever made", hint="`env up` makes them")
    keys = pairs.of(Home.locate().make(), identity.id)
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", directory.name)
    return {machine: _host(machine, name, user, directory, keys) for machine, user in users.items()}


def _host(machine: str, environment: str, user: str, directory: Path, keys: Keys) -> str:
    """The section of one machine, which is reached as `MACHINE` and `MACHINE.ENVIRONMENT`."""
    return "\n  ".join([f"Host {machine} {machine}.{environment}", *_lines(machine, user, directory, keys)])


def _lines(machine: str, user: str, directory: Path, keys: Keys) -> Iterable[str]:
    yield f"User {user}"
    yield f"HostKeyAlias {keys.alias}"
    yield f"IdentityFile {_quoted(keys.key)}"
    yield "IdentitiesOnly yes"
    yield f"UserKnownHostsFile {_quoted(keys.known_hosts)}"
    yield "StrictHostKeyChecking yes"
    yield f"Ciphers {_CIPHER}"
    yield f"ProxyCommand {_proxy(machine, directory)}"


def _proxy(machine: str, directory: Path) -> str:
    home = (f"--home={os.path.abspath(value)}",) if (value := os.environ.get("ENVUP_HOME")) else ()  # noqa: PTH100
    # -P, as ssh(1) starts it in a directory whose files it must not import
    line = (sys.executable, "-P", "-m", "envup.ssh", *home, str(directory), machine)
    return shlex.join(line).replace("%", "%%")


def _quoted(path: Path) -> str:
    return '"{}"'.format(str(path).replace("%", "%%"))
