"""`env ports`: forwarded ports as they are."""

from __future__ import annotations

from envup.cli.answer import print_json, print_lines
from envup.cli.opening import project_of
from envup.cli.options import MACHINE, Arguments
from envup.cli.status import forward
from envup.status import status

OPTIONS = ()
ARGUMENTS = (MACHINE,)


def run(arguments: Arguments) -> int:
    """Print the ports of all machines, or of one."""
    wanted = [arguments.machine] if arguments.machine else []
    machines = status(project_of(arguments), wanted)["machines"]
    if arguments.json:
        print_json(
            {"ports": [{"machine": machine["name"]} | port for machine in machines for port in machine["ports"]]}
        )
    else:
        print_lines(f"{machine['name']}  {forward(port)}" for machine in machines for port in machine["ports"])
    return 0
