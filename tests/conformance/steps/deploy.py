"""A fabfile for the kit."""

from __future__ import annotations

import os
import sys

import deploy_text
from fabric import Connection, task


@task
def note(c: Connection, text: str = "one") -> None:
    """Writes where it can be written again."""
    c.run('echo "$ENVUP_KIT_SECRET" > note')
    sys.stdout.write(os.environ["ENVUP_KIT_SECRET"])
    c.run("cat note >&2")
    c.put(deploy_text.of(text), "text")
    c.run("cat text", hide=True)


@task
def fails(c: Connection) -> None:
    """Fails, and says more than it should."""
    c.run('echo "$ENVUP_KIT_SECRET"; exit 3', hide=True)


@task
def ends(c: Connection) -> None:
    """Ends Python."""
    os._exit(3)
