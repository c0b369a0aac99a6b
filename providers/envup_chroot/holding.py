"""Starting and ending the holder of a machine, seen from the host."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import contextlib
import json
import marshal
import os
import select
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.provider import MachineSpec
from envup_chroot import programs, records, settings, storage, subids, syscalls
from envup_chroot.variables import packed

_PATIENCE = 1.0
"""Seconds that a killed machine is waited for before stopped host processes that must reap some of it are continued."""


def start(
    directory: Path,
    lock: int,
    facts: Mapping[str, Any],
    spec: MachineSpec,
    tree: Path,
    groups: Sequence[Path],
    *,
    hidden: Sequence[str],
) -> None:
    """Start the holder; when this returns, the machine can be entered. The lock's descriptor goes to the holder's
    starter, which keeps the machine locked until its fate is known, whatever becomes of this process."""
    maps = subids.maps()
    persona = syscalls.PER_LINUX32 if facts["architecture"] == "i386" else 0
    run = {
        "id": os.urandom(16).hex(),
        "cgroups": [str(group) for group in groups],
        "persona": persona,
        "capabilities": settings.kept_capabilities(spec),
        "user_namespace": maps is not None,
        "ports": [[port.machine_port, port.protocol] for port in spec.ports],
    }
    config = {
        "machine": str(directory),
        "maps": maps,
        "lower": str(tree),
        "hidden": list(hidden),
        "tmpfs": settings.tmpfs(spec) if facts["volatile"] else None,
        "disk": facts["disk"],
        "mounts": [
            (str(mount.source), mount.target, mount.read_only)
            for mount in sorted(spec.mounts, key=lambda mount: len(Path(mount.target).parts))
        ],
        "hostname": spec.hostname or spec.name,
        "peers": list(spec.peers),
        "resolver": _resolver(),
        "first": not (directory / records.FILE).exists(),
        "persona": persona,
        "record": json.dumps(run)[1:-1],
    }
    failure = f"machine '{spec.name}' did not start"
    programs.run(
        programs.program("holder"),
        failure,
        data=marshal.dumps(config),
        environment=packed(spec.environment),
        descriptors=(lock,),
    )


def _resolver() -> str | None:
    try:
        return Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def running(directory: Path) -> dict[str, Any] | None:
    """The record of a machine whose holder lives, ready or not."""
    run = storage.read(f"{directory}/{records.FILE}")
    return run if run is not None and storage.is_alive(run, records.boot()) else None


def end(run: Mapping[str, Any], grace: float) -> None:
    """End the holder and with it every process of the machine: asked to, then after `grace` seconds killed. Returns
    when all are gone. Errors: `EnvupError` when the kernel does not let go of one."""
    try:
        descriptor = os.pidfd_open(run["pid"])
    except ProcessLookupError:
        return
    try:
        if records.start_time(run["pid"]) != run["start"]:
            return
        namespace = _namespace(f"/proc/{run['pid']}/ns/pid")
        if grace > 0:
            _send(descriptor, signal.SIGTERM)
            if _ended(descriptor, grace):
                return
        _send(descriptor, signal.SIGKILL)
        if not _ended(descriptor, _PATIENCE):
            _continue_stopped(namespace)
            if not _ended(descriptor, 30):
                raise EnvupError(
                    "processes of the machine do not end", hint="`ps` shows those in state D: they wait for a device"
                )
    finally:
        os.close(descriptor)


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _ended(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _namespace(link: str) -> int | None:
    try:
        return os.stat(link).st_ino
    except OSError:
        return None


def _continue_stopped(namespace: int | None) -> None:
    """The kernel keeps a PID namespace until the host's processes that started programs in it have reaped them; one
    that a shell has stopped does not."""
    for process in _processes():
        if namespace is not None and _namespace(f"/proc/{process}/ns/pid_for_children") == namespace:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGCONT)


def members(run: Mapping[str, Any]) -> set[int]:
    """Every process of a running machine, by its number on the host."""
    namespace = _namespace(f"/proc/{run['pid']}/ns/pid")
    return {process for process in _processes() if _namespace(f"/proc/{process}/ns/pid") == namespace}


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
