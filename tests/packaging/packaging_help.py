"""Building the distribution of this checkout, and running what came of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a `wheel` or an `sdist` from `source` into `target`, without reaching an index."""
    output([sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", target, source])
    (built,) = target.iterdir()
    return built


def output(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Standard output of a program that must succeed."""
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
