"""The part of the kit that pytest loads in every run: its options and its summary. Imports nothing of envup.

A behaviour is a test function of the kit. It is held when every one of its cases passed, and left out when one was.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

_KIT = Path(__file__).parent
_PROVIDER = "envup-provider"


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in each report of a case of the kit which provider it was about."""
    report = yield
    if item.path.parent == _KIT:
        report.user_properties.append((_PROVIDER, item.config.getoption("envup_provider")))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was held, and what the provider lacks."""
    provider = terminalreporter.config.getoption("envup_provider")
    reports = [
        (name, one)
        for name in ("passed", "skipped", "failed", "error")
        for one in terminalreporter.stats.get(name, ())
        if isinstance(one, pytest.TestReport)
    ]
    cases = [(name, one) for name, one in reports if (_PROVIDER, provider) in one.user_properties]
    if not cases:
        return
    not_held = {_behaviour(one) for name, one in cases if name != "passed"}
    held = {_behaviour(one) for name, one in cases if name == "passed"} - not_held
    left_out = {_behaviour(one): _reason(one, provider) for name, one in cases if name == "skipped"}
    terminalreporter.section(f"envup conformance: {provider}, {'root' if os.geteuid() == 0 else 'rootless'}")
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


def _reason(report: pytest.TestReport, provider: str) -> str:
    """As `Subject.leave_out` words it."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ").removeprefix(f"{provider} lacks ")
