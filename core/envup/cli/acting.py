"""What the verbs that change something share: lock, plan, ask, apply, tell how it ended."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from envup.cli.confirm import agree
from envup.cli.consent import consent
from envup.cli.options import Arguments
from envup.cli.rendering import renderer
from envup.engine import Engine
from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.plan import Plan
from envup.project import Project
from envup.report.text import duration

if TYPE_CHECKING:
    from envup.apply import Report
    from envup.report.renderer import Renderer


_ROUNDS = 5
"""How often consent is asked for at most: each answer may show what was not known before."""


def act(
    arguments: Arguments,
    prepare: Callable[[Engine], Plan],
    *,
    make: bool = False,
    asks: Callable[[Plan], Sequence[str]] = lambda plan: plan.asks,
    idle: str = "nothing to do",
    grace: float = 10.0,
) -> int:
    """Carry out the plan that `prepare` makes; the exit code. `asks` gives what the user must agree to, `idle` is what
    is said when the plan is empty, `grace` are the seconds that a machine has to stop."""
    with renderer(arguments) as report:
        project = Project.open(arguments.file, emit=report.emit, make=make)
        with project.lock(arguments.verb, arguments.wait):
            project.emit = heard_by_plugins(report.emit, project)
            engine = Engine(project)
            plan = prepare(engine)
            for _round in range(_ROUNDS):
                if not plan.consent:
                    break
                consent(plan.consent, arguments, project.emit)
                engine.agree(plan)
                plan = prepare(engine)  # once more, as providers were not asked about options before this
            if plan.consent:
                details = "\n".join(map(str, plan.consent))
                raise EnvupError("what needs consent changes all the time; nothing was changed", details=details)
            agree(asks(plan), arguments)
            while not engine.claim(plan):
                plan = prepare(engine)
                agree(asks(plan), arguments)
            begun = time.monotonic()
            for note in plan.notes:
                project.emit(Event("note", text=note))
            outcome = _apply(engine, plan, arguments.verb, grace)
        return _finish(report, plan, outcome, time.monotonic() - begun, idle)


def heard_by_plugins(emit: Emit, project: Project) -> Emit:
    """An `Emit` that also reaches the plugins that listen to events; a broken one becomes a warning."""

    def tell(event: Event) -> None:
        emit(event)
        for warning in project.plugins.notify(event):
            emit(Event("warning", text=warning))

    return tell


def _apply(engine: Engine, plan: Plan, verb: str, grace: float) -> Report | None:
    """What came of the plan, None when it is empty. From here on it may take long, so the garbage collector, off since
    the start, is on again."""
    project = engine.project
    project.emit(Event("plan", data=plan.as_json()))
    if not plan.changes:
        return None
    gc.enable()
    _begin_logs(project, plan, verb)
    return engine.apply(plan, grace=grace)


def _begin_logs(project: Project, plan: Plan, verb: str) -> None:
    """Mark in the log of each machine that will write to it where this run begins, for `env logs --last`."""
    for machine in {action.machine for action in plan.actions if action.verb in ("provision", "ready")}:
        path = project.log_directory / f"{machine}.log"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("ab") as log:
                gap = "\n" if log.tell() else ""
                log.write(f"{gap}=== env {verb} at {time.strftime('%Y-%m-%dT%H:%M:%S%z')} ===\n".encode())
        except OSError as error:
            raise EnvupError(f"cannot write the log {path}: {error.strerror}") from error


def _finish(report: Renderer, plan: Plan, outcome: Report | None, took: float, idle: str) -> int:
    seconds = round(took, 3)
    if outcome is None or outcome.ok:
        report.say(f"{plan.name}: {f'done in {duration(took)}' if outcome else idle}")
        report.result(ok=True, changed=outcome is not None, failed=[], skipped=[], seconds=seconds)
        return 0
    report.result(
        ok=False,
        changed=True,
        failed=sorted(outcome.failed),
        skipped=sorted(outcome.skipped),
        interrupted=outcome.interrupted,
        seconds=seconds,
    )
    counts = [f"{len(outcome.failed)} failed"] if outcome.failed else []
    counts += [f"{len(outcome.skipped)} not tried"] if outcome.skipped else []
    word = "interrupted" if outcome.interrupted else "not finished"
    if report.wants_prose:
        sys.stderr.write(f"{plan.name}: {', '.join([word, *counts])}, after {duration(took)}\n")
    return 130 if outcome.interrupted else 1
