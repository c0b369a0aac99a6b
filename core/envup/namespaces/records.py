"""Small files about machines, among them `run.json`, the record of a running one: which process holds it, and what
entering it needs. Holds no secret.

A process is named by its pid, its start time and the boot, so a number that was given to another process is not taken
for the holder. For the small programs as well; imports nothing heavy.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH104, PTH123

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE = "run.json"


def start_time(process: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it is gone or dead and not yet reaped."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def lives(process: int, start: str) -> bool:
    """Whether the process that had this number and `start_time` lives."""
    return start_time(process) == start


def is_alive(run: Mapping[str, Any], boot: str) -> bool:
    """Whether the process that a record names by `pid`, `start` and `boot` lives."""
    return bool(run["boot"] == boot and lives(run["pid"], run["start"]))


def boot() -> str:
    """The random id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def write_run(machine: str, process: int, fields: str, *, ready: bool) -> None:
    """Replace the record. `fields` are further members of the JSON object, as text without braces. It is not synced: no
    process survives a power loss, and one cut short counts as none."""
    text = f'{{"pid": {process}, "start": "{start_time(process)}", "boot": "{boot()}", "ready": {str(ready).lower()}'
    replace(f"{machine}/{FILE}", f"{text}, {fields}}}")


def replace(path: str, text: str, *, synced: bool = False) -> None:
    """Write a file under another name, then rename it over `path`. `synced`: once this returns, it is there after a
    power loss too, and before then the old one is; without, it may be empty then. Errors: `OSError`."""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    os.rename(temporary, path)
    if synced:
        directory = os.open(path.rpartition("/")[0] or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
