"""What the reader of a result must know of the machine that it was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path


def facts(directory: Path) -> list[tuple[str, str]]:
    """(name, value) of each fact; `directory` is where machines were kept."""
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    find = ["findmnt", "-n", "-o", "FSTYPE", "-T", str(directory)]
    kind = subprocess.run(find, capture_output=True, text=True, check=True)
    return [
        ("processor", f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores"),
        ("memory", f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) >> 20} GiB"),
        ("system", f"{release}, Linux {platform.release()}"),
        ("Python", f"{platform.python_version()} ({os.path.realpath(sys.executable)})"),
        ("file system of the machines", kind.stdout.strip()),
        ("account", "root" if os.geteuid() == 0 else "an ordinary account"),
    ]


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
