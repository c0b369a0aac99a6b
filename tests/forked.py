"""Projects whose commands run in forks of this process, which has loaded all that they need: each takes a few
hundredths of a second, and ends with all that it held, as any command does."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import IO, NoReturn

from real_machines import Project

from envup.cli.main import run

_PACKAGES = ("envup", "envup_chroot", "envup_copy", "envup_docker", "envup_kvm", "envup_lxc", "envup_shell")

_PROGRAMS = ("envup.namespaces.dial", "envup.namespaces.enter", "envup.ssh.__main__")
"""Modules that are no part of commands. Some would hide functions of their names."""


@functools.cache
def load() -> None:
    """Import all modules that a command may want, but for the kit's."""
    for package in map(importlib.import_module, _PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith("envup.testing") and module.name not in _PROGRAMS:
                importlib.import_module(module.name)
    importlib.import_module("encodings.ascii")
    importlib.import_module("jsonschema")


class ForkedProject(Project):
    """As `Project`, with `run` as the module says."""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project to its end."""
        load()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = os.fork()
            if process == 0:
                self._become(arguments, output, errors)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())

    def _become(self, arguments: Sequence[str], output: IO[str], errors: IO[str]) -> NoReturn:
        """Be the command, as `envup.shim` starts it."""
        code = 70
        try:
            gc.disable()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, file in ((1, output), (2, errors)):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = output, errors
            os.environ.clear()
            os.environ.update(self.environment)
            os.chdir(self.directory)
            code = run(arguments, program="envup")
        except BaseException:
            traceback.print_exc(file=errors)
        finally:
            for file in (sys.stdout, sys.stderr):
                file.flush()
            os._exit(code)
