"""Deploys the application beside this file; `fab -H HOST setup deploy serve` does it by SSH, where sudo is there."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from fabric import Connection, task

APP = Path(__file__).parent / "app"
HOME, PORT = "/srv/app", 8090
STOP = f"""
pid=$(cat {HOME}/pid 2>/dev/null) || exit 0
grep -q server.py /proc/$pid/cmdline 2>/dev/null && kill $pid
while grep -q server.py /proc/$pid/cmdline 2>/dev/null; do sleep 0.1; done
"""
START = f"cd {HOME}/current && echo $$ >{HOME}/pid && exec python3 server.py {PORT} >>{HOME}/log 2>&1 </dev/null"


@task
def setup(c: Connection) -> None:
    """Makes the account and the directories."""
    if c.run("id -u app", hide=True, warn=True).failed:
        c.sudo(f"useradd --system --home-dir {HOME} --shell /bin/sh app")
    c.sudo(f"install -d -o app -g app {HOME} {HOME}/releases")


@task
def deploy(c: Connection, keep: int = 3) -> None:
    """Sends the application as a new release, unless it is there already, and keeps the last ones."""
    archive, release = packed()
    place = f"{HOME}/releases/{release}"
    if c.run(f"test -d {place}", warn=True).failed:
        c.put(io.BytesIO(archive), f"/tmp/{release}.tar")
        c.sudo(f"mkdir {place}", user="app")
        c.sudo(f"tar --no-same-owner -xf /tmp/{release}.tar -C {place}", user="app")
        c.run(f"rm /tmp/{release}.tar")
    c.sudo(f"touch {place}", user="app")
    c.sudo(f"ln -sfn {place} {HOME}/current", user="app")
    c.sudo(f"sh -c 'cd {HOME}/releases && ls -1t | tail -n +{keep + 1} | xargs -r rm -r'", user="app")


@task
def serve(c: Connection) -> None:
    """Starts the current release, in the place of the one that runs."""
    c.sudo(f"sh -c '{STOP}'", user="app")
    c.sudo(f"setsid --fork sh -c '{START}'", user="app")


def packed() -> tuple[bytes, str]:
    """The application as a tar, the same for the same files, and a name for it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(APP.iterdir()):
            member = tarfile.TarInfo(path.name)
            member.size = path.stat().st_size
            archive.addfile(member, io.BytesIO(path.read_bytes()))
    return content.getvalue(), hashlib.sha256(content.getvalue()).hexdigest()[:12]
