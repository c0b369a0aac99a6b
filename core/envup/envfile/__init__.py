"""From the text of an Envfile to an `Environment`: positions, schema, interpolation, checks, model.

`load.load` is the way in. The river inside: `source` (bytes to text), `tree` (text to plain data with positions),
`interpolate`, `validate` and `explain` (the schema), `normalise` (defaults), `check` (what no schema can say), `build`.
"""

from __future__ import annotations

NAMES = ("Envfile", "Envfile.yaml", "Envfile.yml")
"""What an Envfile may be called; of several in one directory the first counts."""
