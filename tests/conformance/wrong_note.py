"""A provisioner that does wrong what its steps say: `wrong` where they succeed, `fails` where they do not."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from envup.errors import EnvupError
from envup.hookspecs import hookimpl
from envup.provisioner import Machine, Provisioner, Step, StepContext, StepFailed

VARIABLE = "ENVUP_KIT_SECRET"


class Note(Provisioner):
    """`note: {text, wrong, fails}`; reads `note.txt`."""

    name = "note"
    broken = False

    def describe(self, step: Step) -> str:
        said = {
            "long": step.options.get("text", ""),
            "secret": step.environment.get(VARIABLE, ""),
            "place": f"in {Path.cwd()}",
        }
        return f"note {said.get(step.options.get('wrong'), '')}".strip()

    def reads(self, step: Step, context: StepContext) -> Sequence[Path]:
        file, wrong = context.directory / "note.txt", step.options.get("wrong")
        if wrong == "hidden" or (wrong == "absent" and not file.exists()):
            return ()
        return (Path("note.txt"),) if wrong == "relative" else (file,)

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        if Note.broken:
            raise StepFailed("something is broken", command="note")
        try:
            self._write(step, machine, context)
        except (EnvupError, OSError) as error:
            if step.options.get("wrong") != "deaf":
                raise StepFailed(str(error), command="note") from error
        self._fail(step.options.get("fails"), step.environment[VARIABLE])

    def _write(self, step: Step, machine: Machine, context: StepContext) -> None:
        file, secret = context.directory / "note.txt", step.environment[VARIABLE]
        file.read_text()
        machine.run(("/bin/true",))
        match step.options.get("wrong"):
            case "once":
                machine.run(("/bin/mkdir", "/root/once"))
            case "argument":
                machine.run(("/bin/true", secret))
            case "logged":
                machine.write_log(secret.encode())
            case "here":
                Path("left-here").touch()
            case "project":
                file.write_text(os.urandom(8).hex())
            case "temporary":
                tempfile.mkdtemp()
            case "process":
                subprocess.run(["setsid", "--fork", "sleep", "3"], check=True)
            case "loud":
                print("a note")
            case "facts":
                context.facts["machine"].clear()

    def _fail(self, how: str | None, secret: str) -> None:
        Note.broken = how == "for good"
        match how:
            case "otherwise":
                raise EnvupError("the note failed")
            case "silently":
                raise StepFailed("the note failed")
            case "with secret":
                raise StepFailed("the note failed", command="note", details=secret)
            case "as it should" | "for good":
                raise StepFailed("the note failed", command="note", exit_code=1)


class Misnamed(Note):
    """Calls itself something else."""

    name = "other"


@hookimpl
def envup_provisioner() -> type[Provisioner]:
    """The class."""
    return Misnamed if __name__ == "plugin_misnamed" else Note
