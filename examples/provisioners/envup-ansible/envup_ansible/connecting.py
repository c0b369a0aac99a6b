"""How Ansible comes to the machines: by OpenSSH's client, with the configuration that `env ssh-config` prints."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envup.provisioner import StepContext
from envup.ssh import config


@contextmanager
def opened(place: Path, context: StepContext) -> Iterator[dict[str, str]]:
    """The variables by which Ansible gets there, until the end. One connection to each machine serves all tasks; it is
    kept in `place`, and closed at the end."""
    users = {name: machine["user"] for name, machine in context.facts["machines"].items()}
    file = place / "ssh_config"
    file.write_text("\n\n".join(config.sections(context.directory, users).values()) + "\n")
    control = ("-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", f"ControlPath={place}/%C.sock")
    try:
        yield {"ANSIBLE_SSH_ARGS": shlex.join(("-F", str(file), *control)), "ANSIBLE_TRANSPORT": "ssh"}
    finally:
        for socket in place.glob("*.sock"):
            _close(socket)


def _close(socket: Path) -> None:
    line = ("ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "machine")
    subprocess.run(line, check=False, stdin=subprocess.DEVNULL, capture_output=True)  # it may have ended by itself
