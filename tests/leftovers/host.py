"""What is left on the host: mounts, processes, control groups, loop devices, network interfaces, rules of the packet
filter, namespaces."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from leftovers import engine, virtual

_BRIDGE = re.compile(r"br-[0-9a-f]{12}\b")
_ADDRESS = re.compile(r"\b(?:172\.\d+|192\.168)\.\d+\.\d+\b(?:(?!/)|(?=/32))")
"""Of a machine, in the ranges that the Docker engine takes its networks from."""


class Before:
    """What the host had before there were any machines."""

    def __init__(self) -> None:
        self.interfaces, self.rules, self.namespaces = set(_interfaces()), _rules(), _namespaces()
        self.states = virtual.nameless()


def mounts(home: Path) -> list[str]:
    """Mounts in the home or of what is in it."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{home}/" in line]


def processes(home: Path, directory: Path, environment: str) -> list[str]:
    """Processes whose command line, variables, control groups or working directory name the home or the environment,
    or that have something of the home or the project's directory mounted; this one apart."""
    marks = [os.fsencode(home), *([environment.encode()] if environment else [])]
    mounted = [b" %s/" % _within_file_system(home), b" %s " % _within_file_system(directory)]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told, mounts = _told(process), (process / "mountinfo").read_bytes()
        except OSError:  # it has ended, is a zombie or somebody else's
            continue
        if any(mark in told for mark in marks) or any(mark in mounts for mark in mounted):
            found.append(f"{process.name}: {told[:200]!r}")
    return [line for line in found if not line.startswith(f"{os.getpid()}:")]


def _told(process: Path) -> bytes:
    files = b"".join((process / file).read_bytes() for file in ("cmdline", "environ", "cgroup"))
    return files + os.fsencode((process / "cwd").readlink())


def _within_file_system(path: Path) -> bytes:
    """A path as proc_pid_mountinfo(5) names the root of a mount."""
    point = next(above for above in (path, *path.parents) if above.is_mount())
    return b"/" + os.fsencode(path.relative_to(point)).removeprefix(b".")


def control_groups(environment: str) -> list[str]:
    """Of every hierarchy and version, those that name the environment."""
    if not environment:
        return []
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if environment in folder]


def loop_devices(home: Path) -> list[str]:
    """Those with a file of the home."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            told = path.read_text().strip()
        except OSError:
            continue
        if str(home) in told:
            found.append(told)
    return found


def interfaces(before: Before, home: Path, directory: Path, environment: str) -> list[str]:
    """New bridges that no network of another accounts for, and new pairs of devices whose other end is in the network
    of this environment's machines, or in one that nobody uses."""
    new = {name: link for name, link in _interfaces().items() if name not in before.interfaces}
    if not new:
        return []
    strange = {name for name in new if _BRIDGE.fullmatch(name)}
    if strange:
        strange -= engine.others(environment)
    veths = {name: link for name, link in new.items() if link.get("linkinfo", {}).get("info_kind") == "veth"}
    return sorted(strange | _of_machines(veths, processes(home, directory, environment)))


def _of_machines(veths: dict[str, Any], living: list[str]) -> set[str]:
    if not veths:
        return set()
    users = _network_users()
    ours = {int(line.partition(":")[0]) for line in living}
    found = {name: users.get(str(link.get("link_netnsid"))) for name, link in veths.items()}
    return {name for name, user in found.items() if user is None or user in ours}


def _network_users() -> dict[str, int]:
    """A process of each network that has a number in the host's; lsns(8) fails where one ends while it looks."""
    line = ("lsns", "--json", "--type", "net", "--output", "netnsid,pid")
    tries = (subprocess.run(line, capture_output=True, text=True) for _ in range(50))
    told = next(done.stdout for done in tries if done.returncode == 0)
    return {str(one["netnsid"]): int(one["pid"]) for one in json.loads(told)["namespaces"]}


def rules(before: Before, environment: str) -> list[str]:
    """New rules of the packet filter that name the environment, or a bridge or an address of the engine that others do
    not account for."""
    new = {rule: {*_BRIDGE.findall(rule), *_ADDRESS.findall(rule)} for rule in _rules() - before.rules}
    named = {rule: names for rule, names in new.items() if names}
    known = engine.others(environment) if named else set()
    strange = [rule for rule, names in named.items() if not names & known]
    return sorted({*strange, *(rule for rule in new if environment and environment in rule)})


def namespaces(before: Before, home: Path, environment: str) -> list[str]:
    """Namespaces that a new mount keeps alive: the engine's, and those in the home."""
    new = _namespaces() - before.namespaces
    ours = {path for path in new if str(home) in path or (environment and environment in path)}
    of_engine = {path for path in new if path.startswith("/run/docker/netns/")}
    return sorted(ours | (of_engine - engine.others(environment) if of_engine else set()))


def _namespaces() -> set[str]:
    lines = [line.partition(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {left.split()[4] for left, _dash, right in lines if right.startswith("nsfs ")}


def _interfaces() -> dict[str, Any]:
    return {link["ifname"]: link for link in json.loads(_output("ip", "-json", "-details", "link"))}


def _rules() -> set[str]:
    """All rules, without counters; only root can make or read any."""
    if os.geteuid() != 0:
        return set()
    told = _output("nft", "--stateless", "list", "ruleset") + _output("iptables-save") + _output("ip6tables-save")
    return {line.strip() for line in told.splitlines() if line.strip() and line[0] not in "#:*"}


def _output(*line: str) -> str:
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout
