"""What a machine that boots from its own disk is told by: a seed for cloud-init's data source NoCloud, made anew at
each start. https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html

It gives no account, password or key. At each boot cloud-init runs a script that mounts the guest kit and starts the
agent.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.namespaces import programs
from envup.networks import network as networks
from envup.networks.addresses import Place
from envup_kvm import network

FILE = "seed.iso"
TRACE = "cloud-init["
"""In what cloud-init says on the console."""
NEEDS = "a disk image needs cloud-init with its data source NoCloud, and a kernel with ext4 and virtio_console"
_SCRIPT = Path(__file__).with_name("seed.sh")


def make(file: Path, identity: str, facts: Mapping[str, Any], place: Place) -> None:
    """Make the file anew. `identity` is that of this incarnation of the machine: another one is another first boot.
    Errors: `EnvupError`, `OSError`."""
    user = {
        "bootcmd": [["sh", "-c", _SCRIPT.read_text()]],
        "manage_etc_hosts": False,
        "updates": {"network": {"when": ["boot-new-instance", "boot"]}},
    }
    texts = {
        "meta-data": json.dumps({"instance-id": identity, "local-hostname": facts["hostname"]}),
        "user-data": f"#cloud-config\n{json.dumps(user)}\n",
        "network-config": json.dumps(_network(place, facts["resolver"])),
    }
    file.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        for name, text in texts.items():
            (Path(directory) / name).write_text(text)
        how = ("-quiet", "-volid", "cidata", "-joliet", "-rock")
        line = ("xorriso", "-as", "mkisofs", *how, "-output", str(file), directory)
        programs.run(line, "cannot make the seed of cloud-init")
    file.chmod(0o600)


def _network(place: Place, resolver: str | None) -> dict[str, Any]:
    """In version 2 of cloud-init's format."""
    if place.network.kind == "none":
        return {"version": 2, "ethernets": {}}
    lines = [line.split() for line in (resolver or "").splitlines()]
    servers = [line[1] for line in lines if line[:1] == ["nameserver"]]
    card = {
        "match": {"macaddress": place.hardware},
        "set-name": "eth0",
        "mtu": network.mtu(place.network),
        "addresses": [place.interface()],
        "routes": [{"to": "0.0.0.0/0", "via": str(networks.gateway(place.network))}],
        "nameservers": {"addresses": servers},
    }
    return {"version": 2, "ethernets": {"eth0": card}}
