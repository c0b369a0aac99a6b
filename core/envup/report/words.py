"""How actions are called when they are told to a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "image": ("fetching the image", "image fetched"),
    "destroy": ("destroying", "destroyed"),
    "create": ("creating", "created"),
    "stop": ("stopping", "stopped"),
    "start": ("starting", "started"),
    "suspend": ("suspending", "suspended"),
    "pause": ("pausing", "paused"),
    "resume": ("resuming", "resumed"),
    "snapshot": ("taking snapshot", "taken snapshot"),
    "restore": ("restoring snapshot", "restored snapshot"),
    "delete": ("deleting snapshot", "deleted snapshot"),
    "update": ("changing", "changed"),
    "provision": ("provisioning", "provisioned"),
    "ready": ("waiting until ready", "ready"),
    "forget": ("forgetting", "forgotten"),
}

_WITH_DETAIL = ("provision", "snapshot", "restore", "delete")


class Names:
    """Names of the actions of a plan; also of actions of which only the id is known, `MACHINE/VERB`, `…:N`."""

    def __init__(self) -> None:
        self._details: dict[str, str] = {}

    def learn(self, plan: Mapping[str, Any]) -> None:
        """Take the details of a plan as `Plan.as_json` gives it."""
        self._details = {action["id"]: action.get("detail", "") for action in plan.get("actions", ())}

    def doing(self, action: str) -> str:
        """What is being done: `creating`, `provisioning app`."""
        return self._name(action, 0)

    def done(self, action: str) -> str:
        """What was done: `created`, `provisioned app`."""
        return self._name(action, 1)

    def of_another(self, action: str) -> str:
        """An action with its machine: `db: provisioning app`."""
        return f"{action.partition('/')[0]}: {self.doing(action)}"

    def _name(self, action: str, form: int) -> str:
        verb = verb_of(action)
        word = _WORDS.get(verb, (verb, verb))[form]
        detail = self._details.get(action) or _step_number(action)
        return f"{word} {detail}" if detail and verb in _WITH_DETAIL else word


def verb_of(action: str) -> str:
    """The verb in the id of an action."""
    return action.rsplit("/", 1)[-1].partition(":")[0].partition("@")[0]


def _step_number(action: str) -> str:
    number = action.rsplit("/", 1)[-1].partition(":")[2]
    return f"step {number}" if number else ""
