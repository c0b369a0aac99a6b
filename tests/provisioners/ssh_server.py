"""An OpenSSH server on loopback for root, with keys of its own, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {place}/host
AuthorizedKeysFile {place}/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@contextlib.contextmanager
def serving(place: Path) -> Iterator[int]:
    """The port; the user's key is `place`/user."""
    server = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    assert server, "the tests need sshd: `scripts/setup dev` installs it"
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "config").write_text(_CONFIG.format(port=port, place=place))
    command = [server, "-D", "-e", "-f", str(place / "config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "Server listening" not in said:
            said = process.stderr.readline()
            assert said, "sshd ended"
        try:
            yield port
        finally:
            process.terminate()
