"""The Envfiles of the fault tests, and what must hold at the end of each. `@ARCHIVE@` and `@HOME@` are filled in."""

from __future__ import annotations

from real_machines import Project, remains

PAIR = """\
provider: chroot
defaults:
  image: {tarball: @ARCHIVE@}
  mounts: []
  environment: {MARK: "@HOME@"}
machines:
  one:
    resources: {pids: 200}
    provision:
      - {name: first, shell: echo first >> /root/log}
      - {name: second, shell: echo second >> /root/log}
  two:
    depends_on: {one: provisioned}
    provision:
      - {name: first, shell: echo first >> /root/log}
"""

SINGLE = """\
provider: chroot
image: {tarball: @ARCHIVE@}
mounts: ["@HOME@:/shared"]
environment: {MARK: "@HOME@"}
provision:
"""


def settle(project: Project) -> None:
    """Destroy must work and leave nothing at all, but for half of an image's file system, which a later command takes
    up or `prune` removes."""
    project.must("destroy", "--yes")
    left = remains(project)
    if set(left) == {"half-made images"}:
        project.must("prune")
        left = remains(project)
    assert left == {}, left
