"""Labels of AppArmor or SELinux that confine programs.

They are read and taken on through /proc/PID/attr, see proc_pid_attr(5). AppArmor has a directory of its own there, and
takes a command where SELinux takes a bare label.
"""

# os rather than pathlib, which takes longer to load than all of this.

from __future__ import annotations

import os

_APPARMOR = "attr/apparmor"
_UNCONFINED = ("", "unconfined")


def label_of(process: int) -> str:
    """What confines a process, as `Way.label` takes it; empty where nothing does. Errors: `OSError` when the process
    is gone."""
    directory = os.open(f"/proc/{process}", os.O_RDONLY | os.O_DIRECTORY)
    try:
        label = _read(directory, f"{_APPARMOR}/current") or _read(directory, "attr/current") or ""
    finally:
        os.close(directory)
    label = label.partition(" (")[0]  # the mode, such as " (enforce)"
    return "" if label in _UNCONFINED else label


def take_on(label: str, host_proc: int) -> None:
    """Have the program that this process executes next confined by a label. `host_proc` is a descriptor of the host's
    /proc. Errors: `OSError`, also where nothing enforces labels."""
    if _read(host_proc, f"self/{_APPARMOR}/current") is not None:
        _write(host_proc, f"self/{_APPARMOR}/exec", f"exec {label}")
    else:
        _write(host_proc, "self/attr/exec", label)


def _read(directory: int, path: str) -> str | None:
    """The text of an attribute; None where its security module is not there or not in force."""
    try:
        descriptor = os.open(path, os.O_RDONLY, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        return os.fsdecode(os.read(descriptor, 4096).rstrip(b"\0\n"))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _write(directory: int, path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY, dir_fd=directory)
    try:
        os.write(descriptor, os.fsencode(text))
    except OSError as error:
        raise OSError(error.errno, f"the label '{text}' is refused: {error.strerror}") from error
    finally:
        os.close(descriptor)
