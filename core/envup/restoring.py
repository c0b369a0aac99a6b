"""How a machine comes up again once a snapshot is restored. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from envup import changes
from envup.model import Environment, MachineSpec, Step
from envup.observe import Seen
from envup.plan import Action, action_id
from envup.planner import Knowledge, step_action
from envup.provider import Snapshot


class Return:
    """What follows the restoration of one machine. The steps of `known` are those that had run in the snapshot. With
    memory it goes on by itself; else it is started where it ran, and its steps that run always, as `env restart` does.
    None runs that is declared behind one which had not run in the snapshot: that is for `env up`."""

    def __init__(self, environment: Environment | None, known: Knowledge, seen: Seen, snapshot: Snapshot) -> None:
        self._machine, self._provider, self._snapshot = seen.instance.machine, seen.provider, snapshot
        self._spec = environment.machine(self._machine) if environment else None
        cut_short = (self._machine, "start") in known.records.unfinished
        self.ran = seen.instance.state in ("running", "suspended") or cut_short
        self._stays = "" if snapshot.memory else self._reason(environment, known, seen)
        self._done = len(known.records.steps.get(self._machine, ()))

    def _reason(self, environment: Environment | None, known: Knowledge, seen: Seen) -> str:
        """Why the machine cannot be started, or need not; nothing where it is."""
        if not self.ran:
            return "stays stopped, as it did not run: `env up` starts it"
        if environment is None:
            return "stays stopped, as the Envfile is broken or gone: `env up` starts it once there is one"
        if self._spec is None:
            return "stays stopped, as it is not in the Envfile"
        record = known.records.machines.get(self._machine)
        change = changes.of_instance(self._spec, seen, record, known.touches, known.salt)
        again = change.level == "recreate"
        return f"stays stopped, as `env up` would make it anew: {change.cause}" if again else ""

    def actions(self, restored: Action) -> list[Action]:
        """Those that bring it up, behind the one that restores it."""
        if self._spec is None or self._stays:
            return []
        found = [restored] if self._snapshot.memory else [restored, self._action("start", "ran before", restored)]
        for step in () if self._snapshot.memory else self._steps(self._spec):
            after = (found[-1].id,)
            found.append(step_action(self._spec, step, self._provider, "runs always", after, reset=False))
        if self._spec.ready and self._is_whole(self._spec):
            found.append(self._action("ready", "was restored", found[-1]))
        return found[1:]

    def notes(self) -> list[str]:
        """What the user may not expect."""
        name = f"machine '{self._machine}'"
        if self._stays:
            return [f"{name} {self._stays}"]
        if self._spec is None or self._is_whole(self._spec):
            return []
        return [f"not all steps of {name} had run in snapshot '{self._snapshot.name}': `env up` runs the others"]

    def _steps(self, spec: MachineSpec) -> Sequence[Step]:
        before, found = 0, []
        for step in spec.steps:
            before += step.run == "once"
            if step.run == "always" and before <= self._done:
                found.append(step)
        return found

    def _is_whole(self, spec: MachineSpec) -> bool:
        return len(changes.once(spec.steps)) <= self._done

    def _action(self, verb: str, cause: str, after: Action) -> Action:
        touches, name = "restart" if verb == "start" else "", self._machine
        return Action(action_id(name, verb), name, verb, self._provider, cause, touches, (after.id,))
