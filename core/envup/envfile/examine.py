"""The whole examination of an Envfile that is not in the cache: YAML, interpolation, schema, defaults, checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from envup.envfile import tree as yaml_tree
from envup.envfile.check import MISSING_IMAGE, check
from envup.envfile.faults import MOST, Fault, problems
from envup.envfile.interpolate import Variables
from envup.envfile.normalise import ALONE, normalise
from envup.envfile.schema import merged
from envup.envfile.source import decode
from envup.envfile.validate import Outcome, validate
from envup.errors import EnvfileError, Problem

if TYPE_CHECKING:
    from envup.envfile.tree import Path, Tree
    from envup.plugins import Host

ALL = "*"


def examine(
    content: bytes, file: FilePath, host: Host, *, environ: Mapping[str, str], provider: str | None
) -> tuple[dict[str, Any], Variables]:
    """The document in its normal form, and the variables that it uses. Errors: `EnvfileError` with all problems."""
    tree = yaml_tree.parse(decode(content, file.name), file.name)
    if tree.data is None and tree.problems:
        raise EnvfileError(tree.problems)
    schema = merged(host)
    variables = Variables(environ, file.parent / ".env")
    outcome = validate(tree, schema, _verbatim(host), variables)
    faults = [*outcome.faults, *_checked(outcome, schema, host, provider, tree)]
    found = [*tree.problems, *problems(tree, file.name, faults)]
    if found:
        raise EnvfileError(_most(found))
    return normalise(outcome.written, schema), variables


def _verbatim(host: Host) -> Mapping[str, Iterable[str]]:
    return {plugin.name: plugin.envup.get("verbatim", ()) for plugin in host.catalog() if not plugin.problem}


def _checked(
    outcome: Outcome, schema: Mapping[str, Any], host: Host, provider: str | None, tree: Tree
) -> Iterable[Fault]:
    """The checks, of those machines that are sound so far."""
    if not isinstance(outcome.read, dict):
        return []
    machines = outcome.read.get("machines", {ALONE: {}})
    if not isinstance(machines, dict):
        return []
    broken = {_machine_of(fault.path, "machines" in outcome.read) for fault in outcome.faults if not fault.stray}
    if ALL in broken:
        return []
    whole = [name for name in machines if name not in broken]
    read = {**outcome.read, "machines": {name: machines[name] for name in whole}} if broken else outcome.read
    normal = normalise(read, schema)["machines"]
    for machine in normal.values() if provider else ():
        machine["provider"] = provider
    found = [_placed(fault, tree) for fault in islice(check({**machines, **normal}, host, whole), MOST)]
    # What is missing may be what is misspelt beside it.
    astray = {fault.path[:-1] for fault in outcome.faults if fault.stray}
    return [fault for fault in found if fault.message != MISSING_IMAGE or fault.path not in astray]


def _machine_of(path: Path, many: bool) -> str:
    """The machine that a fault is about; `ALL` where it may be about each."""
    if len(path) > 1 and path[0] == "machines":
        return str(path[1])
    return "" if many and path and path[0] not in ("machines", "defaults", "provider") else ALL


def _placed(fault: Fault, tree: Tree) -> Fault:
    """The fault at the path by which the file says it: under the machine, at the top level or under `defaults`."""
    _, machine, *rest = fault.path
    own: Path = ("machines", machine, *rest) if ("machines",) in tree.values else tuple(rest)
    top: list[Path] = [tuple(rest)] if rest == ["provider"] else []
    for path in (own, ("defaults", *rest), *top) if rest else ():
        if path in tree.values:
            return fault._replace(path=path)
    return fault._replace(path=own)


def _most(found: list[Problem]) -> list[Problem]:
    unique = list({(p.line, p.column, p.path, p.message): p for p in found}.values())
    unique.sort(key=lambda problem: (problem.line, problem.column))
    if len(unique) <= MOST:
        return unique
    last = unique[MOST - 1]
    more = Problem(last.file, last.line, last.column, "", f"and {len(unique) - MOST} problems more")
    return [*unique[:MOST], more]
