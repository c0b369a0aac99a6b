"""The part of the kit that pytest loads in every run: its options and its summary. Imports nothing of envup."""

from __future__ import annotations

import sys

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the kit; they change nothing where it is not run."""
    group = parser.getgroup("envup", "conformance of envup providers")
    group.addoption("--envup-provider", metavar="NAME", help="the installed provider that envup.testing tests")
    group.addoption("--envup-image", metavar="TAR", help="root file system of a minimal Debian; else one is built once")
    group.addoption("--envup-options", metavar="JSON", help="the provider's own key of every machine, such as {}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks that the kit sets."""
    config.addinivalue_line("markers", "root: needs to run as root")
    config.addinivalue_line("markers", "rootless: runs as an ordinary account")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was tested, and what the provider lacks."""
    subject = sys.modules.get("envup.testing.subject")
    if subject is None:
        return
    for name, lacks in subject.LACKS.items():
        held = [one for one in terminalreporter.stats.get("passed", ()) if "envup/testing" in one.nodeid]
        terminalreporter.section(f"envup conformance: {name}, {subject.mode()}")
        terminalreporter.write_line(f"{len(held)} behaviours held, {sum(map(len, lacks.values()))} left out")
        for reason, behaviours in sorted(lacks.items()):
            terminalreporter.write_line(f"lacks {reason} ({len(behaviours)})")
