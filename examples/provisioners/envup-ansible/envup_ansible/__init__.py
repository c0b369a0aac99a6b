"""Ansible playbooks as provision steps of envup. Registration only; the implementation is in `playbook`."""

from envup.hookspecs import hookimpl
from envup.provisioner import Provisioner


@hookimpl
def envup_provisioner() -> type[Provisioner]:
    """The provisioner `ansible`."""
    from envup_ansible.playbook import Ansible

    return Ansible
