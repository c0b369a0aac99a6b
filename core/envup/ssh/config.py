"""The text of an OpenSSH configuration, after ssh_config(5)."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from envup.ssh.keys import Keys

_CIPHER = "aes128-gcm@openssh.com"
"""Of those that both sides know, the one that processors are quickest at."""


def host(machine: str, environment: str, user: str, directory: Path, keys: Keys) -> str:
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
    line = (sys.executable, "-m", "envup.ssh", *home, str(directory), machine)
    return shlex.join(line).replace("%", "%%")


def _quoted(path: Path) -> str:
    return '"{}"'.format(str(path).replace("%", "%%"))
