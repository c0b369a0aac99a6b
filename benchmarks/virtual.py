"""Virtual machines: the KVM provider against QEMU on the same disk, and against Vagrant's libvirt provider."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from containers import LIFE, vagrant_image
from measure import Contender, Shell, in_turn, side_by_side
from project import ENVUP, Bench
from result import Figure

from envup.provider import Command
from envup_kvm import commands, link, places
from envup_kvm.server import PORT

_WORDS = "console=ttyS0 net.ifnames=0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check"
_RESOLVER = "192.168.121.1"
"""The host, in the network that Vagrant has libvirt make for its machines."""
_PACKAGES = ("systemd", "systemd-sysv", "dbus", "linux-image-cloud-amd64", "initramfs-tools")


def kvm(bench: Bench, rounds: int) -> list[Figure]:
    """A boot until the first program, one program, and the way back to a snapshot."""
    shell = bench.project("kvm", 1, provider="kvm")
    up, destroy = shell.program(ENVUP, "up", "--yes"), shell.program(ENVUP, "destroy", "--yes")
    program = shell.program(ENVUP, "exec", "m0", "true")
    with bench.up(shell):
        raw = RawMachine(bench)
        one = side_by_side([Contender("kvm: exec true", program)], rounds * 3)["kvm: exec true"]
        shell.program(ENVUP, "snapshot", "create", "m0", "here")()
        restore = in_turn(shell.program(ENVUP, "snapshot", "restore", "--yes", "m0", "here"), program)
        back = side_by_side([Contender("kvm: snapshot restore of 512 MiB, exec true", restore)], rounds)
    contenders = [
        Contender("qemu-system, TCG, until the first program", raw.boot, after=raw.end),
        Contender("kvm: up, exec true", in_turn(up, program), after=destroy),
    ]
    times = side_by_side(contenders, rounds)
    base, ours = (times[contender.name] for contender in contenders)
    return [
        Figure.alone(base),
        Figure.ratio(ours, base, 1.2),
        Figure.limit(one, 0.15),
        *(Figure.limit(value, 3.0) for value in back.values()),
    ]


class RawMachine:
    """QEMU by hand, on what envup's machine `m0`, which must run, is made of. The first program is run by the program
    that `env exec` runs."""

    def __init__(self, bench: Bench) -> None:
        self._place = bench.work / "kvm-raw"
        self._keys = self._place / "keys"
        provider = bench.home / "data/providers/kvm"
        shutil.copytree(next((provider / "machines").iterdir()), self._keys)
        told = (str(ENVUP), "exec", "m0", "cat", "/run/envup/kit/facts/machine.json")
        project = bench.work / "kvm-kvm"
        self._facts = json.loads(subprocess.check_output(told, cwd=project, env=bench.environment))
        self._base = next((provider / "images").glob("*.ext4"))
        self._kit = next(path for path in (provider / "kits").iterdir() if path.is_dir())
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Make a disk, start QEMU, run `true` in the machine."""
        way, disk = self._place / "way", self._place / "disk.qcow2"
        places.make(way, self._keys, self._facts)
        overlay = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self._base, disk, "34G")
        subprocess.run(overlay, check=True)
        self._process = subprocess.Popen(self._line(way, disk))
        while not (way / link.PORT).exists():
            assert self._process.poll() is None
        subprocess.run(commands.enter(str(way), Command(("true",))).argv, check=True)

    def end(self) -> None:
        """Kill QEMU."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _line(self, way: Path, disk: Path) -> list[str]:
        initrd = max(self._kit.glob("initrd-*"), key=lambda path: path.stat().st_mtime)
        line = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "512"]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "null"]
        line += ["-kernel", str(self._kit / "kernel"), "-initrd", str(initrd), "-append", _WORDS]
        disks = ((disk, "qcow2", "root"), (self._kit / "kit.img", "raw", "kit"), (way / places.FACTS, "raw", "facts"))
        for file, form, name in disks:
            kept = "on" if form == "raw" else "off"
            line += ["-drive", f"file={file},format={form},if=none,id={name},readonly={kept}"]
            line += ["-device", f"virtio-blk-pci,drive={name},serial=envup-{name}"]
        line += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net", "-device", "virtio-serial-pci"]
        line += ["-chardev", f"socket,id=port,path={way / link.PORT},server=on,wait=off"]
        return [*line, "-device", f"virtserialport,chardev=port,name={PORT}", "-device", "virtio-rng-pci"]


def vagrant_libvirt(bench: Bench) -> list[Figure]:
    """One life with a step, once, as it takes Vagrant minutes."""
    with vagrant_project(bench, "true") as shell:
        theirs = in_turn(
            shell.program("vagrant", "up"),
            shell.program("vagrant", "ssh", "-c", "true"),
            shell.program("vagrant", "destroy", "-f"),
        )
        ours = bench.project("against-vagrant", 1, step=True, provider="kvm")
        raw = Contender(f"vagrant (libvirt): {LIFE}", theirs)
        booted = Contender(f"kvm, without layers: {LIFE}", bench.life(ours, "--no-cache"))
        times = side_by_side([raw, booted], 1)
    return [Figure.alone(times[raw.name]), Figure.faster(times[booted.name], times[raw.name], 5)]


@contextmanager
def vagrant_project(bench: Bench, step: str) -> Iterator[Shell]:
    """A project of Vagrant's with one machine of libvirt's, which runs one step."""
    archive, directory = bench.work / "vagrant-libvirt.tar", bench.work / "vagrant-libvirt"
    if not archive.exists():
        enable = 'chroot "$1" systemctl enable systemd-networkd ssh'
        vagrant_image(archive, *_PACKAGES, hooks=[enable])
    directory.mkdir()
    kernel, initrd = _box(directory, archive)
    (directory / "Vagrantfile").write_text(f"""\
