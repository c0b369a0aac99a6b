"""The labels of a machine in its domain: libvirt keeps them for us. For those who only look; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as xml

NAMESPACE = "https://envup.invalid/xmlns/machine/1"
"""Of our element in a domain's metadata."""

xml.register_namespace("envup", NAMESPACE)


def name(labels: Mapping[str, str]) -> str:
    """The domain's."""
    return f"envup-{labels['envup.environment']}-{labels['envup.machine']}"


def find(description: str) -> tuple[dict[str, str], str] | None:
    """(labels, directory) of a domain of ours, None of any other."""
    element = xml.fromstring(description).find(f"metadata/{{{NAMESPACE}}}machine")
    if element is None:
        return None
    labels = {label.attrib["name"]: label.attrib["value"] for label in element}
    return labels, element.attrib["directory"]


def metadata(labels: Mapping[str, str], directory: str) -> xml.Element:
    """The element `metadata`."""
    element = xml.Element("metadata")
    machine = xml.SubElement(element, f"{{{NAMESPACE}}}machine", directory=directory)
    for label, value in labels.items():
        xml.SubElement(machine, f"{{{NAMESPACE}}}label", name=label, value=value)
    return element
