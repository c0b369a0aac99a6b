"""Runs a playbook on the host for the machine of the step, which Ansible reaches by envup's SSH."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.provisioner import HostCode, Machine, Provisioner, Selection, Step, StepContext, StepFailed, in_a_line

from envup_ansible import connecting

_PROGRAM = "ansible-playbook"
_BESIDE = (
    "*.yml",
    "*.yaml",
    "roles",
    "tasks",
    "handlers",
    "files",
    "templates",
    "*vars",
    "library",
    "module_utils",
    "*_plugins",
    "collections",
)
"""What Ansible finds beside a playbook."""
_COMPILED = Selection((), ("__pycache__/", "*.pyc"))
_MEANING = {2: "a task failed", 4: "the machine was not reached, or the playbook cannot be read"}


class Ansible(Provisioner):
    """`ansible: PLAYBOOK` or `ansible: {playbook, …}`, see options.schema.json."""

    name = "ansible"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path | tuple[Path, Selection]]:
        """The playbook, what lies beside it for it, ansible.cfg, and what the step lists."""
        return [(path, _COMPILED) if path.is_dir() else path for path in _files(_options(step), context.directory)]

    def host_code(self, step: Step, context: StepContext) -> HostCode:
        """The playbook, whose modules and plugins may run on the host."""
        return HostCode(f"runs {self.describe(step)} on this host", tuple(self.reads(step, context)))

    def describe(self, step: Step) -> str:
        """The program and the playbook."""
        return in_a_line(f"{_PROGRAM} {_options(step)['playbook']}")

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Run the playbook to its end. Errors: `StepFailed` with Ansible's last lines; `InterruptedByUser`."""
        program = shutil.which(_PROGRAM)
        if program is None:
            hint = "apt-get install ansible-core, or pip install ansible-core"
            raise StepFailed(f"step '{step.name}' failed: {_PROGRAM} is not installed", hint=hint)
        with tempfile.TemporaryDirectory(prefix="envup-ansible-") as name:
            place = Path(name)
            argv = (program, *_arguments(step, machine.name, context, place))
            with connecting.opened(place, context) as variables:
                result = machine.local(argv, directory=context.directory, environment={**step.environment, **variables})
        if result.exit_code:
            meaning = _MEANING.get(result.exit_code)
            raise StepFailed(
                f"step '{step.name}' failed with exit code {result.exit_code}" + (f": {meaning}" if meaning else ""),
                command=self.describe(step),
                exit_code=result.exit_code,
                details="\n".join(result.tail),
            )


def _options(step: Step) -> Mapping[str, Any]:
    return {"playbook": step.options} if isinstance(step.options, str) else step.options


def _files(options: Mapping[str, Any], directory: Path) -> Iterator[Path]:
    playbook = directory / options["playbook"]
    yield playbook
    for pattern in _BESIDE:
        yield from sorted(playbook.parent.glob(pattern))
    if (settings := directory / "ansible.cfg").exists():
        yield settings
    yield from (directory / path for path in options.get("reads", ()))


def _arguments(step: Step, machine: str, context: StepContext, place: Path) -> Iterator[str]:
    """Those of ansible-playbook. Values that may be secret are in files of `place`, not among them."""
    options = _options(step)
    inventory, extra = place / "inventory.json", place / "extra-vars.json"
    inventory.write_text(json.dumps({"all": {"hosts": _hosts(step, machine, context)}}))
    extra.write_text(json.dumps(options.get("extra_vars", {})))
    yield from ("--inventory", str(inventory), "--limit", machine, "--extra-vars", f"@{extra}")
    for key in ("tags", "skip_tags"):
        if key in options:
            yield from (f"--{key.replace('_', '-')}", ",".join(options[key]))
    yield str(context.directory / options["playbook"])


def _hosts(step: Step, machine: str, context: StepContext) -> dict[str, dict[str, Any]]:
    """All machines, each with its facts as the variable `envup`."""
    hosts = {name: {"envup": known} for name, known in context.facts["machines"].items()}
    if step.user:
        hosts[machine]["ansible_user"] = step.user
    return hosts
