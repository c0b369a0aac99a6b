"""`env ssh-config`: OpenSSH configuration for the machines."""

from __future__ import annotations

from envup.cli.answer import print_json, print_lines
from envup.cli.opening import project_of
from envup.cli.options import MACHINES, Arguments
from envup.errors import UsageError
from envup.project import Project

OPTIONS = ()
ARGUMENTS = (MACHINES,)
DETAILS = """
Append it to ~/.ssh/config, or use it as `ssh -F FILE MACHINE`: ssh, scp, sftp, rsync, Ansible and editors then reach
the machines as MACHINE and MACHINE.ENVIRONMENT. No machine needs a server, and nothing listens on the network."""


def run(arguments: Arguments) -> int:
    """Print a section for each machine."""
    from envup.ssh import config

    project = project_of(arguments)
    users = _users(project)
    for name in arguments.machine:
        if name not in users:
            raise UsageError(f"there is no machine '{name}'", hint=f"there are {', '.join(users)}" if users else "")
    chosen = {machine: user for machine, user in users.items() if not arguments.machine or machine in arguments.machine}
    sections = config.sections(project.directory, chosen)
    if arguments.json:
        print_json({"machines": [{"name": machine, "config": text} for machine, text in sections.items()]})
    else:
        print_lines(["\n\n".join(sections.values())])
    return 0


def _users(project: Project) -> dict[str, str]:
    """The default user of each machine, as declared, or as it was made where the Envfile is gone or broken."""
    made = project.state.records(project.identity.id).machines if project.identity.id else {}
    users = {name: str(record.spec.get("user") or "root") for name, record in made.items()}
    try:
        declared = project.environment().machines if project.file else ()
    except UsageError:
        declared = ()
    return users | {spec.name: spec.user for spec in declared}
