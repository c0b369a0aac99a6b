"""One process makes what others wait for."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from envup.claims import Claims

HOLD = """
import sys
from pathlib import Path
from envup.claims import Claims
claims = Claims(Path(sys.argv[1]))
assert claims.take(sys.argv[2:], lambda: None)
print("held", flush=True)
sys.stdin.readline()
"""


def holding(directory: Path, *keys: str) -> subprocess.Popen[str]:
    """A process that holds these until it is told to end."""
    line = [sys.executable, "-c", textwrap.dedent(HOLD), str(directory), *keys]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_what_nobody_makes_is_claimed_at_once(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    assert claims.take(["b", "a"], pytest.fail)
    assert claims.take(["a", "c"], pytest.fail)
    for key in ("a", "b", "c", "none"):
        claims.release(key)
    assert list((tmp_path / "claims").iterdir()) == []


@pytest.mark.parametrize("end", ["release", "kill"])
def test_what_another_makes_is_waited_for_however_it_ends(tmp_path: Path, end: str) -> None:
    other, claims, told = holding(tmp_path, "b"), Claims(tmp_path), []

    def waiting() -> None:
        told.append("waits")
        if end == "kill":
            other.kill()
        else:
            assert other.stdin is not None
            other.stdin.write("\n")
            other.stdin.flush()

    assert not claims.take(["a", "b", "c"], waiting)
    assert told == ["waits"]
    other.communicate()
    assert claims.take(["a", "b", "c"], pytest.fail)


def test_while_it_waits_it_holds_nothing(tmp_path: Path) -> None:
    other, claims, held = holding(tmp_path, "b"), Claims(tmp_path), []

    def waiting() -> None:
        with holding(tmp_path, "a", "c") as third:  # both of which this process wants
            held.append(third.pid)
            third.kill()
        other.kill()

    assert claims.take(["c"], pytest.fail)
    assert not claims.take(["a", "b"], waiting)
    assert held
    other.communicate()
    assert claims.take(["a", "b", "c"], pytest.fail)


def test_what_is_left_of_processes_that_ended_is_taken_away(tmp_path: Path) -> None:
    killed, living, claims = holding(tmp_path, "killed"), holding(tmp_path, "living"), Claims(tmp_path)
    killed.kill()
    killed.communicate()
    assert claims.take(["own", "other"], pytest.fail)
    assert {path.name for path in tmp_path.iterdir()} == {"living", "own", "other"}
    claims.release_all()
    assert {path.name for path in tmp_path.iterdir()} == {"living"}
    living.communicate("\n")
