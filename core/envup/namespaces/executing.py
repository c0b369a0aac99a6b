"""The last steps of a process that becomes a program of a machine: its user, directory, variables, and execve(2)."""

from __future__ import annotations

import os

from envup.namespaces import accounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SEARCH_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def take_on(account: accounts.Account) -> None:
    """Become the user. Errors: `OSError`."""
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def go_to(account: accounts.Account, workdir: bytes) -> None:
    """Change to the directory that was asked for, or else to the user's home. Errors: `OSError`."""
    try:
        os.chdir(workdir or account.home)
    except OSError:
        if workdir:
            raise
        os.chdir("/")


def execute(account: accounts.Account, argv: list[bytes], variables: Mapping[bytes, bytes]) -> int:
    """execvp(3) with the machine's PATH; no arguments ask for the user's login shell. `variables` win over what the
    user's entry says. A script without an interpreter line is not given to a shell. Returns an exit code, and only when
    the program cannot be executed: the reason is then on standard error."""
    program = argv[0] if argv else account.shell
    environment = {b"PATH": SEARCH_PATH, b"LANG": b"C.UTF-8"}
    environment |= {b"HOME": account.home, b"USER": account.name, b"LOGNAME": account.name, b"SHELL": account.shell}
    environment |= variables
    return _execute(program, argv or [b"-" + account.shell.rpartition(b"/")[2]], environment)


def _execute(program: bytes, argv: list[bytes], environment: dict[bytes, bytes]) -> int:
    directories = environment.get(b"PATH", SEARCH_PATH).split(b":")
    candidates = [program] if b"/" in program else [directory + b"/" + program for directory in directories]
    refusal: OSError | None = None
    for candidate in candidates if program else ():
        try:
            os.execve(candidate, argv, environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(candidate):
                refusal = refusal or error
        except PermissionError as error:
            refusal = error
        except OSError as error:
            return complain(126, f"{os.fsdecode(program)}: {error.strerror}")
    name = os.fsdecode(program)
    if isinstance(refusal, PermissionError):
        return complain(126, f"{name}: {refusal.strerror}")
    return complain(127, f"{name}: {'its interpreter or loader is not there' if refusal else 'not found'}")


def complain(code: int, message: str) -> int:
    """Say why on standard error; `code`."""
    text = f"envup: {message}\n".encode("utf-8", "surrogateescape")
    try:
        os.write(2, text)
    except OSError:
        return code
    return code
