"""`env lock`: write down what the environment is made from, so that others make the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from envup.cli.consent import TRUST
from envup.cli.obtaining import obtained
from envup.cli.options import Argument, Arguments, Option
from envup.cli.plan import PENDING
from envup.cli.rendering import renderer
from envup.errors import UsageError
from envup.locking.document import Lock, Pair

if TYPE_CHECKING:
    from envup.model import Pin
    from envup.project import Project
    from envup.report.renderer import Renderer

OPTIONS = (
    Option("--update", "lock images as they are now, all or those that are named; others stay"),
    Option("--check", "write nothing; exit with 3 when something is not as the lock file says"),
    TRUST,
)
ARGUMENTS = (Argument("IMAGE", "with --update: images as the Envfile names them, all by default", count="*"),)
DETAILS = """
The lock file lies beside the Envfile: which images it stands for to the byte and how to get them again, which plugins,
which steps. Without --update images stay that are locked already. `env up` takes images as they are locked, and tells
what does not fit; `env up --locked` refuses that."""


def run(arguments: Arguments) -> int:
    """Write the lock file, or look whether it would change."""
    from envup.locking.current import current
    from envup.locking.reading import read
    from envup.project import Project

    if arguments.image and not arguments.update:
        raise UsageError("lock: IMAGE goes with --update", hint="`env help lock` explains it")
    if arguments.check and arguments.update:
        raise UsageError("lock: --check and --update exclude each other", hint="`env help lock` explains it")
    with renderer(arguments) as report:
        project = Project.open(arguments.file, emit=report.emit)
        old = read(project.lock_file)
        now = current(project.environment(), project.plugins, old or Lock())
        if arguments.check:
            return _check(report, project, old, now)
        return _write(report, project, old or Lock(), now, arguments)


def _check(report: Renderer, project: Project, old: Lock | None, now: Lock) -> int:
    from envup.locking.difference import differences

    name = project.lock_file.name
    pending = [f"there is no {name}"] if old is None else list(differences(old, now))
    for text in pending or [f"{name} is as it should be"]:
        report.say(text)
    report.result(ok=True, changed=False, file=str(project.lock_file), pending=pending)
    return PENDING if pending else 0


def _write(report: Renderer, project: Project, old: Lock, now: Lock, arguments: Arguments) -> int:
    from envup.locking.document import render, write
    from envup.locking.making import renewed, wanted

    update = (arguments.image or None) if arguments.update else ()
    got = _get(report, project, old, wanted(old, now, update), arguments)
    new = renewed(old, now, got)
    changed = not project.lock_file.exists() or render(new) != render(old)
    if changed:
        write(project.lock_file, new)
    for (_, title), pin in sorted(got.items()):
        report.say(f"{title}: {pin.digest if pin else 'is another each time, and not locked'}")
    report.say(f"{project.lock_file.name}: {'written' if changed else 'is as it should be'}")
    locked = {title: pin.digest for (_, title), pin in got.items() if pin}
    report.result(ok=True, changed=changed, file=str(project.lock_file), images=locked)
    return 0


def _get(
    report: Renderer, project: Project, old: Lock, places: Collection[Pair], arguments: Arguments
) -> dict[Pair, Pin | None]:
    """The pins of images as they are now."""
    from envup.locking.current import lockable, named, require_pin

    environment = project.settled(project.state.records(project.identity.id))
    found = named(environment, project.plugins, old)
    specs = {found[spec.name][0]: spec for spec in environment.machines if found[spec.name][0] in places}
    again = {place: spec for place, spec in specs.items() if lockable(place[0], project.plugins)}
    images = obtained(project, environment, again, arguments, report, refresh=arguments.update)
    # what an earlier version fetched says nothing of how to get it again
    unsaid = {place: again[place] for place, image in images.items() if image.pin is None and image.archive}
    images |= obtained(project, environment, unsaid, arguments, report, refresh=True)
    for (source, _), image in images.items():
        require_pin(source, image.locked, project.plugins)
    return dict.fromkeys(specs) | {place: image.locked for place, image in images.items()}
