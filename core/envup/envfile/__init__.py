"""From the text of an Envfile to an `Environment`: positions, schema, interpolation, checks, model.

`load.load` is the way in. The river inside: `source` (bytes to text), `tree` (text to plain data with positions),
`interpolate`, `validate` and `explain` (the schema), `normalise` (defaults), `check` (what no schema can say), `build`.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("Envfile", "Envfile.yaml", "Envfile.yml")
"""What an Envfile may be called; of several in one directory the first counts."""


def lock_file(envfile: Path) -> Path:
    """Where the lock file of an Envfile is, or would be."""
    return envfile.with_name(envfile.name.removesuffix(".yaml").removesuffix(".yml") + ".lock")


def own_files(envfile: Path) -> tuple[Path, ...]:
    """What is another in each checkout of the directory of an Envfile, whether it is there or not."""
    from envup.state.identity import FOLDER

    return lock_file(envfile), *(envfile.with_name(name) for name in (FOLDER, ".git"))