Vagrant.configure("2") do |config|
  config.vm.box = "envup-bench"
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.ssh.insert_key = false
  config.vm.provision "shell", inline: "{step}"
  config.vm.provider "libvirt" do |l|
    l.driver = "qemu"
    l.cpu_mode = "maximum"
    l.cpus = 2
    l.memory = 512
    l.kernel = "{kernel}"
    l.initrd = "{initrd}"
    l.cmd_line = "console=ttyS0 root=/dev/vda rw quiet net.ifnames=0"
    l.graphics_type = "none"
  end
end
""")
    variables = {**os.environ, "VAGRANT_HOME": str(directory / "home"), "VAGRANT_DEFAULT_PROVIDER": "libvirt"}
    shell = Shell(directory, {**variables, "VAGRANT_CHECKPOINT_DISABLE": "1"})
    shell.program("vagrant", "box", "add", "--name", "envup-bench", directory / "bench.box")()
    try:
        yield shell
    finally:
        shell.program("vagrant", "destroy", "-f")()
        volumes = ("virsh", "-q", "vol-list", "default")
        for line in subprocess.check_output(volumes, text=True).splitlines():
            if "envup-bench" in line:
                shell.program("virsh", "-q", "vol-delete", line.split()[0], "default")()
        shutil.rmtree(directory)


def _box(directory: Path, archive: Path) -> tuple[Path, Path]:
    """Vagrant's own machine of a root file system with systemd and a kernel; the kernel's and the initrd's files."""
    tree, image = directory / "tree", directory / "box.img"
    tree.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tree, "--numeric-owner"], check=True)
    unit = tree / "etc/systemd/network/10-all.network"
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text("[Match]\nName=eth*\n[Network]\nDHCP=yes\n")
    (tree / "etc/resolv.conf").write_text(f"nameserver {_RESOLVER}\n")
    raw = directory / "box.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, raw, "2G"], check=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    (directory / "metadata.json").write_text('{"provider": "libvirt", "format": "qcow2", "virtual_size": 2}')
    with tarfile.open(directory / "bench.box", "w:gz", compresslevel=1) as box:
        for name in ("box.img", "metadata.json"):
            box.add(directory / name, name)
    found = [directory / name for name in ("kernel", "initrd")]
    for file, pattern in zip(found, ("vmlinuz-*", "initrd.img-*"), strict=True):
        shutil.copyfile(next((tree / "boot").glob(pattern)), file)
        file.chmod(0o644)
    shutil.rmtree(tree)
    raw.unlink()
    return found[0], found[1]
