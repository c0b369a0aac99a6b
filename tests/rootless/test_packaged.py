"""An ordinary account packages its machines, and makes others from what it packaged."""

from __future__ import annotations

import tarfile

import pytest
from ordinary import Account

from envup.testing import images

pytestmark = [pytest.mark.rootless, pytest.mark.timeout(280)]

ENVFILE = """\
provider: chroot
image: {{tarball: {image}}}
mounts: []
"""
CHANGE = """\
set -e
echo content > /srv/file
ln /srv/file /srv/hard
chown 12:34 /srv/file
chmod 2751 /srv/file
rm -r /usr/share/doc
"""
LOOK = "stat -c '%u:%g %a %h' /srv/file; stat -c '%u:%g' /etc/passwd; ls -d /usr/share/doc 2>/dev/null || echo none"


def test_a_machine_from_a_packaged_image_has_the_files_of_the_first(account: Account) -> None:
    first = account.project("packaging", ENVFILE.format(image=images.built()))
    image = first.directory / "image.tar"
    try:
        first.must("up")
        first.must("exec", "default", "--", "sh", "-c", CHANGE)
        first.must("package", "default", str(image))
    finally:
        first.must("destroy", "--yes")
    second = account.project("packaged", ENVFILE.format(image=image))
    try:
        second.must("up")
        assert second.must("exec", "default", "--", "sh", "-c", LOOK).split() == ["12:34", "2751", "2", "0:0", "none"]
    finally:
        second.must("destroy", "--yes")
    with tarfile.open(image) as archive:
        member = archive.getmember("./srv/file")
        assert (member.uid, member.gid, member.mode) == (12, 34, 0o2751)
        assert not [name for name in archive.getnames() if name.startswith(("./dev/", "./proc/", "./run/"))]
