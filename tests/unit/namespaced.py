"""A machine of bare namespaces on the host's own files, to enter in tests: its first process is a shell. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup import namespaces
from envup.namespaces import ending, programs
from envup.namespaces.variables import packed
from envup.provider import Command
from envup.value import replace

SHIFTED = "0:1000000:65536"
IDENTITY = "0:0:65536"
MOUNTS = (
    "mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt && "
    "mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts"
)


class Machine:
    """A running machine and the way into it."""

    def __init__(self, way: namespaces.Way) -> None:
        self.way = way

    def command(self, *argv: str, way: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Arguments of `subprocess.run` for a program; `way` changes the way, `fields` are those of `Command`."""
        changed = replace(self.way, **(way or {}))
        host = namespaces.enter(changed, Command(argv, **{"workdir": "/", **fields}))
        return {"args": host.argv, "env": {**os.environ, **host.environment}}

    def run(self, *argv: str, **fields: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(**self.command(*argv, **fields), **options)

    def says(self, script: str, **fields: Any) -> str:
        """What a shell says that must succeed."""
        done = self.run("sh", "-c", script, **fields)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def machine(
    ids: str = SHIFTED, *, variables: Mapping[str, str] | None = None, prefix: str = "", mounts: str = MOUNTS
) -> Iterator[Machine]:
    """A machine whose users are those of the map `ids`. `prefix` is put before its first process."""
    script = f"{mounts} && hostname inner && echo ready && while :; do sleep 1000; done"
    unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup", "--fork", "--kill-child", "--"]
    argv = (*programs.program("userns", ids, ids, "--"), *unshare, *prefix.split(), "sh", "-c", script)
    environment = {**os.environ, **packed(variables or {})}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment, cwd="/") as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        pid = int(Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()[0])
        start, holder_start = namespaces.start_time(pid), namespaces.start_time(host.pid)
        assert start is not None
        assert holder_start is not None
        kinds = namespaces.namespaces_of(pid)
        try:
            yield Machine(namespaces.Way(pid, start, kinds, holder=host.pid, holder_start=holder_start))
        finally:
            ending.end({"pid": pid, "start": start}, 0)
