"""Projects to measure: Envfiles with any number of machines of one image, in one home."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Shell, Work, in_turn

ENVUP = Path(sys.executable).with_name("envup")


class Bench:
    """Projects below `work`, with machines of `image` where they do not say another."""

    def __init__(self, work: Path, image: str) -> None:
        self.work, self.home, self.image = work, work / "home", image
        self.environment = {**os.environ, "ENVUP_HOME": str(self.home)}
        self.environment.pop("ENVUP_FILE", None)

    def project(
        self, name: str, machines: int, *, step: bool = False, provider: str = "chroot", image: str = ""
    ) -> Shell:
        """A project of that many machines, with one shell step each or none."""
        directory = self.work / f"{provider}-{name}"
        directory.mkdir(parents=True, exist_ok=True)
        body = f"provider: {provider}\ndefaults:\n  image: {image or self.image}\n  mounts: []\n"
        body += "  provision: [{shell: 'true'}]\n" if step else ""
        body += "machines:\n" + "".join(f"  m{number}: {{}}\n" for number in range(machines))
        (directory / "Envfile").write_text(body)
        return Shell(directory, self.environment)

    @contextmanager
    def up(self, shell: Shell) -> Iterator[Shell]:
        """The project with its machines running."""
        shell.program(ENVUP, "up", "--yes")()
        try:
            yield shell
        finally:
            shell.program(ENVUP, "destroy", "--yes")()

    def life(self, shell: Shell, *options: str) -> Work:
        """`up` with options, `exec true` and `destroy` of a project's first machine."""
        commands = (("up", *options), ("exec", "m0", "true"), ("destroy", "--yes"))
        return in_turn(*(shell.program(ENVUP, *words) for words in commands))
