"""How GNU tar writes a tree so that one tree always gives one archive, with owners and attributes."""

REPRODUCIBLE = (
    "--create",
    "--format=posix",
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--sort=name",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
    "--one-file-system",
)
"""Options of tar. Other file systems mounted in the tree are left out."""
