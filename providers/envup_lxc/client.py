"""What a command asks of the keeper of LXC machines: to run them."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH120

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

from envup.networks import client


class Launched:
    """A program that the keeper runs for a machine: its parent is the keeper, whose death kills it. `pid` and `start`
    (`records.start_time`) name it as the host does; it keeps both when it turns into another program."""

    def __init__(self, keeper: Keeper, machine: str, pid: int, start: str) -> None:
        self.pid, self.start = pid, start
        self._keeper, self._machine = keeper, machine

    def settle(self) -> None:
        """See `client.Keeper.settle`."""
        self._keeper.settle(self._machine)


class Keeper(client.Keeper):
    """A connection to the keeper of an environment's LXC machines."""

    provider: ClassVar[str] = "lxc"
    directory: ClassVar[str] = os.path.dirname(__file__)

    def launch(
        self, machine: str, argv: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int]
    ) -> Launched:
        """Run a program as a child of the keeper, in a session of its own, in the keeper's namespaces, at /, with
        exactly this environment and these `descriptors`, the child's number first; standard streams that are not among
        them are empty. Without `argv` it is `launch`. The machine's previous life, if it is about to end, is waited
        for. The end of the program is the machine's end. Errors: `EnvupError` when the machine runs."""
        self.ask("claim", machine=machine)
        request = {"argv": list(argv), "environment": dict(environment), "numbers": list(descriptors)}
        answer = self.ask("launch", list(descriptors.values()), machine=machine, **request)
        return Launched(self, machine, answer["pid"], answer["start"])
