"""`env status`: the state of each machine as its backend tells it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.opening import project_of
from envup.cli.options import MACHINES, Arguments
from envup.status import status

OPTIONS = ()
ARGUMENTS = (MACHINES,)

_DIGEST = 12
"""Characters of an image's digest that are shown."""


def run(arguments: Arguments) -> int:
    """Print the states; 1 when a backend did not answer for one of the machines."""
    document = status(project_of(arguments), arguments.machine)
    if arguments.json:
        print_json(document)
    else:
        warn(document)
        print_lines(_lines(arguments, document["machines"]))
    return incomplete(document)


def warn(document: Mapping[str, Any]) -> None:
    """Tell on standard error what is wrong with the Envfile, and which backends did not answer."""
    from envup.report.text import clean

    for problem in (*((document["problem"],) if "problem" in document else ()), *document.get("problems", ())):
        sys.stderr.write(f"warning: {clean(problem)}\n")


def incomplete(document: Mapping[str, Any]) -> int:
    """The exit code: 1 when a machine's state is not known."""
    return int(any(machine["state"] == "unknown" for machine in document["machines"]))


def _lines(arguments: Arguments, machines: list[dict[str, Any]]) -> list[str]:
    from envup.report.text import clean, table

    if not machines:
        return ["there is no machine"]
    style = style_of(arguments)
    head = ["NAME", "PROVIDER", "STATE", "IMAGE", "PROVISIONED", "DRIFT", "PORTS"]
    lines = table([head, *map(_row, machines)], lambda text: style.paint("bold", text))
    lines += [f"{machine['name']}: {clean(machine['reason'])}" for machine in machines if machine["reason"]]
    return lines


def _row(machine: Mapping[str, Any]) -> list[str]:
    from envup.report.text import clean

    there = machine["state"] != "absent"
    cells = (
        machine["name"],
        machine["provider"],
        machine["state"] + (" (orphan)" if machine["orphan"] else ""),
        machine["image"].removeprefix("sha256:")[:_DIGEST],
        _provisioned(machine) if there else "",
        ", ".join(machine["drift"]),
        ", ".join(map(forward, machine["ports"])),
    )
    return [clean(cell) or "-" for cell in cells]


def forward(port: Mapping[str, Any]) -> str:
    """A forwarded port for a reader: `127.0.0.1:8080->80/tcp`."""
    host = f"[{port['host']}]" if ":" in port["host"] else port["host"]
    return f"{host}:{port['port']}->{port['machine_port']}/{port['protocol']}"


def _provisioned(machine: Mapping[str, Any]) -> str:
    """Nothing where there is no declaration to hold the machine against."""
    return "" if machine["provisioned"] is None else "yes" if machine["provisioned"] else "no"
