"""The Linux system calls that Python 3.11 does not offer, as functions that raise OSError. Nothing else.

Numbers are those of the kernel's headers; the calls since Linux 5.0 have one number on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_NEWCGROUP = 0x02000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOVE_MOUNT_T_SYMLINKS = 0x10
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
PER_LINUX32 = 0x0008

_OPEN_TREE = 428
_FSOPEN = 430
_FSCONFIG = 431
_FSMOUNT = 432
_FSCONFIG_CMD_CREATE = 6
_MOVE_MOUNT = 429
_MOUNT_SETATTR = 442
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("ns", ctypes.c_uint64),
    ]


def _checked(result: int, subject: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject or None)
    return result


def seal_imports() -> None:
    """No module is imported from now on. Called before the root directory changes: later the interpreter's own paths
    would lead to files of the machine, which its programs may have written."""
    sys.meta_path.clear()
    sys.path.clear()


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for new ones."""
    _checked(_libc.unshare(flags))


def setns(descriptor: int, flags: int) -> None:
    """Join namespaces of the process behind a pidfd (Linux 5.8)."""
    _checked(_libc.setns(descriptor, flags))


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    names = [os.fsencode(text) if text is not None else None for text in (source, target, kind, data)]
    _checked(_libc.mount(names[0], names[1], names[2], ctypes.c_ulong(flags), names[3]), target)


def unmount(target: str, *, lazily: bool = True) -> None:
    """Detach what is mounted at `target`, busy or not; without `lazily` only where nobody uses it."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH if lazily else 0), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _checked(_libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)), new_root)


def clone_tree(path: str, *, recursive: bool = True) -> int:
    """A detached copy of the mount at `path`, by default with those below it, as a file descriptor (Linux 5.2)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    arguments = (ctypes.c_long(_OPEN_TREE), ctypes.c_int(AT_FDCWD), os.fsencode(path), ctypes.c_uint(flags))
    return _checked(_libc.syscall(*arguments), path)


def detached(kind: str, attributes: int) -> int:
    """A new mount of a file system that is attached nowhere yet, as a file descriptor (Linux 5.2)."""
    context = _checked(_libc.syscall(ctypes.c_long(_FSOPEN), kind.encode(), ctypes.c_uint(1)), kind)
    try:
        command = ctypes.c_uint(_FSCONFIG_CMD_CREATE)
        created = _libc.syscall(ctypes.c_long(_FSCONFIG), ctypes.c_int(context), command, None, None, ctypes.c_int(0))
        _checked(created, kind)
        flags = (ctypes.c_uint(1), ctypes.c_uint(attributes))
        return _checked(_libc.syscall(ctypes.c_long(_FSMOUNT), ctypes.c_int(context), *flags), kind)
    finally:
        os.close(context)


def restrict_tree(tree: int, attributes: int, *, users: int | None = None) -> None:
    """Set mount attributes on every mount of a detached tree (Linux 5.12). `users` is the descriptor of a user
    namespace: an owner on the disk is then shown as who he is inside it (`MOUNT_ATTR_IDMAP`, mount_setattr(2))."""
    wanted = _MountAttributes(attributes, 0, MS_PRIVATE, 0)
    if users is not None:
        wanted.set, wanted.ns = attributes | MOUNT_ATTR_IDMAP, users
    flags = ctypes.c_uint(AT_EMPTY_PATH | AT_RECURSIVE)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    _checked(_libc.syscall(ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(tree), b"", flags, ctypes.byref(wanted), size))


def attach_tree(tree: int, target: str) -> None:
    """Mount a detached tree at `target`, following links there, and close it."""
    flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)
    here = ctypes.c_int(AT_FDCWD)
    _checked(
        _libc.syscall(ctypes.c_long(_MOVE_MOUNT), ctypes.c_int(tree), b"", here, os.fsencode(target), flags), target
    )
    os.close(tree)


def signalfd(numbers: frozenset[int]) -> int:
    """A descriptor that reads 128 bytes for each of these signals, which must be blocked; the number comes first."""
    mask = sum(1 << (number - 1) for number in numbers)
    raw = (ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong)))(mask)
    return _checked(_libc.signalfd(-1, raw, os.O_CLOEXEC))


def sethostname(name: str) -> None:
    """Name this UTS namespace."""
    raw = os.fsencode(name)
    _checked(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), name)


def set_file_owner(uid: int, gid: int) -> None:
    """Whose the files are that this process makes from now on; its power stays."""
    prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
    if (_libc.setfsuid(-1), _libc.setfsgid(-1)) != (uid, gid):
        raise OSError(errno.EINVAL, f"files cannot be made as user {uid} and group {gid}")


def prctl(option: int, value: int = 0) -> None:
    """prctl(2) with one argument."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def drop_from_bounding_set(capability: int) -> bool:
    """Take a capability out of the bounding set; False when this kernel has none of that number."""
    try:
        prctl(PR_CAPBSET_DROP, capability)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def set_process_name(name: str) -> None:
    """The name of this process in `ps`, at most 15 bytes."""
    _checked(_libc.prctl(PR_SET_NAME, os.fsencode(name), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def personality(persona: int) -> None:
    """Set the execution domain of this process and its children."""
    _checked(_libc.personality(ctypes.c_ulong(persona)))


def keep_capabilities(mask: int) -> None:
    """Give up every permitted capability outside `mask`, and all inheritable and ambient ones."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the low halves, then the high ones
    _checked(_libc.capget(header, sets))
    for half in (0, 1):
        sets[3 * half] &= mask >> 32 * half & 0xFFFFFFFF
        sets[3 * half + 1] &= mask >> 32 * half & 0xFFFFFFFF
        sets[3 * half + 2] = 0
    _checked(_libc.capset(header, sets))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
