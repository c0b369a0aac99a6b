"""Puts what the rootless tests run where every account can read it: `readable.py DIRECTORY ACCOUNT`
prints the interpreter that the account is to use.

The checkout and its virtual environment may lie below a directory that is closed to others. So the distribution is
built and installed into `DIRECTORY/packages`, with what it and the tests depend on; `DIRECTORY/tests` is a copy of the
tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = ("__pycache__", "*.pth", "envup-*", "*mypy*", "ruff*", "pip", "pip-*", "setuptools*", "pkg_resources")


def make(place: Path) -> None:
    """Fill `place`, an empty directory."""
    packages = place / "packages"
    shutil.copytree(sysconfig.get_path("purelib"), packages, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    where = ["--no-deps", "--no-build-isolation", "--no-index", "--upgrade", "--target", packages, ROOT]
    subprocess.run([*install, *where], check=True, stdout=sys.stderr, env={**os.environ, "TMPDIR": str(place)})
    shutil.copytree(ROOT / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    subprocess.run(["chmod", "-R", "u+rwX,go+rX", place], check=True)


def interpreter(account: str) -> str:
    """An interpreter of this one's version that the account can run; the packages are made for that version."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [f"/usr/bin/{name}", f"/usr/local/bin/{name}", str(Path(sys.executable).resolve())]
    for candidate in candidates:
        if subprocess.run(["runuser", "-u", account, "--", candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    raise SystemExit(f"account {account} can run none of {', '.join(candidates)}: install {name} of the distribution")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    print(interpreter(sys.argv[2]))
