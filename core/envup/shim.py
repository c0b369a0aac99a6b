"""The entry point of both names, `env` and `envup`: our verbs, or straight on to the system's env(1).

In an activated virtual environment `env` is found before the system's, so everything that is not ours goes on exactly
as it came, and fast: nothing but `os` and `sys` is imported before that is decided.
"""

from __future__ import annotations

import os
import sys

VERBS = frozenset(
    (
        "completion",
        "copy",
        "destroy",
        "doctor",
        "exec",
        "help",
        "images",
        "list",
        "lock",
        "logs",
        "new",
        "package",
        "plan",
        "plugins",
        "ports",
        "provision",
        "prune",
        "restart",
        "resume",
        "schema",
        "shell",
        "snapshot",
        "status",
        "ssh-config",
        "stop",
        "suspend",
        "trust",
        "up",
        "validate",
        "version",
    )
)
"""What `env` keeps for itself. None may be the name of a program on a stock system; `trust` is one of
p11-kit's, which nobody starts through env(1)."""

SYSTEM_ENV = ("/usr/bin/env", "/bin/env")

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python may set LC_CTYPE to in a C locale (PEP 538)."""


def main() -> int:
    """Run the command line of this process; the exit code, or no return where another program takes over."""
    name = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib is a costly import
    if name == "env" and (len(sys.argv) < 2 or sys.argv[1] not in VERBS):
        return go_on(sys.argv)
    import gc

    gc.disable()
    _open_streams()
    from envup.cli.main import run

    return _end(run(sys.argv[1:], program=name if name == "env" else "envup"))


def _open_streams() -> None:
    """Have all three standard streams, so that no other file can get the number of one that the caller closed. They are
    closed again for a program that this process becomes."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        stream = open(descriptor, "w" if descriptor else "r", closefd=False)  # noqa: SIM115
        setattr(sys, ("stdin", "stdout", "stderr")[descriptor], stream)
    os.close(descriptor)
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _end(code: int) -> int:
    """End the process without taking the interpreter apart, which takes longer than many a verb. What must
    be closed was closed by its owner. Under a tracer or profiler, return for the usual end."""
    if sys.gettrace() is None and sys.getprofile() is None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                continue  # was told, as far as anybody listens, when it was met first
        os._exit(code)
    return code


def go_on(argv: list[str]) -> int:
    """Become the system's env(1). Returns only on failure, with the exit code that env(1) has for it."""
    give_back_signals()
    environment = original_environment()
    for candidate in SYSTEM_ENV:
        if _is_same(candidate, argv[0]):
            continue
        try:
            os.execve(candidate, ["env", *argv[1:]], environment)
        except FileNotFoundError:
            continue
        except OSError as error:
            sys.stderr.write(f"env: cannot run {candidate}: {error.strerror}\n")
            return 126
    sys.stderr.write(f"env: no env(1) of the system at {' or '.join(SYSTEM_ENV)}\n")
    return 127


def give_back_signals() -> None:
    """Set the signals that Python ignores for itself to their defaults, for a program that this process becomes."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def original_environment() -> dict[str, str]:
    """This process's environment without what Python did to LC_CTYPE when it started in a C locale (PEP 538).

    Python changes its copy only; the kernel still shows what the process was started with, in proc(5). Without /proc,
    the one trace is UTF-8 mode, which a coerced locale always has and a locale set by the user has not.
    """
    environment = dict(os.environ)
    if environment.get("LC_CTYPE") not in _COERCED or environment.get("LC_ALL"):
        return environment
    started_with = _started_with()
    if started_with is None:
        if sys.flags.utf8_mode:
            del environment["LC_CTYPE"]
    elif b"LC_CTYPE" in started_with:
        environment["LC_CTYPE"] = os.fsdecode(started_with[b"LC_CTYPE"])
    else:
        del environment["LC_CTYPE"]
    return environment


def _started_with() -> dict[bytes, bytes] | None:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib is a costly import
            entries = file.read().split(b"\0")
    except OSError:
        return None
    pairs = (entry.partition(b"=") for entry in reversed(entries) if b"=" in entry)
    return {name: value for name, _, value in pairs}


def _is_same(candidate: str, script: str) -> bool:
    try:
        return os.path.samefile(candidate, script)  # noqa: PTH121 - pathlib is a costly import
    except OSError:
        return False
