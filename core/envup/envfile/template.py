"""The Envfile that `env new` writes."""

from __future__ import annotations

import os
from pathlib import Path

from envup.errors import EnvupError, UsageError

DEFAULT_IMAGE = "debian/bookworm"
SIMPLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/")

TEMPLATE = """\
# The machines of this project. `env up` makes them, `env validate` checks this file, `env schema` tells every key.

{name}
# The file system that the machine starts from: distribution/suite, {{tarball: ./rootfs.tar}},
# {{directory: ./rootfs}}, or host for a copy-on-write view of this very system.
image: {image}

# The backend; auto takes the lightest that satisfies what the machine asks for.
{provider}
# Limits. Sizes carry a unit.
# resources: {{cpus: 2, memory: 1GiB, disk: 8GiB, pids: 512}}

# Variables of every program in the machine; ${{NAME}} comes from your environment or from a .env file beside this one.
# environment: {{APP_ENV: dev, TOKEN: "${{TOKEN:?set TOKEN first}}"}}

# Host paths seen in the machine. This is the default; [] is none.
# mounts: [".:/workspace"]

# Host port : machine port.
# ports: ["8080:8080"]

# Steps run once, in order; after a failure `env up` goes on with the failed one.
# provision:
#   - name: packages
#     shell: apt-get update && apt-get install -y nginx
#   - copy: {{from: nginx.conf, to: /etc/nginx/nginx.conf, mode: "0644"}}

# For more than one machine, put these keys under `machines:`
# machines:
#   db:
#     image: debian/bookworm
#   web:
#     image: debian/bookworm
#     depends_on: [db]
"""


def text(*, image: str | None = None, provider: str | None = None, name: str | None = None) -> str:
    """A commented Envfile of one machine. Values are written as they are given, quoted where YAML needs that."""
    return TEMPLATE.format(
        name=f"name: {_scalar(name)}\n" if name else "# name: default the directory's name\n",
        image=_scalar(image or DEFAULT_IMAGE),
        provider=f"provider: {_scalar(provider)}\n" if provider else "# provider: auto\n",
    )


def _scalar(value: str) -> str:
    if set(value) <= SIMPLE and value[0].isalpha() and value.lower() not in ("true", "false", "null"):
        return value
    return "'" + value.replace("'", "''") + "'"


def write_new(
    directory: Path, *, image: str | None = None, provider: str | None = None, name: str | None = None
) -> Path:
    """Write `Envfile` into `directory` and return its path. Errors: `UsageError` when there is one of any of its names,
    which stays as it is; `EnvupError` when it cannot be written."""
    from envup.envfile import NAMES

    for known in NAMES:
        if os.path.lexists(directory / known):
            raise UsageError(f"there is already {directory / known}", hint="edit it, or remove it first")
    path = directory / NAMES[0]
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text(image=image, provider=provider, name=name))
    except FileExistsError as error:
        raise UsageError(f"there is already {path}", hint="edit it, or remove it first") from error
    except OSError as error:
        raise EnvupError(f"{path} cannot be written: {error.strerror}") from error
    return path
