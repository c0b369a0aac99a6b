"""Getting images for verbs that make no machine of them: asked for first, without secrets in what is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from envup.cli.consent import consent

if TYPE_CHECKING:
    from envup.cli.options import Arguments
    from envup.image import Image
    from envup.model import Environment, MachineSpec
    from envup.project import Project
    from envup.report.renderer import Renderer

_Key = TypeVar("_Key")


def obtained(
    project: Project,
    environment: Environment,
    specs: Mapping[_Key, MachineSpec],
    arguments: Arguments,
    report: Renderer,
    *,
    refresh: bool,
) -> dict[_Key, Image]:
    """The image of each machine, from where `env up` would get it. Errors: `EnvupError`, `UsageError` where the user
    does not agree."""
    from envup.actions import obtain
    from envup.output import masked, masked_errors

    trust = project.trust(environment)
    pending = trust.pending(demand for spec in specs.values() for demand in trust.image(spec))
    consent(pending, arguments, report.emit)
    trust.agree(pending)
    secrets = environment.secret_values()
    emit = masked(report.emit, secrets)

    def one(spec: MachineSpec) -> Image:
        provider, action = project.provider(spec.provider), f"{spec.name}/image"
        return obtain(provider, project.images, spec, emit, action=action, redact=secrets, refresh=refresh)

    with masked_errors(secrets):
        return {key: one(spec) for key, spec in specs.items()}
