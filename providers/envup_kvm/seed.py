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

FILE = "seed.iso"
_SCRIPT = Path(__file__).with_name("seed.sh")


def make(file: Path, identity: str, facts: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Make the new file. `identity` is that of this incarnation of the machine: another one is another first boot.
    `network` is in version 2 of cloud-init's format. Errors: `EnvupError`, `OSError`."""
    user = {
        "bootcmd": [["sh", "-c", _SCRIPT.read_text()]],
        "manage_etc_hosts": False,
        "updates": {"network": {"when": ["boot-new-instance", "boot"]}},
    }
    texts = {
        "meta-data": json.dumps({"instance-id": identity, "local-hostname": facts["hostname"]}),
        "user-data": f"#cloud-config\n{json.dumps(user)}\n",
        "network-config": json.dumps(network),
    }
    with tempfile.TemporaryDirectory() as directory:
        for name, text in texts.items():
            (Path(directory) / name).write_text(text)
        how = ("-quiet", "-volid", "cidata", "-joliet", "-rock")
        line = ("xorriso", "-as", "mkisofs", *how, "-output", str(file), directory)
        programs.run(line, "cannot make the seed of cloud-init")
    file.chmod(0o600)


def ethernet(mac: str, address: str, gateway: str, resolver: str) -> dict[str, Any]:
    """The network of a machine with one card."""
    card = {
        "match": {"macaddress": mac},
        "set-name": "eth0",
        "addresses": [address],
        "routes": [{"to": "0.0.0.0/0", "via": gateway}],
        "nameservers": {"addresses": [resolver]},
    }
    return {"version": 2, "ethernets": {"eth0": card}}
