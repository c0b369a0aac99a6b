"""Everything of this user on this host, whichever project it belongs to."""

from __future__ import annotations

from pathlib import Path

from envup.errors import EnvupError
from envup.project import Project, lacks
from envup.provider import Instance, Layers, Provider


def whole_host() -> Project:
    """A project that stands for none: it opens the user's state, plugins and images."""
    return Project(Path.cwd(), None)


def instances(project: Project) -> tuple[list[tuple[Provider, Instance]], list[EnvupError]]:
    """Every instance, and the errors of providers that could not be asked, unless they lack something and have no
    machine on record."""
    recorded = {name for row in project.state.environments() for name in project.state.providers(row[0])}
    others = project.providers_beside(recorded)
    found: list[tuple[Provider, Instance]] = []
    problems: list[EnvupError] = []
    for name in sorted(recorded | {provider.name for provider in others}):
        try:
            provider = project.provider(name)
            found += [(provider, instance) for instance in provider.observe(None)]
        except EnvupError as error:
            if name in recorded or not lacks(project.provider(name)):
                problems.append(error)
    return found, problems


def images_in_use(project: Project) -> set[str]:
    """Digests of the images that an instance was made from. Errors: that of a provider which could not be asked, for
    what it uses is not known."""
    found, problems = instances(project)
    if problems:
        raise problems[0]
    return {instance.labels.get("envup.image", "") for _, instance in found}


def keepers(project: Project) -> list[Provider]:
    """The providers whose layers can be seen. Errors: that of one that lacks nothing and does not answer."""
    return [one for one in project.providers_beside(()) if isinstance(one, Layers) and _answers(one, one)]


def _answers(keeper: Layers, provider: Provider) -> bool:
    try:
        keeper.layers()
    except EnvupError:
        if lacks(provider):
            return False
        raise
    return True
