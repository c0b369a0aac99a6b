"""The keys of one environment: the client's and the server's, made once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from envup.errors import EnvupError
from envup.home import Home
from envup.value import Value

_KINDS = {"key": "the client of envup's ssh-config", "host_key": "the server of envup's ssh-config"}


class Keys(Value):
    """`directory` has `key` and `host_key`, each with a `.pub` beside it, and `known_hosts`. Only its user may enter
    it."""

    directory: Path
    alias: str
    """The name that the server's key is known under."""

    @property
    def key(self) -> Path:
        """The client's private key."""
        return self.directory / "key"

    @property
    def host_key(self) -> Path:
        """The server's private key."""
        return self.directory / "host_key"

    @property
    def known_hosts(self) -> Path:
        """The server's public key, as ssh(1) reads it."""
        return self.directory / "known_hosts"


def of(home: Home, environment: str) -> Keys:
    """The keys of an environment, made where they are missing. Errors: `EnvupError`."""
    directory = home.data / "ssh" / environment
    keys = Keys(directory, f"envup-{environment}")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    guard = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not keys.known_hosts.exists():
            _make(keys)
    finally:
        os.close(guard)
    return keys


def forget(home: Home, environment: str) -> None:
    """Remove the keys of an environment; does nothing where there are none."""
    shutil.rmtree(home.data / "ssh" / environment, ignore_errors=True)


def _make(keys: Keys) -> None:
    for name, comment in _KINDS.items():
        path = keys.directory / name
        path.unlink(missing_ok=True)
        line = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))
        try:
            subprocess.run(line, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        except FileNotFoundError as error:
            raise EnvupError("the program ssh-keygen is missing", hint="apt-get install openssh-client") from error
        except subprocess.CalledProcessError as error:
            raise EnvupError("no keys can be made", details=error.stderr.decode(errors="replace")) from error
    public = keys.host_key.with_suffix(".pub").read_text()
    half = keys.directory / "known_hosts.new"
    half.write_text(f"{keys.alias} {public}")
    half.replace(keys.known_hosts)
