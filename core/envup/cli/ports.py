"""`env ports`: forwarded ports as they are."""

from __future__ import annotations

from envup.cli.answer import print_json, print_lines
from envup.cli.opening import project_of
from envup.cli.options import MACHINE, Arguments
from envup.cli.status import forward, incomplete, warn
from envup.status import status

OPTIONS = ()
ARGUMENTS = (MACHINE,)


def run(arguments: Arguments) -> int:
    """Print the ports of all machines, or of one; 1 when a backend did not answer for one of them."""
    document = status(project_of(arguments), [arguments.machine] if arguments.machine else [])
    machines = document["machines"]
    if arguments.json:
        print_json(
            {"ports": [{"machine": machine["name"]} | port for machine in machines for port in machine["ports"]]}
        )
    else:
        warn(document)
        print_lines(f"{machine['name']}  {forward(port)}" for machine in machines for port in machine["ports"])
    return incomplete(document)
