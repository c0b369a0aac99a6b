"""A machine's declaration as flat JSON: what is recorded of it, its digest, and what differs between two of them.

Values that came from outside the Envfile are kept as keyed digests, so a change is seen and the value is not.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from typing import Any

from envup.model import MachineSpec, Place, Step

_HIDDEN = "hmac:"


def summary(spec: MachineSpec, salt: str) -> dict[str, Any]:
    """The parts of `spec` that shape an instance, by dotted key. Steps, probes and order are not among them."""
    resources = spec.resources
    flat: dict[str, Any] = {
        "provider": spec.provider,
        "image": {"source": spec.image.source, **kept(spec.image.options, spec.image.secrets, salt)},
        "hostname": spec.hostname,
        "user": spec.user,
        "resources.cpus": resources.cpus,
        "resources.memory": resources.memory,
        "resources.disk": resources.disk,
        "resources.pids": resources.pids,
        "ports": [[port.address, port.host_port, port.machine_port, port.protocol] for port in spec.ports],
        "mounts": [[str(mount.source), mount.target, mount.read_only] for mount in spec.mounts],
    }
    for name, value in spec.environment.items():
        flat[f"environment.{name}"] = hidden(value, salt) if name in spec.secrets else value
    for name, value in kept(spec.options, spec.secret_options, salt).get(spec.provider, {}).items():
        flat[f"{spec.provider}.{name}"] = value
    plain: dict[str, Any] = json.loads(json.dumps(flat, default=str))
    return plain


def hidden(value: str, salt: str) -> str:
    """A digest that tells whether a secret changed, useless without `salt`."""
    return _HIDDEN + hmac.new(salt.encode(), value.encode(), "sha256").hexdigest()


def kept(options: Any, secrets: Collection[Place], salt: str) -> Any:
    """Options as they may be stored: at `secrets`, places within them, digests in the place of values."""
    if not secrets:
        return options
    if () in secrets:
        return hidden(str(options), salt)
    items = enumerate(options) if isinstance(options, list) else options.items()
    inner = {key: kept(value, [at[1:] for at in secrets if at[0] == key], salt) for key, value in items}
    return [*inner.values()] if isinstance(options, list) else inner


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in one canonical spelling, as hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted keys whose values differ, sorted; a key that is missing counts as None."""
    return tuple(sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)))


def in_words(key: str, old: Any, new: Any) -> str:
    """One change as a reader would say it; values of variables and those from outside the Envfile are left out."""
    if key.startswith("environment."):
        return f"{key} changed"
    if key == "image":
        return f"image changed from {image_in_words(old)} to {image_in_words(new)}"
    if any(isinstance(value, list | dict) or _is_hidden(value) for value in (old, new)):
        return f"{key} changed"
    shown = ["unset" if value is None else _size(key, value) for value in (old, new)]
    return f"{key} changed from {shown[0]} to {shown[1]}"


def image_in_words(image: Mapping[str, Any] | None) -> str:
    """A short name of an image reference as `summary` keeps it."""
    if not image:
        return "none"
    texts = {key: value for key, value in image.items() if key != "source" and isinstance(value, str)}
    options = {key: "***" if _is_hidden(value) else value for key, value in texts.items()}
    if "dockerfile" in options:
        return options["dockerfile"] + (f" (target {options['target']})" if "target" in options else "")
    return "/".join([*options.values()][:2]) if options else str(image["source"])


def shown(value: Any) -> str:
    """A value of options as `kept` gives it, for a reader: without digests."""
    if isinstance(value, str):
        return "***" if _is_hidden(value) else value
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items())
    return json.dumps(value)


def _is_hidden(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_HIDDEN)


def _size(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if key not in ("resources.memory", "resources.disk") or not isinstance(value, int):
        return str(value)
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}B"


def definition(step: Step, salt: str) -> str:
    """The digest of what a step says: kind, options, environment and user, but not its name nor the files it reads. Of
    one with `sensitive: true` it is keyed."""
    environment = {
        name: hidden(value, salt) if name in step.secrets else value for name, value in step.environment.items()
    }
    options = kept(step.options, step.secret_options, salt)
    if is_sensitive(step):
        options = hidden(digest(options), salt)
    return digest([step.kind, options, environment, step.user])


def is_sensitive(step: Step) -> bool:
    """Whether nothing of what a step says may be told."""
    return isinstance(step.options, Mapping) and bool(step.options.get("sensitive"))
