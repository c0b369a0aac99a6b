"""What to do when an engine does not get an image."""

from __future__ import annotations

_NAME, _LOGIN = "check the name and the tag", "log in with `docker login`"
_NETWORK = "check the registry's name and the network of the engine"
_OF_REGISTRY = {
    "no matching manifest": "change `platform`, or leave it out",
    "denied": f"{_LOGIN}, or check the name",
    "manifest unknown": _NAME,
    "not found": _NAME,
    "name unknown": _NAME,
    "invalid reference": _NAME,
    "credentials": _LOGIN,
    "unauthorized": _LOGIN,
    "no basic auth": _LOGIN,
    "no space": "make room where the engine keeps its data; `env prune`, `docker system prune`",
    "connection refused": "check that the registry runs and can be reached from the engine",
    "no such host": _NETWORK,
    "name resolution": _NETWORK,
    "server misbehaving": _NETWORK,
    "unreachable": _NETWORK,
    "timeout": _NETWORK,
    "deadline exceeded": _NETWORK,
    "toomanyrequests": f"wait, or {_LOGIN}",
    "x509": "have the engine trust the registry's certificate: /etc/docker/certs.d/HOST/ca.crt on its host",
    "http response to https client": "name the registry in `insecure-registries` of the engine's daemon.json",
}
"""By what the engine says, in lower case."""


def of_registry(error: str) -> str:
    """What to do about what a registry, or the way to it, refused; empty where the error is of another kind."""
    return next((remedy for sign, remedy in _OF_REGISTRY.items() if sign in error.lower()), "")
