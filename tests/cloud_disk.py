"""A whole disk with Debian and cloud-init, as clouds give them out, for tests of machines that boot by firmware."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

_PACKAGES = ("linux-image-cloud-amd64", "cloud-init", "cloud-guest-utils", "systemd-sysv", "udev", "iproute2")
_MIB = 1 << 20
_BOOT, _ROOT = (1, 96), (97, 1200)
"""Start and size of the partitions, in MiB."""
_CLOUD = """\
datasource_list: [NoCloud]
system_info: {network: {renderers: [networkd]}}
cloud_init_modules: [bootcmd, growpart, resizefs, set_hostname, update_hostname, update_etc_hosts, users-groups]
cloud_config_modules: []
cloud_final_modules: []
"""
"""Fewer modules than clouds have: each takes a second without acceleration, and some need further packages."""
_LOADER = """\
SERIAL 0
DEFAULT linux
LABEL linux
    LINUX /vmlinuz
    INITRD /initrd.img
    APPEND root=/dev/vda2 ro console=ttyS0 quiet mitigations=off no_timer_check
"""


def built() -> Path:
    """A qcow2 image that BIOS boots, built by the first who asks and kept below /var/tmp. Its only account is root's,
    without a password that opens it."""
    kept = Path("/var/tmp") / f"envup-tests-{os.geteuid()}"
    kept.mkdir(mode=0o755, exist_ok=True)
    path = kept / "cloud.qcow2"
    with (kept / "cloud.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=kept) as work:
                _build(Path(work), path)
    return path


def _build(work: Path, path: Path) -> None:
    tree, disk, boot, root = (work / name for name in ("tree", "disk", "boot", "root"))
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    _run("mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(_PACKAGES)}", suite, str(tree))
    _configure(tree)
    _make_boot(tree, boot)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(root), f"{_ROOT[1]}M")
    _run("truncate", "-s", f"{sum(_ROOT) + 1}M", str(disk))
    table = f"label: dos\nstart={_BOOT[0]}MiB, size={_BOOT[1]}MiB, type=ef, bootable\nstart={_ROOT[0]}MiB, type=83\n"
    _run("sfdisk", "--quiet", str(disk), data=table)
    for source, start in ((boot, _BOOT[0]), (root, _ROOT[0])):
        _run("dd", "status=none", "conv=notrunc,sparse", "bs=1M", f"if={source}", f"of={disk}", f"seek={start}")
    _run("dd", "status=none", "conv=notrunc", "if=/usr/lib/syslinux/mbr/mbr.bin", f"of={disk}")
    new = path.with_suffix(".new")
    _run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(disk), str(new))
    new.chmod(0o644)
    new.rename(path)


def _configure(tree: Path) -> None:
    (tree / "etc/cloud/cloud.cfg.d/90_test.cfg").write_text(_CLOUD)
    (tree / "etc/fstab").write_text("/dev/vda2 / ext4 defaults 0 1\n")
    (tree / "etc/machine-id").write_text("uninitialized\n")
    _run("systemctl", "--quiet", f"--root={tree}", "enable", "systemd-networkd.service")
    masked = ("e2scrub_reap.service", "systemd-firstboot.service", "systemd-networkd-wait-online.service")
    _run("systemctl", "--quiet", f"--root={tree}", "mask", *masked)


def _make_boot(tree: Path, boot: Path) -> None:
    """A FAT file system with SYSLINUX, kernel and initrd; its boot sector counts hidden sectors before it."""
    hidden = _BOOT[0] * _MIB // 512
    _run("mkfs.vfat", "-F", "32", "-h", str(hidden), "-C", str(boot), str(_BOOT[1] << 10))
    for name in ("vmlinuz", "initrd.img"):
        source = next((tree / "boot").glob(f"{name}-*"))
        _run("mcopy", "-i", str(boot), str(source), f"::{name}")
        source.unlink()
    loader = boot.with_name("syslinux.cfg")
    loader.write_text(_LOADER)
    _run("mcopy", "-i", str(boot), str(loader), "::syslinux.cfg")
    _run("syslinux", "--install", str(boot))


def _run(*line: str, data: str = "") -> None:
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    program = shutil.which(line[0], path=path)
    assert program, f"{line[0]} is missing"
    subprocess.run(
        (program, *line[1:]), input=data, text=True, check=True, timeout=600, env={**os.environ, "PATH": path}
    )
