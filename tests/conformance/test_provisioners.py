"""The provisioners in the box pass the conformance kit, as their author would run it, and a wrong one does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_plugins import install

import envup.testing.provisioners
from envup.testing import images

HERE = Path(__file__).parent
KIT = Path(envup.testing.provisioners.__file__).parent
PAGE = HERE.parents[1] / "docs/conformance.md"
LIMIT = 250
"""Seconds that one run may take on a busy machine."""

WRONG = (
    ("long", "the_description_is_one_short_line_however_long_the_options_are"),
    ("secret", "the_description_has_no_value_of_a_variable"),
    ("place", "the_description_needs_no_file"),
    ("relative", "what_is_read_is_there_and_named_in_full"),
    ("hidden", "nothing_is_read_that_is_not_named"),
    ("once", "a_step_runs_again_on_the_same_machine"),
    ("argument", "values_of_variables_are_in_no_argument_list_of_a_step"),
    ("logged", "values_of_variables_are_neither_shown_nor_logged"),
    ("here", "a_step_runs_wherever_its_caller_stands"),
    ("project", "a_step_leaves_the_project_as_it_is"),
    ("temporary", "a_step_leaves_no_temporary_file_on_the_host"),
    ("process", "a_step_leaves_no_process_on_the_host"),
    ("loud", "nothing_is_printed"),
    ("facts", "facts_stay_as_they_are"),
    ("deaf", "a_step_that_is_interrupted_has_not_succeeded"),
    ("deaf", "a_step_on_a_machine_that_stopped_has_not_succeeded"),
    ("otherwise", "a_failure_says_what_failed"),
    ("silently", "a_failure_says_what_failed"),
    ("with secret", "a_failure_names_no_value_of_a_variable"),
)
"""What the steps of `wrong_note` do, and the behaviour that they break."""
ALSO = {
    "absent": "what_is_read_and_is_not_there_is_named_all_the_same",
    "for good": "other_steps_run_after_a_failure",
    "misnamed": "it_goes_by_the_name_that_an_envfile_uses",
    "careless": "an_option_that_it_does_not_have_is_refused",
}


def run_kit(provisioner: str, steps: Path, *options: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    kit = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "envup.testing", "-rA", "--tb=no"]
    subject = ["--envup-provisioner", provisioner, "--envup-steps", str(steps), *options]
    path = os.pathsep.join(filter(None, (str(site or ""), os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [*kit, *subject],
        env={**os.environ, "PYTHONPATH": path, "ENVUP_TEST_IMAGE": str(images.built())},
        cwd=steps.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )


def failed(said: str) -> set[tuple[str, str]]:
    """(behaviour, step) of the cases that failed."""
    return set(re.findall(r"^FAILED \S*::test_(\w+)(?:\[(.*?)\])?", said, re.MULTILINE))


def behaviours() -> set[str]:
    return {name for file in KIT.glob("test_*.py") for name in re.findall(r"^def test_(\w+)", file.read_text(), re.M)}


def write_steps(directory: Path, succeed: Sequence[Any], fail: Sequence[Any]) -> Path:
    (directory / "note.txt").write_text("a note")
    path = directory / "steps.yaml"
    path.write_text(yaml.safe_dump({"succeed": succeed, "fail": fail}))
    return path


def note(name: str, **options: str) -> dict[str, Any]:
    return {"name": name.replace(" ", "-"), "note": {"text": "a note", **options}}


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("provisioner", ["shell", "copy"])
def test_a_provisioner_in_the_box_passes(provisioner: str) -> None:
    done = run_kit(provisioner, HERE / "steps" / f"{provisioner}.yaml")
    assert done.returncode == 0, done.stdout[-8000:]
    assert f"conformance: {provisioner}, root" in done.stdout
    assert f"{len(behaviours())} behaviours held, 0 left out" in done.stdout


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(("provisioner", "provider"), [("copy", "lxc"), ("copy", "docker"), ("shell", "docker")])
def test_it_passes_on_the_machines_of_another_provider(provisioner: str, provider: str) -> None:
    steps = HERE / "steps" / f"{provisioner}.yaml"
    done = run_kit(provisioner, steps, "--envup-provider", provider, "-k", "runs_again or on_a_machine_that_stopped")
    assert done.returncode == 0, done.stdout[-8000:]
    assert "2 behaviours held, 0 left out" in done.stdout


OPTIONS = {name: {"type": "string"} for name in ("text", "wrong", "fails")}
SCHEMA = {"type": "object", "properties": OPTIONS, "additionalProperties": False}
NAMED = {"x-envup": {"api": 1, "kinds": ["provisioner"]}}


@pytest.mark.root
@pytest.mark.slow
def test_each_wrong_is_found_and_nothing_else(tmp_path: Path) -> None:
    install(tmp_path / "site", "note", code=(HERE / "wrong_note.py").read_text(), schema={**SCHEMA, **NAMED})
    ways = ("otherwise", "silently", "with secret")
    succeed = [note("right"), *(note(way, wrong=way) for way in dict(WRONG) if way not in ways)]
    fail = [note("rightly", fails="as it should"), *(note(way, fails=way) for way in ways)]
    done = run_kit("note", write_steps(tmp_path, succeed, fail), site=tmp_path / "site")
    found = failed(done.stdout)
    missed = {(behaviour, way.replace(" ", "-")) for way, behaviour in WRONG} - found
    assert not missed, done.stdout[-8000:]
    assert not [case for case in found if case[1] in ("right", "rightly")]


@pytest.mark.root
@pytest.mark.slow
def test_what_is_wrong_as_a_whole_is_found(tmp_path: Path) -> None:
    schema = {**SCHEMA, **NAMED, "additionalProperties": True}
    code = (HERE / "wrong_note.py").read_text()
    install(tmp_path / "site", "misnamed", code=code, schema=schema)
    right, absent, broken = (
        {"name": name, "misnamed": {"text": "a note", **options}}
        for name, options in {"right": {}, "absent": {"wrong": "absent"}, "broken": {"fails": "for good"}}.items()
    )
    steps = write_steps(tmp_path, [right, absent], [broken])
    done = run_kit("misnamed", steps, "-k", " or ".join(ALSO.values()), site=tmp_path / "site")
    assert {behaviour for behaviour, _step in failed(done.stdout)} == set(ALSO.values()), done.stdout[-8000:]


def test_each_behaviour_is_known_to_find_what_is_wrong() -> None:
    assert {*(behaviour for _way, behaviour in WRONG), *ALSO.values()} == behaviours()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("succeed: [{copy: {from: a, to: /b}}]\n", "expected steps of shell under succeed, at least one"),
        ("succeed: [{shell: a}]\n", "expected steps of shell under fail, at least one"),
        ("succeed: [{shell: {inlin: a}}]\n", "did you mean 'inline'"),
        ("works: []\n", "expected lists of steps under prepare, succeed, fail"),
        ("succeed: [", "cannot be read"),
    ],
)
def test_a_file_of_steps_that_does_not_hold_is_told(tmp_path: Path, text: str, told: str) -> None:
    steps = tmp_path / "steps.yaml"
    steps.write_text(text)
    done = run_kit("shell", steps)
    assert done.returncode == 4 and told in done.stdout, done.stdout


def test_the_documentation_lists_every_behaviour_and_no_other() -> None:
    listed = PAGE.read_text().partition("### What provisioners are held to")[2].partition("\n## ")[0]
    said = re.findall(r"^- (.+(?:\n  .+)*)$", listed, re.MULTILINE)
    assert {re.sub(r"[ -]+", "_", re.sub(r"[',]|\n ", "", text)) for text in said} == behaviours()
