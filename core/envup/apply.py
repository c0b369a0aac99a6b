"""Running a plan: in parallel where its graph allows, journalled around each action, stopped in order by a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from envup import children
from envup.errors import EnvupError, InterruptedByUser
from envup.events import Emit, Event
from envup.plan import Action, Plan
from envup.state.records import State
from envup.tasks import Task

_WORKERS = 4 * (os.cpu_count() or 1)
"""Actions that work on a backend at a time."""

_WAITING = ("ready", "provision")
"""Verbs that may wait for another machine, and so must not keep that machine's actions from their turn."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Report:
    """What came of a plan: errors by action id, and the ids that were not tried since something before them failed."""

    failed: dict[str, EnvupError] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether every action succeeded."""
        return not (self.failed or self.skipped or self.interrupted)


def apply(plan: Plan, perform: Callable[[Action], None], state: State, emit: Emit) -> Report:
    """Carry `plan` out with `perform`. Call from the main thread with the environment's lock held. What fails stops
    what waits for it and nothing else; an interrupt ends the programs that run and starts nothing more but what is
    `last`. Errors that are no `EnvupError` are raised when the actions that run have ended."""
    report = Report()
    waiting = {action.id: action for action in plan.actions if not action.last}
    final = [action for action in plan.actions if action.last]
    blockers = {action.id: set(action.after) & waiting.keys() for action in plan.actions}

    turns = threading.Semaphore(_WORKERS)

    def one(action: Action) -> None:
        with (
            contextlib.nullcontext() if action.verb in _WAITING else turns,
            _journalled(action, plan.environment, state, emit),
        ):
            perform(action)

    succeeded: set[str] = set()
    with _woken_by_signals() as bell, _all_ended() as running:
        while True:
            ready = [name for name in waiting if not blockers[name] and not children.cancelled()]
            begun = [waiting.pop(name) for name in ready]
            if not (begun or running):
                begun, final = [action for action in final if action.unless not in succeeded], []
            running.update({Task(partial(one, action), at_end=bell.ring): action for action in begun})
            if not running:
                break
            bell.wait()
            for task in [task for task in running if task.ended]:
                task.join()  # or it would ring a bell whose descriptor is something else's by then
                action = running.pop(task)
                if _succeeded(action, task.error, report):
                    succeeded.add(action.id)
                if action.lenient or action.id in succeeded:
                    for names in blockers.values():
                        names.discard(action.id)
    report.interrupted = children.cancelled()
    for name, action in waiting.items():
        report.skipped.append(name)
        emit(Event("skipped", action.machine, name, ", ".join(sorted(blockers[name]))))
    return report


class _Bell:
    """Wakes the main thread, for a signal as for an action that ended. A signal that comes just before a lock is waited
    for would go unheard until the lock is free; the descriptor of `signal.set_wakeup_fd` loses none."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)

    def ring(self) -> None:
        """Let `wait` return."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer, b"\0")

    def wait(self) -> None:
        """Return when something happened since the last call."""
        os.read(self._reader, 4096)

    def close(self) -> None:
        """Release the pipe."""
        os.close(self._reader)
        os.close(self.writer)


@contextlib.contextmanager
def _all_ended() -> Iterator[dict[Task[None], Action]]:
    """The actions that run; waited for in any case."""
    running: dict[Task[None], Action] = {}
    try:
        yield running
    finally:
        for task in running:
            task.join()


def _succeeded(action: Action, error: BaseException | None, report: Report) -> bool:
    if error is None:
        return True
    if not isinstance(error, EnvupError):
        raise error
    report.failed[action.id] = error
    return False


@contextlib.contextmanager
def _journalled(action: Action, environment: str, state: State, emit: Emit) -> Iterator[None]:
    if children.cancelled() and not action.last:
        raise InterruptedByUser("interrupted")
    begun = time.monotonic()
    entry = 0
    try:
        entry = state.begin(environment, action.machine, action.id.partition("/")[2], action.provider)
        emit(Event("started", action.machine, action.id, action.cause))
        yield
        state.end(entry, "done")
    except BaseException as error:
        if isinstance(error, EnvupError):
            emit(Event("failed", action.machine, action.id, *_told(error)))
        with contextlib.suppress(
            EnvupError
        ):  # the error that is raised already says more than a journal that fails too
            state.end(entry, "interrupted" if children.cancelled() else "failed")
        raise
    emit(Event("finished", action.machine, action.id, data={"seconds": time.monotonic() - begun}))


def _told(error: EnvupError) -> tuple[str, dict[str, object]]:
    """After an interrupt, what a provider says of its programs that were ended is no failure of theirs."""
    if children.cancelled() and getattr(error, "exit_code", None) is None:
        return "interrupted", {"details": error.brief, "hint": ""}
    return error.brief, _facts(error)


def _facts(error: EnvupError) -> dict[str, object]:
    facts = {"details": error.details, "hint": error.hint}
    return facts | {name: getattr(error, name) for name in ("command", "exit_code", "log") if hasattr(error, name)}


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[_Bell]:
    """The first signal asks the programs that run to end, a second one ends them at once. A signal that the caller
    ignores, as nohup(1) does, stays ignored."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        children.cancel(signal.SIGKILL if children.cancelled() else signal.SIGTERM)

    bell = _Bell()
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    fd = signal.set_wakeup_fd(bell.writer, warn_on_full_buffer=False)
    try:
        yield bell
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        bell.close()
