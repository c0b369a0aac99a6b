"""The answer of `env status`: what the backends say, held against what is declared and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from envup import changes, staleness
from envup.errors import UsageError
from envup.plan import action_id
from envup.value import replace

if TYPE_CHECKING:
    from envup.model import Environment, MachineSpec
    from envup.observe import Observed, Seen
    from envup.project import Project
    from envup.state.records import Records


def status(project: Project, machines: Sequence[str] = ()) -> dict[str, Any]:
    """The document of `env status --json`. Works without a valid Envfile; `problem` then says what is wrong with it and
    drift is not told. Machines of a provider that does not answer are `unknown`; `problems` says why, with the remedy.
    Takes no lock, changes nothing. Errors: `UsageError` for an unknown machine."""
    environment, problem = _declared(project)
    records = project.state.records(project.identity.id)
    observed = project.observe(environment)
    specs = {spec.name: spec for spec in environment.machines} if environment else {}
    unanswered = [name for name, record in records.machines.items() if record.provider in observed.silent]
    names = list(dict.fromkeys((*specs, *observed.machines, *unanswered)))
    for name in machines:
        if name not in names:
            raise UsageError(f"there is no machine '{name}'", hint=f"there are {', '.join(names)}" if names else "")
    document: dict[str, Any] = {
        "environment": {
            "id": project.identity.id,
            "name": environment.name if environment else project.directory.name,
            "directory": str(project.directory),
        },
        "machines": [
            _machine(project, environment, name, observed, records)
            | {"orphan": environment is not None and name not in specs}
            for name in names
            if not machines or name in machines
        ],
    }
    problems = [
        f"{error.brief}; to do: {error.hint}" if error.hint else error.brief for error in observed.silent.values()
    ]
    return document | ({"problem": problem} if problem else {}) | ({"problems": problems} if problems else {})


def _declared(project: Project) -> tuple[Environment | None, str]:
    try:
        environment = project.environment()
        return project.as_locked(environment, tell=False), ""
    except UsageError as error:
        return None, error.brief


def _machine(
    project: Project, environment: Environment | None, name: str, observed: Observed, records: Records
) -> dict[str, Any]:
    spec = environment.machine(name) if environment else None
    seen, record = observed.machines.get(name), records.machines.get(name)
    if seen is None:
        known = record if record and (spec is None or record.provider in observed.silent) else spec
        assert known is not None, "a name comes from the Envfile, from a backend or from a record"
        error = observed.silent.get(known.provider)
        return _document(name, known.provider, "unknown" if error else "absent", error.brief if error else "")
    instance = seen.instance
    drift, provisioned = _distance(project, environment, spec, seen, records)
    return _document(name, seen.provider, instance.state) | {
        "reason": instance.reason,
        "instance": instance.id,
        "image": instance.labels.get("envup.image", ""),
        "provisioned": provisioned,
        "drift": drift,
        "ports": [
            {
                "host": port.address or "0.0.0.0",
                "port": port.host_port,
                "machine_port": port.machine_port,
                "protocol": port.protocol,
            }
            for port in instance.ports
        ],
        "addresses": list(instance.addresses),
    }


def _document(name: str, provider: str, state: str, reason: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "provider": provider,
        "state": state,
        "reason": reason,
        "instance": "",
        "image": "",
        "provisioned": False,
        "drift": [],
        "ports": [],
        "addresses": [],
    }


def _distance(
    project: Project, environment: Environment | None, spec: MachineSpec | None, seen: Seen, records: Records
) -> tuple[list[str], bool | None]:
    """(keys that differ from the declaration, whether every step has run; None where there is no declaration)."""
    if spec is None:
        return [], None
    record = records.machines.get(spec.name)
    declared = replace(spec, provider=seen.provider) if spec.provider == "auto" else spec
    change = changes.of_instance(declared, seen, record, lambda _provider, _key: "live", project.identity.salt)
    known = record is not None and record.instance == seen.instance.id
    steps = records.steps.get(spec.name, ()) if known else ()
    stale = staleness.of_steps(steps, environment, spec.name, project.identity.salt)
    left = changes.of_steps(spec.steps, steps, stale, project.identity.salt, fresh=not known)
    pending = [step.name for step in changes.once(spec.steps) if step.index in left.indexes]
    drift = [*change.keys, *([f"provision: {left.rebuild}"] if left.rebuild else [])]
    if spec.ready and known and spec.name in records.unready and seen.instance.state == "running":
        drift.append("ready: has not succeeded")
    if known and left.reset >= 0 and not left.rebuild:
        drift.append(f"provision: {left.causes[left.reset]}")
    failed = known and records.failed.get(spec.name)
    if is_told := f"{spec.name}/{failed}" in _always(spec):
        drift.append(f"{failed}: has not succeeded")
    return drift, not (pending or left.rebuild or is_told)


def _always(spec: MachineSpec) -> set[str]:
    """The ids of actions whose success is in the journal alone."""
    return {action_id(spec.name, "provision", step.index) for step in spec.steps if step.run == "always"}
