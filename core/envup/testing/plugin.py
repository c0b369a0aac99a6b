"""The part of the kit that pytest loads in every run: its options and its summary. Imports nothing of envup but for who
tests a provisioner.

A behaviour is a test function of the kit. It is held when every one of its cases passed, and left out when one was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

_KIT = Path(__file__).parent
_SUBJECT = "envup-subject"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the kit; they change nothing where it is not run."""
    group = parser.getgroup("envup", "conformance of envup providers and provisioners")
    group.addoption("--envup-provider", metavar="NAME", help="the installed provider that envup.testing tests")
    group.addoption("--envup-provisioner", metavar="NAME", help="the installed provisioner that it tests in its place")
    group.addoption("--envup-steps", metavar="FILE", help="steps of that provisioner, which succeed and fail")
    group.addoption("--envup-image", metavar="TAR", help="root file system of a minimal Debian; else one is built once")
    group.addoption("--envup-options", metavar="JSON", help="the provider's own key of every machine, such as {}")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks that the kit sets."""
    config.addinivalue_line("markers", "root: needs to run as root")
    config.addinivalue_line("markers", "rootless: runs as an ordinary account")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read the steps of the provisioner that is tested, if one is."""
    if session.config.getoption("envup_provisioner") is not None:
        from envup.testing.provisioners import given

        given.take(session.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in each report of a case of the kit which plugin it was about."""
    report = yield
    if item.path.is_relative_to(_KIT):
        report.user_properties.append((_SUBJECT, _subject(item.config)))
    return report


def _subject(config: pytest.Config) -> str:
    return str(config.getoption("envup_provisioner") or config.getoption("envup_provider"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was held, and what the plugin lacks."""
    subject = _subject(terminalreporter.config)
    reports = [
        (name, one)
        for name in ("passed", "skipped", "failed", "error")
        for one in terminalreporter.stats.get(name, ())
        if isinstance(one, pytest.TestReport)
    ]
    cases = [(name, one) for name, one in reports if (_SUBJECT, subject) in one.user_properties]
    if not cases:
        return
    not_held = {_behaviour(one) for name, one in cases if name != "passed"}
    held = {_behaviour(one) for name, one in cases if name == "passed"} - not_held
    left_out = {_behaviour(one): _reason(one, subject) for name, one in cases if name == "skipped"}
    terminalreporter.section(f"envup conformance: {subject}, {'root' if os.geteuid() == 0 else 'rootless'}")
    terminalreporter.write_line(f"{len(held)} behaviours held, {len(left_out)} left out")
    for reasons in _alike(left_out.values()):
        terminalreporter.write_line(f"lacks {reasons[0]} ({len(reasons)})")


def _alike(reasons: Iterable[str]) -> Iterable[list[str]]:
    """Those that differ in numbers only, such as those of ports, together."""
    found: dict[str, list[str]] = {}
    for reason in sorted(reasons):
        found.setdefault(re.sub(r"\d+", "", reason), []).append(reason)
    return found.values()


def _behaviour(report: pytest.TestReport) -> str:
    return report.nodeid.partition("[")[0]


def _reason(report: pytest.TestReport, subject: str) -> str:
    """As `Subject.leave_out` words it."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ").removeprefix(f"{subject} lacks ")
