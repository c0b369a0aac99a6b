"""The provisioners shell and copy."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_provider import Bench

from envup import content
from envup.model import Step
from envup.provisioner import StepContext, StepFailed
from envup_copy import envup_provisioner as copy_class
from envup_shell import envup_provisioner as shell_class

SCRIPTS = "/tmp/.envup-step-"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "work").mkdir()
    bench = Bench(tmp_path / "work", redact=frozenset({"s3cret-value"}))
    yield bench
    bench.close()


def step(kind: str, options: Any, **changes: Any) -> Step:
    return Step(0, changes.pop("name", "setup"), kind, options, **changes)


def run_shell(bench: Bench, directory: Path, options: Any, **changes: Any) -> str:
    shell_class()().run(step("shell", options, **changes), bench.machine, StepContext(directory))
    return bench.output


def no_script_is_left() -> bool:
    return not list(Path("/tmp").glob(".envup-step-*"))


def test_an_inline_script_runs_and_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    assert run_shell(bench, tmp_path, "echo one\necho two") == "one\ntwo\n"
    assert no_script_is_left()


def test_an_inline_script_ends_at_its_first_failure(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as caught:
        run_shell(bench, tmp_path, "echo before\nfalse\necho after")
    assert bench.output == "before\n"
    assert caught.value.exit_code == 1 and caught.value.command == "echo before"
    assert "setup" in caught.value.brief and caught.value.details == "before"
    assert no_script_is_left()


def test_a_script_may_read_its_standard_input_without_eating_itself(bench: Bench, tmp_path: Path) -> None:
    assert run_shell(bench, tmp_path, "cat\necho after") == "after\n"


def test_a_shebang_names_the_program_that_runs_it(bench: Bench, tmp_path: Path) -> None:
    assert run_shell(bench, tmp_path, "#!/usr/bin/env python3\nimport sys; print(sys.argv[1:], end='')") == "[]"


def test_a_script_file_runs_with_its_arguments_verbatim(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text('false\nfor word do printf "<%s>" "$word"; done')
    words = ["", "a b", "'\"", "$HOME", "new\nline", "ü"]
    assert run_shell(bench, tmp_path, {"script": "setup.sh", "args": words}) == "".join(f"<{word}>" for word in words)


def test_a_script_file_with_bytes_that_are_no_text_runs_as_it_is(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_bytes(b"printf '\xfc' | od -An -tx1")
    assert run_shell(bench, tmp_path, {"script": "setup.sh"}).strip() == "fc"


def test_user_comes_from_the_options_then_the_step_then_the_machine(bench: Bench, tmp_path: Path) -> None:
    for options, changes, user in (
        ({"inline": "true", "user": "app:web"}, {"user": "root"}, "app:web"),
        ({"inline": "true"}, {"user": "app"}, "app"),
        ("true", {}, "root"),
    ):
        run_shell(bench, tmp_path, options, **changes)
        scripts = [command for command in bench.provider.commands if command.argv[-1].startswith(SCRIPTS)]
        assert scripts[-1].user == user


def test_the_script_belongs_to_its_user_alone(bench: Bench, tmp_path: Path) -> None:
    run_shell(bench, tmp_path, {"inline": "true", "user": "app:web"})
    with tarfile.open(fileobj=io.BytesIO(bench.provider.archives[-1])) as archive:
        member = archive.getmembers()[0]
    assert (member.uid, member.mode) == (1234, 0o700)


def test_an_unknown_user_fails_the_step(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="nobody-here"):
        run_shell(bench, tmp_path, {"inline": "true", "user": "nobody-here"})


def test_workdir_and_environment_reach_the_script(bench: Bench, tmp_path: Path) -> None:
    options = {"inline": 'pwd; echo "$DEBUG"', "workdir": str(tmp_path)}
    assert run_shell(bench, tmp_path, options, environment={"DEBUG": "on"}) == f"{tmp_path}\non\n"


def test_secrets_show_nowhere(bench: Bench, tmp_path: Path) -> None:
    environment, secrets = {"TOKEN": "s3cret-value"}, frozenset({"TOKEN"})
    with pytest.raises(StepFailed) as caught:
        run_shell(bench, tmp_path, 'echo "t=$TOKEN"; exit 3', environment=environment, secrets=secrets)
    shown = (bench.output, bench.log.decode(), caught.value.details, caught.value.brief)
    assert not any("s3cret-value" in text for text in shown)
    assert bench.output == "t=***\n"
    assert not any("s3cret-value" in word for command in bench.provider.commands for word in command.argv)


@pytest.mark.parametrize("interpreter", ["python3", ["python3", "-u"]])
def test_an_interpreter_runs_the_script_whatever_its_first_line(
    bench: Bench, tmp_path: Path, interpreter: object
) -> None:
    options = {"inline": "#!/bin/false\nimport sys\nprint(sys.argv[1:])", "interpreter": interpreter, "args": ["a b"]}
    assert run_shell(bench, tmp_path, options) == "['a b']\n"


@pytest.mark.parametrize(
    ("guard", "ran"),
    [
        ({"creates": "@HERE@/there"}, False),
        ({"creates": "@HERE@/dangling"}, False),
        ({"creates": "@HERE@/absent"}, True),
        ({"unless": "test -e there"}, False),
        ({"unless": "no-such-program-at-all"}, True),
        ({"only_if": 'test "$WORD" = yes'}, True),
        ({"only_if": "test -e absent"}, False),
        ({"only_if": "test -e there", "unless": "test -e there"}, False),
    ],
)
def test_a_guard_says_whether_there_is_anything_to_do(
    bench: Bench, tmp_path: Path, guard: dict[str, str], ran: bool
) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    guard = {key: text.replace("@HERE@", str(tmp_path)) for key, text in guard.items()}
    options = {"inline": "echo ran", "workdir": str(tmp_path), **guard}
    assert run_shell(bench, tmp_path, options, environment={"WORD": "yes"}) == ("ran\n" if ran else "")
    assert no_script_is_left()


def test_a_script_that_fails_is_run_again_until_it_succeeds(bench: Bench, tmp_path: Path) -> None:
    text = "echo x >> tries; echo try; test $(wc -l < tries) = 3"
    options = {"inline": text, "workdir": str(tmp_path), "retries": 4, "backoff": "10ms"}
    assert run_shell(bench, tmp_path, options) == "try\n" * 3
    said = [event.text for event in bench.events if event.kind == "progress" and "again" in event.text]
    assert said == [
        "failed with exit code 1; runs again in 0.01 s, 4 times at most",
        "failed with exit code 1; runs again in 0.02 s, 3 times at most",
    ]


def test_a_script_that_never_succeeds_fails_with_its_last_run(bench: Bench, tmp_path: Path) -> None:
    options = {"inline": "echo x >> tries; exit $(wc -l < tries)", "workdir": str(tmp_path), "retries": 2}
    with pytest.raises(StepFailed) as caught:
        run_shell(bench, tmp_path, options | {"backoff": "1ms"})
    assert caught.value.exit_code == 3
    assert no_script_is_left()


def test_a_script_that_takes_too_long_is_ended(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="exit code 124: it did not end within 200ms"):
        run_shell(bench, tmp_path, {"inline": "sleep 60", "timeout": "200ms"})
    assert no_script_is_left()


def test_of_a_sensitive_script_nothing_is_shown(bench: Bench, tmp_path: Path) -> None:
    options = {"inline": "echo hidden; exit 3", "sensitive": True, "retries": 1, "backoff": "1ms"}
    with pytest.raises(StepFailed) as caught:
        run_shell(bench, tmp_path, options)
    told = [event.text for event in bench.events]
    shown = (bench.output, bench.log.decode(), caught.value.details, caught.value.brief, caught.value.command, *told)
    assert not any("hidden" in text for text in shown)
    assert (caught.value.exit_code, shell_class()().describe(step("shell", options))) == (3, "(sensitive)")


def test_a_killed_script_says_so(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="killed by signal 9"):
        run_shell(bench, tmp_path, "kill -9 $$")


def test_a_missing_program_says_so(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="was not found"):
        run_shell(bench, tmp_path, "#!/no/such/interpreter\n")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("apt-get update", "apt-get update"),
        ("#!/bin/sh\n\n# comment\nset -eu\n  apt-get   update\nmore", "apt-get update"),
        ({"script": "setup.sh", "args": ["--fast", "s3cret-value"]}, "setup.sh --fast ***"),
        ("x" * 100, "x" * 71 + "…"),
    ],
)
def test_a_shell_step_is_described_in_one_line(options: Any, line: str) -> None:
    described = step("shell", options, environment={"T": "s3cret-value"}, secrets=frozenset({"T"}))
    assert shell_class()().describe(described) == line


def test_a_shell_step_reads_its_script(tmp_path: Path) -> None:
    shell, context = shell_class()(), StepContext(tmp_path)
    assert shell.reads(step("shell", {"script": "a/setup.sh"}), context) == (tmp_path / "a/setup.sh",)
    assert shell.reads(step("shell", "true"), context) == ()


def test_copy_puts_a_file_where_it_belongs(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("x")
    options = {"from": "app.conf", "to": f"{tmp_path}/etc/app/", "mode": "0600"}
    copier, context = copy_class()(), StepContext(tmp_path)
    copier.run(step("copy", options), bench.machine, context)
    assert (tmp_path / "etc/app/app.conf").read_text() == "x"
    assert stat.S_IMODE((tmp_path / "etc/app/app.conf").stat().st_mode) == 0o600
    assert list(copier.reads(step("copy", options), context)) == [tmp_path / "app.conf"]
    assert copier.describe(step("copy", options)).startswith("copy app.conf to /")


def test_a_copy_that_fails_names_step_and_cause(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"setup.*missing\.conf"):
        options = {"from": "missing.conf", "to": f"{tmp_path}/x"}
        copy_class()().run(step("copy", options), bench.machine, StepContext(tmp_path))


def tree(directory: Path) -> Path:
    for name in ("app.py", "notes.log", "static/page.html", "static/old.log", "node_modules/a/index.js", "conf/x.conf"):
        file = directory / "web" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (directory / "web/empty").mkdir()
    return directory / "web"


@pytest.mark.parametrize(
    ("patterns", "arrived"),
    [
        (
            {"exclude": ["*.log", "node_modules/"]},
            ["app.py", "conf", "conf/x.conf", "empty", "static", "static/page.html"],
        ),
        ({"include": ["*.html", "/conf/"]}, ["conf", "conf/x.conf", "static", "static/page.html"]),
        ({"include": ["static"], "exclude": ["*.log"]}, ["static", "static/page.html"]),
        ({"exclude": ["*", "!app.py"]}, ["app.py"]),
    ],
)
def test_of_a_directory_what_patterns_name_is_copied(
    bench: Bench, tmp_path: Path, patterns: dict[str, list[str]], arrived: list[str]
) -> None:
    source, target = tree(tmp_path), tmp_path / "there"
    options = {"from": "web/.", "to": str(target), **patterns}
    copy_class()().run(step("copy", options), bench.machine, StepContext(tmp_path))
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == arrived
    assert source.is_dir() and not bench.texts("warning")


def test_patterns_that_select_nothing_are_told_and_those_for_a_file_refused(bench: Bench, tmp_path: Path) -> None:
    tree(tmp_path)
    options = {"from": "web", "to": f"{tmp_path}/there", "include": ["*.nothing"]}
    copy_class()().run(step("copy", options), bench.machine, StepContext(tmp_path))
    assert bench.texts("warning") == [f"nothing in {tmp_path}/web is selected by `include` and `exclude`"]
    with pytest.raises(StepFailed, match="are for directories"):
        options["from"] = "web/app.py"
        copy_class()().run(step("copy", options), bench.machine, StepContext(tmp_path))


def test_what_patterns_leave_out_is_no_change_of_a_step(tmp_path: Path) -> None:
    source = tree(tmp_path)
    options = {"from": "web", "to": "/srv", "exclude": ["*.log"]}
    digest, noted = content.note(copy_class()().reads(step("copy", options), StepContext(tmp_path)))
    noted = json.loads(json.dumps(noted))
    (source / "notes.log").write_text("more")
    assert content.unchanged(digest, noted)
    (source / "static/page.html").rename(source / "static/index.html")
    assert not content.unchanged(digest, noted)


FACTS = {
    "project": {"name": "shop", "directory": "/shop"},
    "machine": {"name": "web", "environment": {"LEVEL": "info", "DEBUG": "off"}},
    "machines": {"web": {"name": "web"}, "db": {"name": "db", "addresses": ["10.0.2.9"]}},
}


def fill_in(bench: Bench, directory: Path, text: str) -> str:
    (directory / "app.conf").write_text(text)
    options = {"from": "app.conf", "to": f"{directory}/there/", "template": True, "mode": "0640"}
    copied = step("copy", options, environment={"DEBUG": "on"})
    copy_class()().run(copied, bench.machine, StepContext(directory, FACTS))
    assert stat.S_IMODE((directory / "there/app.conf").stat().st_mode) == 0o640
    return (directory / "there/app.conf").read_text()


def test_a_template_is_filled_in_with_facts(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "part.conf").write_text("part of {{ project.name }}")
    text = "{{ machine.name }} -> {{ machines.db.addresses[0] }}, {{ environment.DEBUG }} {{ environment.LEVEL }}\n"
    said = fill_in(bench, tmp_path, text + "{% include 'part.conf' %}\n")
    assert said == "web -> 10.0.2.9, on info\npart of shop\n"
    assert not list(Path("/tmp").glob("envup-template-*"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("one\n{{ nosuch.thing }}", "app.conf:2: UndefinedError: 'nosuch' is undefined"),
        ("{% for %}", "app.conf:1: "),
        ("{{ ''.__class__.__mro__ }}", "app.conf:1: SecurityError"),
        ("{{ 1 / 0 }}", "app.conf:1: ZeroDivisionError"),
        ("{% include 'absent' %}", "there is no template absent beside it"),
        ("{{ ''.__class__.__mro__ }}", "app.conf:1: SecurityError"),
        ("{{ machine.clear() }}", "app.conf:1: SecurityError"),
    ],
)
def test_a_template_that_cannot_be_filled_in_says_where(bench: Bench, tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(StepFailed) as caught:
        fill_in(bench, tmp_path, text)
    assert told in caught.value.brief
    assert not (tmp_path / "there").exists()


def test_what_is_the_same_in_the_machine_is_not_sent(bench: Bench, tmp_path: Path) -> None:
    tree(tmp_path)
    options = {"from": "web/.", "to": f"{tmp_path}/there"}

    def sent() -> list[str]:
        copy_class()().run(step("copy", options), bench.machine, StepContext(tmp_path))
        with tarfile.open(fileobj=io.BytesIO(bench.provider.archives[-1])) as archive:
            return sorted(archive.getnames())

    assert "there/app.py" in sent()
    assert sent() == []
    (tmp_path / "web/app.py").write_text("APP.py")
    (tmp_path / "web/static/page.html").chmod(0o600)
    (tmp_path / "web/new line\n").touch()
    (tmp_path / "web/link").symlink_to("app.py")
    assert sent() == ["app.py", "link", "new line\n", "static/page.html"]
    (tmp_path / "web/other\u2028lines").touch()
    sent()
    assert sent() == ["link", "new line\n"]
    (tmp_path / "there/conf/x.conf").write_text("changed in the machine")
    assert "conf/x.conf" in sent()
    assert (tmp_path / "there/conf/x.conf").read_text() == "conf/x.conf"
