"""New user namespaces where the kernel gives none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from namespaced import SHIFTED

from envup.namespaces import syscalls, userns

pytestmark = pytest.mark.root


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where user.max_user_namespaces is used up."""

    def unshare(_flags: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(syscalls, "unshare", unshare)


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("make", [userns.held, userns.enter])
def test_a_refusal_is_told_as_it_is_and_leaves_nothing(make: object, tmp_path: Path) -> None:
    assert callable(make)
    parent, descriptors, before = os.getpid(), os.listdir("/proc/self/fd"), children()
    mark = tmp_path / "children"
    try:
        with pytest.raises(OSError) as raised:
            make(SHIFTED, SHIFTED)
    finally:
        if os.getpid() != parent:  # the child went on with its caller's code
            mark.touch()
            os._exit(0)
    assert raised.value.errno == errno.ENOSPC
    assert not mark.exists()
    assert os.listdir("/proc/self/fd") == descriptors
    assert children() <= before


def children() -> set[str]:
    """The processes, dead ones that nobody waited for too, of this one."""
    found = (path.read_text().split() for path in Path("/proc/self/task").glob("*/children"))
    return {number for numbers in found for number in numbers}


def test_a_held_namespace_has_its_maps_and_nobody_in_it() -> None:
    descriptor = userns.held(SHIFTED, SHIFTED)
    child = os.fork()
    if child == 0:
        syscalls.setns(descriptor, syscalls.CLONE_NEWUSER)
        os._exit(Path("/proc/self/uid_map").read_text().split() != ["0", "1000000", "65536"])
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
