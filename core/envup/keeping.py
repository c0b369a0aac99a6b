"""Keeps what the steps of new machines leave as layers, as long as nothing but steps has run in them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from envup import facts, freeing
from envup.changes import Start
from envup.claims import Claims
from envup.entered import Entered
from envup.errors import EnvupError, TransportError
from envup.events import Emit, Event
from envup.layers import Kept, Layering
from envup.model import MachineSpec
from envup.plan import Action
from envup.planner import Wish
from envup.provider import Instance, Layers, MemoryLayers


class Keeping:
    """The layers that one plan makes. Several threads may use it, each for a machine of its own, and `reach` others.
    `memory`: the last layer of a machine may hold its memory too."""

    def __init__(
        self, layering: Layering, claims: Claims, entered: Entered, wish: Wish, emit: Emit, *, memory: bool
    ) -> None:
        self._layering, self._claims, self._entered = layering, claims, entered
        self._wish, self._emit, self._memory = wish, emit, memory
        self._pristine: dict[str, Start] = {}
        self._reached: set[str] = set()

    def expect(self, spec: MachineSpec, start: Start) -> None:
        """Claim the layers that a machine is going to leave; the digest of its image may be known only now."""
        self._claims.hold(self._layering.missing(spec, start.key))

    def begin(self, machine: str, start: Start) -> None:
        """A machine is new, and holds what it started with."""
        self._pristine[machine] = start
        self._entered.forget(machine)

    def reach(self, machine: str) -> None:
        """A step of another machine may change this one."""
        self._reached.add(machine)

    def take(self, machine: str) -> Start | None:
        """What a machine held before the step that it has run now; None where no layer can come of it. Until `keep` no
        later step is kept."""
        return self._pristine.pop(machine, None)

    def keep(
        self, action: Action, spec: MachineSpec, instance: Instance, held: Start, read: str, known: facts.Facts
    ) -> None:
        """Keep a machine as it is after a step, before which it `held` a layer or its image alone. `read` is the digest
        of what the step read, `known` the facts that it looked at. What is not kept ends the layers of the machine; a
        failure is told. Errors: `TransportError`, the machine is not as it was; `UsageError`, see `freeing.limit`."""
        most = freeing.limit(os.environ)
        if not most or self._is_touched(action):
            return
        keeper = self._layering.keeper(spec)
        chain = list(self._layering.chain(spec, instance.labels["envup.image"]))
        kept = next((kept for kept in chain if kept.step.index == action.step), None)
        if keeper is None or kept is None or kept.record.content != read or kept.below != held.key:
            return
        renews = not self._wish.cache or self._wish.refresh
        if renews and not self._gave_way(keeper, chain[chain.index(kept) :], action):
            return
        noted = (*held.facts, self._layering.note(known, spec.name))
        note = {"facts": noted, "step": kept.step.name, "image": instance.labels["envup.image"]}
        try:
            if isinstance(keeper, MemoryLayers) and kept is chain[-1] and self._memory:
                keeper.keep_layer_with_memory(instance, kept.key, note)
            else:
                keeper.keep_layer(instance, kept.key, note)
        except TransportError:
            raise
        except EnvupError as error:
            self._warn(action, f"what step '{kept.step.name}' left is not kept: {error.in_a_line()}")
            return
        if self._has_room(action, keeper, kept, most):
            self._pristine[spec.name] = Start(kept.key, facts=noted)
            self._claims.release(kept.key)

    def _is_touched(self, action: Action) -> bool:
        """Whether anything but its own steps may have changed a machine."""
        if action.machine in self._entered:
            self._warn(action, "what its steps leave is not kept: somebody has been in the machine meanwhile")
            return True
        return action.machine in self._reached

    def _gave_way(self, keeper: Layers, chain: Sequence[Kept], action: Action) -> bool:
        """Whether no layer is left of a step that was run in spite of it, nor of those behind it, nor on them."""
        try:
            freeing.clear(keeper, [kept.key for kept in chain])
        except EnvupError as error:
            stay = f"the layers of step '{chain[0].step.name}' and of those behind it stay as they were"
            self._warn(action, f"{stay}: {error}")
            return False
        return True

    def _has_room(self, action: Action, keeper: Layers, kept: Kept, most: int) -> bool:
        """Free what takes more than layers may; whether the new one stays. One that does not ends them, as those of
        later steps stand on it or hold what it held."""
        try:
            if freeing.make_room(keeper, kept.key, most):
                return True
        except EnvupError as error:
            self._warn(action, f"layers that were not used for long cannot be freed: {error.in_a_line()}")
            return True
        why = f"there is no room for it within what layers may take ({freeing.VARIABLE})"
        self._warn(action, f"what step '{kept.step.name}' left is not kept, nor what later steps leave: {why}")
        return False

    def _warn(self, action: Action, text: str) -> None:
        self._emit(Event("warning", action=action.id, machine=action.machine, text=text))
