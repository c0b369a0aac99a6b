"""Where this host gets its own packages from, read from its apt configuration.

Only the distribution's own archive counts: third-party sources, backports and all that is not HTTP are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from envup.value import Value

ROLLING = frozenset(("sid", "unstable", "experimental", "rc-buggy"))
"""Suites that have neither updates nor security beside them."""

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")


class AptSource(Value):
    """One URI and suite that the host installs from. `keyring` is the file that it names, or empty."""

    uri: str
    suite: str
    components: tuple[str, ...]
    keyring: str = ""


def release(root: Path = Path("/")) -> Mapping[str, str]:
    """The fields of os-release(5); empty where there is none."""
    try:
        text = (root / "etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def mirrors(distribution: str, suite: str, components: Sequence[str], root: Path = Path("/")) -> tuple[str, ...]:
    """Lines of sources.list(5) for `suite` on the host's mirrors, its updates and security included; empty where the
    host is of another distribution or tells nothing usable."""
    facts = release(root)
    own = facts.get("VERSION_CODENAME", "")
    if facts.get("ID") != distribution or not own:
        return ()
    kinds = ("",) if suite in ROLLING else ("", "-updates", "-security")
    lines = [
        f"deb {source.uri} {suite}{kind} {' '.join(components)}"
        for kind in kinds
        for source in sources(root)
        if source.suite == own + kind and _is_own(source, distribution)
    ]
    base = any(line.split()[2] == suite for line in lines)
    return tuple(dict.fromkeys(lines)) if base else ()


def sources(root: Path = Path("/")) -> Iterator[AptSource]:
    """What the host installs from, in the order of its files."""
    apt = root / "etc/apt"
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if path.suffix == ".list":
            yield from _one_line_style(text)
        elif path.suffix == ".sources":
            yield from _deb822_style(text)


def _one_line_style(text: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match:
            options = dict(word.split("=", 1) for word in (match["options"] or "").split() if "=" in word)
            keyring = options.get("signed-by", "")
            yield AptSource(match["uri"], match["suite"], tuple(match["components"].split()), keyring)


def _deb822_style(text: str) -> Iterator[AptSource]:
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield AptSource(uri, suite, components, fields.get("signed-by", ""))


def _fields(stanza: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
    return fields


def _is_own(source: AptSource, distribution: str) -> bool:
    return (
        source.uri.startswith(("http://", "https://"))
        and f"/{distribution}" in source.uri
        and "main" in source.components
        and (not source.keyring or Path(source.keyring).name.startswith(f"{distribution}-archive"))
    )
