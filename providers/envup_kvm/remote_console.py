"""What the console of a machine that is apart said: `python -P -m envup_kvm.remote_console URI POOL DOMAIN DATA`."""

from __future__ import annotations

import sys
from pathlib import Path

from envup.errors import EnvupError
from envup_kvm import connection
from envup_kvm.remote import Remote


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 with the reason on standard error."""
    uri, pool, domain, data = arguments
    try:
        said = Remote(connection.connect(uri), pool, domain, Path(data)).console()
    except EnvupError as error:
        sys.stderr.write(f"envup: {error.brief}: {error.details}\n")
        return 1
    sys.stdout.buffer.write(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
