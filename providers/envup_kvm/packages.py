"""Packages of this host's distribution, fetched and unpacked without being installed: what a guest kit is made of."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import programs

KERNELS = {"debian": "linux-image-cloud-{architecture}", "ubuntu": "linux-image-virtual"}
"""The package that stands for the newest kernel for virtual machines, by os-release(5)'s ID."""
ROOTS = ("python3-minimal", "libpython3-stdlib", "openssh-server", "kmod", "busybox-static")


def kernel() -> str:
    """The kernel's package. Errors: `EnvupError` where the distribution is not known."""
    system = platform.freedesktop_os_release()
    for name in (system.get("ID", ""), *system.get("ID_LIKE", "").split()):
        if name in KERNELS:
            return KERNELS[name].format(architecture=architecture())
    raise EnvupError(
        "provider kvm takes the kernel of its machines from Debian or Ubuntu packages, which this host does not have",
        hint="use another provider",
    )


def architecture() -> str:
    """This host's, as Debian names it. Errors: `EnvupError`."""
    return _asked(("dpkg", "--print-architecture")).strip()


def fetch(directory: Path) -> list[Path]:
    """Every package file that the kit needs, fetched to `directory` unless it is there. Errors: `EnvupError`."""
    wanted = _closure(directory)
    missing = [line for file, line in wanted.items() if not (directory / file).exists()]
    if missing:
        try:
            subprocess.run(
                ("apt-get", "-qq", "download", *missing), cwd=directory, check=True, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as error:
            raise EnvupError(
                "the packages of the guest kit cannot be fetched",
                details=error.stderr.strip(),
                hint="run as root: apt-get update",
            ) from error
    return [directory / file for file in wanted]


def _closure(directory: Path) -> dict[str, str]:
    """File name to NAME=VERSION of what the roots need, as if nothing were installed."""
    nothing = directory / "nothing"
    (nothing / "partial").mkdir(parents=True, exist_ok=True)
    (nothing / "status").touch()
    unaware = ("-o", f"Dir::State::status={nothing}/status", "-o", f"Dir::Cache::archives={nothing}")
    line = ("apt-get", "-qq", "--yes", "--no-install-recommends", *unaware, "--print-uris")
    said = _asked((*line, "install", *ROOTS, kernel()))
    found = {}
    for uri in said.splitlines():
        file = uri.split()[1]
        name, version, _architecture = file.split("_")
        found[file] = f"{name}={version.replace('%3a', ':')}"
    return found


def unpack(package: Path, root: Path) -> None:
    """Put the files of a package below `root`, through links of directories. Errors: `EnvupError`."""
    script = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --no-same-owner --directory "$2"'
    line = ("bash", "-o", "pipefail", "-euc", script, "unpack", str(package), str(root))
    programs.run(line, f"cannot unpack {package.name}", environment=dict(os.environ))


def _asked(line: Sequence[str]) -> str:
    try:
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise EnvupError(f"{line[0]} is missing", hint="provider kvm needs a Debian or Ubuntu host") from error
    except subprocess.CalledProcessError as error:
        details = error.stderr.strip()
        raise EnvupError(f"{line[0]} does not answer", details=details, hint="run as root: apt-get update") from error
