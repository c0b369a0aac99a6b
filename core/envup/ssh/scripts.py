"""Short shell scripts in a machine, for the server's own needs."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

from envup.project import Located
from envup.provider import Command
from envup.shim import original_environment


class Scripts:
    """Runs them as one user, in that user's home."""

    def __init__(self, located: Located, user: str) -> None:
        self._located, self._user = located, user

    async def run(
        self, script: str, *arguments: str, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.PIPE
    ) -> tuple[int, bytes, bytes]:
        """The exit code, what a script wrote and what it complained of, in English; `stdin` and `stdout` may be files
        of the host. Errors: `OSError`, `EnvupError` when the machine cannot be entered."""
        process = await self.start(script, *arguments, stdin=stdin, stdout=stdout)
        output, complaint = await process.communicate()
        return await process.wait(), output or b"", complaint

    async def start(
        self, script: str, *arguments: str, stdin: Any = subprocess.PIPE, stdout: Any = subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        """One that runs. Errors: as `run`."""
        argv = ("/bin/sh", "-c", script, "sh", *arguments)
        command = Command(argv, user=self._user, environment={"LC_ALL": "C"})
        host = self._located.provider.command(self._located.instance, command)
        return await asyncio.create_subprocess_exec(
            *host.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=original_environment() | dict(host.environment),
            start_new_session=True,
        )
