"""`env schema`: the JSON schema of the Envfile with those of the installed plugins merged in."""

from __future__ import annotations

import json

from envup.cli.answer import write
from envup.cli.options import Arguments

OPTIONS = ()
ARGUMENTS = ()
DETAILS = "Editors read it through a first line in the Envfile: # yaml-language-server: $schema=FILE"


def run(_arguments: Arguments) -> int:
    """Print the schema."""
    from envup.envfile.schema import merged
    from envup.plugins import Host

    write(json.dumps(merged(Host()), indent=2) + "\n")
    return 0
