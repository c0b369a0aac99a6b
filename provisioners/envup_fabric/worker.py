"""The process that runs the tasks of one step: `python -m envup_fabric.worker DESCRIPTOR`, where that is its end of the
way to envup. What it is to do comes from there, and what came of it goes there."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup_fabric.wire import Link


def main(arguments: list[str]) -> int:
    """Run the step's tasks; 1 where one failed."""
    descriptor = int(arguments[0])
    os.set_inheritable(descriptor, False)
    link = Link(socket.socket(fileno=descriptor))
    failure = _run(link, link.ask("request"))
    sys.stdout.flush()
    link.ask("outcome", failure=failure)
    return 0 if failure is None else 1


def _run(link: Link, request: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        from envup_fabric import connection, failures, tasks
        from envup_fabric.agreed import Agreed
    except ModuleNotFoundError as error:
        return {"brief": f"the package {error.name} is missing", "hint": "pip install 'envup[fabric]'"}
    file = Path(request["file"])
    world = connection.World(link, request)
    connection.install(world)
    try:
        tasks.check_requirements(request["requirements"], sys.executable)
        config = world.config()
        agreed = Agreed(file.parent, request["agreed"])
        sys.meta_path.insert(0, agreed)
        collection = tasks.load(file, config, agreed)
    except BaseException as error:
        return failures.of_loading(file, error, file.parent)
    executor = tasks.Executor(collection, config, request["machines"], request["machine"])
    for name, given in request["tasks"]:
        try:
            arguments = {key.replace("-", "_"): value for key, value in given.items()}
            tasks.check_call(collection, name, arguments)
            executor.execute((name, arguments))
        except BaseException as error:
            return None if failures.is_success(error) else failures.of_task(name, error, file.parent)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
