"""A project directory with the installed command to work on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ENVUP = Path(sys.executable).with_name("envup")


class Shop:
    """A project directory; `run` runs envup in it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory, self.environment = directory, environment

    def write(self, text: str) -> None:
        (self.directory / "Envfile").write_text(text)

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        settings = {"capture_output": True, "text": True, "timeout": 60, "check": False, "input": "", **options}
        return subprocess.run([ENVUP, *argv], cwd=self.directory, env=self.environment, **settings)

    def json(self, *argv: str, code: int = 0) -> Any:
        """The document of a verb that answers; nothing may be on standard error."""
        result = self.run(*argv, "--json")
        assert (result.returncode, result.stderr) == (code, "")
        return json.loads(result.stdout)

    def events(self, *argv: str, code: int = 0) -> list[dict[str, Any]]:
        """The lines of a verb that acts."""
        result = self.run(*argv, "--json")
        assert (result.returncode, result.stderr) == (code, "")
        return [json.loads(line) for line in result.stdout.splitlines()]
