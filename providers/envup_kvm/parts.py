"""What a domain is made of beside its machine's declaration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from envup.value import Value
from envup_kvm.kits import Kit


class Parts(Value):
    """`base` is what the machine's own disk `root` is laid over, in the format `base_format`, with `layers` between
    them, the uppermost first. `seed` is there where the base is a whole disk with a boot loader of its own, and then no
    kernel of the kit is booted. `disks` are pairs
    of a name and a file. `shares` is the socket of what shares host paths with it, where it has mounts. `card` is its
    network card, where it has one: see `network.card`."""

    name: str
    uuid: str
    labels: Mapping[str, str]
    directory: Path
    accelerated: bool
    kit: Kit
    root: Path
    base: Path
    facts: Path
    console: Path
    port: Path | None
    options: Mapping[str, Any]
    base_format: str = "raw"
    layers: tuple[Path, ...] = ()
    seed: Path | None = None
    disks: tuple[tuple[str, Path], ...] = ()
    shares: Path | None = None
    card: xml.Element | None = None


def add(parent: xml.Element, tag: str, text: str | None = None, **attributes: str) -> xml.Element:
    """A new element at the end of another."""
    element = xml.SubElement(parent, tag, attributes)
    element.text = text
    return element
