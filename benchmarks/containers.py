"""The container providers against the tools that they stand on, and against Vagrant on the same image."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measure import Contender, Shell, Work, in_turn, side_by_side
from project import ENVUP, Bench
from result import Figure

IMAGE = "envup-bench"
LIFE = "up, exec true, destroy"


def docker(bench: Bench, archive: Path, rounds: int) -> list[Figure]:
    """A whole life and one program, against docker(1)."""
    shell = Shell(bench.work, dict(os.environ))
    shell.program("docker", "import", archive, IMAGE)()
    try:
        life = in_turn(
            shell.program("docker", "run", "-d", "--name", "envup-bench-raw", IMAGE, "sleep", "inf"),
            shell.program("docker", "exec", "envup-bench-raw", "true"),
            shell.program("docker", "rm", "-f", "envup-bench-raw"),
        )
        ours = bench.project("docker", 1, provider="docker")
        raw = Contender("docker run -d, exec true, rm -f", life)
        times = side_by_side([raw, Contender(f"docker: {LIFE}", bench.life(ours))], rounds)
        figures = [
            Figure.alone(times[raw.name]),
            Figure.ratio(times[f"docker: {LIFE}"], times[raw.name], 1.4),
        ]
        shell.program("docker", "run", "-d", "--name", "envup-bench-raw", IMAGE, "sleep", "inf")()
        try:
            return figures + _exec(
                bench, ours, "docker", shell.program("docker", "exec", "envup-bench-raw", "true"), rounds
            )
        finally:
            shell.program("docker", "rm", "-f", "envup-bench-raw")()
    finally:
        shell.program("docker", "rmi", IMAGE)()


def lxc(bench: Bench, archive: Path, rounds: int) -> list[Figure]:
    """A whole life and one program, against the tools of LXC on an overlay, without a network."""
    place = bench.work / "lxc-raw"
    tree = place / "tree"
    tree.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", tree, "--numeric-owner"], check=True)
    shell = Shell(bench.work, dict(os.environ))
    name = ("-P", place, "-n", "raw")
    start = _prepared(place, tree, shell.program("lxc-start", *name, "-d"))
    attach, stop = shell.program("lxc-attach", *name, "--", "true"), shell.program("lxc-stop", *name, "-k")
    ours = bench.project("lxc", 1, provider="lxc")
    raw = Contender("lxc-start, attach true, stop -k", in_turn(start, attach, stop))
    times = side_by_side([raw, Contender(f"lxc: {LIFE}", bench.life(ours))], rounds)
    figures = [Figure.alone(times[raw.name]), Figure.above(times[f"lxc: {LIFE}"], times[raw.name], 0.2)]
    start()
    try:
        return figures + _exec(bench, ours, "lxc", attach, rounds)
    finally:
        stop()


def _prepared(place: Path, tree: Path, start: Work) -> Work:
    """Makes the writable layer anew before each start, as a new machine has one."""
    config = place / "raw" / "config"

    def work() -> None:
        shutil.rmtree(config.parent, ignore_errors=True)
        (config.parent / "delta").mkdir(parents=True)
        lines = (
            f"lxc.rootfs.path = overlay:{tree}:{config.parent}/delta",
            "lxc.uts.name = raw",
            "lxc.net.0.type = empty",
            "lxc.mount.auto = proc:mixed sys:ro cgroup:mixed",
            "lxc.init.cmd = /bin/sleep inf",
        )
        config.write_text("\n".join((*lines, "")))
        start()

    return work


def _exec(bench: Bench, ours: Shell, provider: str, raw: Work, rounds: int) -> list[Figure]:
    name = f"{provider}: exec true"
    with bench.up(ours):
        contenders = [
            Contender(f"{name}, raw", raw),
            Contender(name, ours.program(ENVUP, "exec", "m0", "true")),
        ]
        times = side_by_side(contenders, rounds)
    return [Figure.alone(times[f"{name}, raw"]), Figure.above(times[name], times[f"{name}, raw"], 0.06)]


def growth(bench: Bench, provider: str, machines: int, rounds: int) -> Figure:
    """What each further machine adds to `env status`."""
    one, many = bench.project("one", 1, provider=provider), bench.project("many", machines, provider=provider)
    with bench.up(one), bench.up(many):
        contenders = [
            Contender("one", one.program(ENVUP, "status", "--json")),
            Contender("many", many.program(ENVUP, "status", "--json")),
        ]
        times = side_by_side(contenders, rounds)
    each = (times["many"].median - times["one"].median) / (machines - 1)
    return Figure(
        f"{provider}: env status, each of {machines} machines", f"{each * 1000:.2f} ms", "", "< 3 ms", each < 0.003
    )


def vagrant(bench: Bench, rounds: int) -> list[Figure]:
    """The same life with Vagrant's docker provider, on an image with sshd and Vagrant's account."""
    archive = bench.work / "vagrant.tar"
    vagrant_image(archive)
    with _vagrant_project(bench.work / "vagrant", archive) as shell:
        theirs = in_turn(
            shell.program("vagrant", "up"),
            shell.program("vagrant", "ssh", "-c", "true"),
            shell.program("vagrant", "destroy", "-f"),
        )
        ours = bench.project("against-vagrant", 1, provider="docker", image=f"{{tarball: {archive}}}")
        with bench.up(ours):
            pass
        raw = Contender(f"vagrant (docker): {LIFE}", theirs)
        times = side_by_side([raw, Contender(f"docker, same image: {LIFE}", bench.life(ours))], rounds)
    return [Figure.alone(times[raw.name]), Figure.faster(times[f"docker, same image: {LIFE}"], times[raw.name], 10)]


def vagrant_image(archive: Path, *packages: str, hooks: Sequence[str] = ()) -> None:
    """A minimal Debian with what Vagrant asks of a machine: sshd, its account, its well-known key, sudo."""
    key = next(Path("/usr/share").glob("**/keys/vagrant.pub")).read_text().strip()
    home = '"$1/home/vagrant"'
    account = 'chroot "$1" useradd --create-home --shell /bin/bash vagrant'
    keys = f"mkdir -p {home}/.ssh && echo '{key}' > {home}/.ssh/authorized_keys"
    owner = 'chroot "$1" chown -R vagrant /home/vagrant/.ssh'
    sudo = 'echo "vagrant ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/vagrant"'
    done = [f"--customize-hook={hook}" for hook in (account, keys, owner, sudo, *hooks)]
    include = ",".join(("openssh-server", "sudo", *packages))
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}", *done, "bookworm"]
    subprocess.run([*command, str(archive)], check=True)


@contextmanager
def _vagrant_project(directory: Path, archive: Path) -> Iterator[Shell]:
    directory.mkdir()
    subprocess.run(["docker", "import", str(archive), "envup-bench-vagrant"], check=True, stdout=subprocess.DEVNULL)
    (directory / "Vagrantfile").write_text("""\
Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.ssh.insert_key = false
  config.vm.provider "docker" do |d|
    d.image = "envup-bench-vagrant"
    d.has_ssh = true
    d.cmd = ["/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D"]
  end
end
""")
    variables = {**os.environ, "VAGRANT_HOME": str(directory / "home"), "VAGRANT_DEFAULT_PROVIDER": "docker"}
    shell = Shell(directory, {**variables, "VAGRANT_CHECKPOINT_DISABLE": "1"})
    try:
        yield shell
    finally:
        shell.program("vagrant", "destroy", "-f")()
        subprocess.run(["docker", "rmi", "envup-bench-vagrant"], check=True, stdout=subprocess.DEVNULL)
