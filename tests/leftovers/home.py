"""What is left in a home: directories, records, half-made images, sockets, locks, addresses."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


def directories(home: Path) -> list[str]:
    """Those of machines, and those of virtual machines that run."""
    places = [path for path in home.glob("run/kvm/*") if path.is_dir()]
    return [str(path) for path in (*home.glob("data/providers/*/machines/*"), *places)]


def half_made_images(home: Path) -> list[str]:
    """Images and their file systems that nobody finished."""
    work = [path for path in home.glob("data/images/work/*") if path.name != "guard"]
    trees = [path for path in home.glob("data/providers/*/images/.*") if path.suffix != ".lock"]
    return [str(path) for path in (*work, *trees)]


def digests(home: Path) -> set[str]:
    """Of the images that the home has."""
    return {f"sha256:{path.stem}" for path in home.glob("data/images/blobs/sha256/*.tar")}


def records(home: Path) -> list[str]:
    """Machines, steps and actions without an end."""
    file = home / "data/state.db"
    if not file.exists():
        return []
    with sqlite3.connect(file) as database:
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            return []
        rows = [f"machine {row}" for row in database.execute("SELECT * FROM machine")]
        rows += [f"step {row}" for row in database.execute("SELECT * FROM step")]
        rows += [f"open {row}" for row in database.execute("SELECT * FROM journal WHERE ended IS NULL")]
    database.close()
    return rows


def addresses(home: Path, environment: str) -> list[str]:
    """Those that are given to the environment's machines."""
    files = home.glob("data/providers/*/addresses/known.json")
    return [str(file) for file in files if environment and environment in file.read_text()]


def sockets(home: Path) -> list[str]:
    """Sockets of keepers, and the logs beside them."""
    return [str(path) for path in home.glob("run/**/*") if path.is_socket() or path.suffix == ".log"]


def held_locks(home: Path) -> list[str]:
    """Files and directories that somebody has locked (proc_locks(5)). A lock file that nobody holds is no trace."""
    inodes = {line.split()[5] for line in Path("/proc/locks").read_text().splitlines() if "->" not in line}
    places = (*home.glob("run/**/*"), *home.glob("data/providers/**/*.lock"), *home.glob("data/images/locks/*"))
    return [str(path) for path in places if _device_and_inode(path) in inodes]


def _device_and_inode(path: Path) -> str:
    try:
        state = path.stat()
    except FileNotFoundError:
        return ""
    return f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
