"""Where the engine is: an address that a command line can carry, and how it is found for this user."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH111

from __future__ import annotations

import os

from envup_docker.failures import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEFAULT = "/var/run/docker.sock"
_SCHEMES = ("unix", "tcp", "ssh")


class Endpoint:
    """An engine's address: `unix:///SOCKET`, `tcp://HOST:PORT` or `ssh://[USER@]HOST[:PORT][/SOCKET]`. With TLS over
    tcp, `certificates` is the directory of `ca.pem`, `cert.pem` and `key.pem`, each where it is needed, and `verify`
    says whether the engine's certificate is checked."""

    __slots__ = ("address", "certificates", "tls", "verify")

    def __init__(self, address: str, *, tls: bool = False, certificates: str = "", verify: bool = True) -> None:
        scheme, separator, rest = address.partition("://")
        if scheme in ("http", "https"):
            address, tls = f"tcp://{rest}", tls or scheme == "https"
        elif not separator or scheme not in _SCHEMES or not rest:
            raise EngineError(
                0,
                f"'{address}' is no address of a Docker engine",
                "write it as unix:///var/run/docker.sock, tcp://HOST:2375 or ssh://USER@HOST",
            )
        self.address, self.tls, self.certificates, self.verify = address, tls, certificates, verify

    def __str__(self) -> str:
        return self.address

    @property
    def scheme(self) -> str:
        """`unix`, `tcp` or `ssh`."""
        return self.address.partition("://")[0]

    @property
    def rest(self) -> str:
        """What follows the scheme: the path of the socket, or the host."""
        return self.address.partition("://")[2]

    @property
    def local(self) -> bool:
        """Whether the engine sees this host's files."""
        return self.scheme == "unix"

    def arguments(self) -> list[str]:
        """As the small programs take it; see `parsed`."""
        return [
            f"address={self.address}",
            *([f"certificates={self.certificates}", f"verify={int(self.verify)}"] if self.tls else []),
        ]


def parsed(values: Mapping[str, str]) -> Endpoint:
    """The endpoint that `arguments` wrote."""
    return Endpoint(
        values["address"],
        tls="verify" in values,
        certificates=values.get("certificates", ""),
        verify=values.get("verify") != "0",
    )


def find(environ: Mapping[str, str]) -> Endpoint:
    """The engine of this user: DOCKER_HOST, the context that DOCKER_CONTEXT or Docker's configuration names, the first
    of the known sockets that may be used. Reads files, asks no engine. Errors: `EngineError`."""
    if host := environ.get("DOCKER_HOST"):
        return _from_variables(host, environ)
    directory = environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    name = environ.get("DOCKER_CONTEXT", "")
    if name not in ("", "default") or (not name and os.path.exists(f"{directory}/config.json")):
        from envup_docker import contexts

        if found := contexts.find(directory, name):
            return found
    return Endpoint(f"unix://{_socket(_sockets(environ))}")


def _from_variables(host: str, environ: Mapping[str, str]) -> Endpoint:
    directory = environ.get("DOCKER_CERT_PATH") or environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    tls = host.startswith("tcp://") and (verify or bool(environ.get("DOCKER_TLS")))
    return Endpoint(host, tls=tls, certificates=directory if tls else "", verify=verify)


def _sockets(environ: Mapping[str, str]) -> list[str]:
    """Docker's, rootless Docker's, rootless Podman's, Podman's."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    own = [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"] if runtime else []
    return [_DEFAULT, *own, "/run/podman/podman.sock"]


def _socket(paths: Sequence[str]) -> str:
    present = [path for path in paths if os.path.exists(path)]
    return next((path for path in present if os.access(path, os.W_OK)), present[0] if present else _DEFAULT)
