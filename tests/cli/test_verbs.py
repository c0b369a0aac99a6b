"""What each verb does, says and answers, with machines that pretend."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_shop import ENVUP, Shop

from envup import __version__
from envup.cli.table import VERBS

Fits = Callable[[str, Any], None]


def states(shop: Shop) -> dict[str, str]:
    return {machine["name"]: machine["state"] for machine in shop.json("status")["machines"]}


def test_a_life_of_an_environment(shop: Shop) -> None:
    assert states(shop) == {"db": "absent", "web": "absent"}
    assert shop.run("up").returncode == 0
    assert states(shop) == {"db": "running", "web": "running"}
    assert shop.run("stop").returncode == 0
    assert states(shop) == {"db": "stopped", "web": "stopped"}
    assert shop.run("restart").returncode == 0
    assert states(shop) == {"db": "running", "web": "running"}
    assert shop.run("destroy", "--yes").returncode == 0
    assert states(shop) == {"db": "absent", "web": "absent"}


def test_a_second_up_says_that_there_is_nothing_to_do(shop: Shop) -> None:
    shop.run("up")
    assert shop.run("up").stdout == "shop: everything is as the Envfile says\n"


def test_up_that_runs_no_steps_does_not_say_that_they_have_run(shop: Shop) -> None:
    shop.run("up", "--no-provision")
    for verb in ("up", "plan"):
        assert shop.run(verb, "--no-provision").stdout == "shop: everything but for steps is as the Envfile says\n"


def test_plan_prints_what_up_would_do_and_changes_nothing(shop: Shop) -> None:
    result = shop.run("plan")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].split() == ["MACHINE", "ACTION", "WHY", "TOUCHES", "WAITS", "FOR"]
    assert "provision app" in result.stdout
    assert not (shop.directory / ".envup").exists()


def test_plan_check_tells_pending_changes_by_its_exit_code(shop: Shop) -> None:
    assert shop.run("plan", "--check").returncode == 3
    shop.run("up")
    assert shop.run("plan", "--check").returncode == 0


def test_the_plan_of_up_is_the_plan_that_was_printed(shop: Shop) -> None:
    planned = shop.json("plan")["actions"]
    events = shop.events("up")
    assert next(event["plan"]["actions"] for event in events if event["event"] == "plan") == planned


def test_plain_output_tells_the_output_of_steps(shop: Shop) -> None:
    lines = shop.run("up").stdout.splitlines()
    assert "web| hello" in lines
    assert lines[-1].startswith("shop: done in ")


def test_quiet_says_nothing_of_what_went_well(shop: Shop) -> None:
    result = shop.run("up", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_provision_runs_steps_again_and_one_alone(shop: Shop) -> None:
    shop.run("up")
    assert "web| hello" in shop.run("provision").stdout
    assert "web| hello" in shop.run("provision", "web", "--only", "app").stdout
    assert shop.run("provision", "--only", "nosuch").returncode == 2


@pytest.mark.parametrize(
    ("machines", "step", "there"), [((), "ap", "there are app"), (("web",), "ap", "app"), (("db",), "app", "none")]
)
def test_a_step_to_refresh_that_there_is_not_is_told_before_anything_is_made(
    machines: tuple[str, ...], step: str, there: str, shop: Shop
) -> None:
    for verb in ("plan", "up"):
        refused = shop.run(verb, *machines, "--refresh", step)
        assert refused.returncode == 2
        assert f"there is no step '{step}'" in refused.stderr and there in refused.stderr
    assert all(machine["state"] == "absent" for machine in shop.json("status")["machines"])


STEPS = """\
name: shop
provider: pretend
defaults: {image: host, mounts: []}
machines:
  web:
    provision:
      - {name: one, shell: echo first}
      - {name: two, shell: "echo second; test -e /nowhere", on_failure: continue}
      - {name: three, shell: echo third}
      - {name: four, shell: echo fourth, run: never}
  late: {depends_on: {web: provisioned}}
"""


def test_a_step_that_may_fail_stops_neither_its_machine_nor_others_and_is_done_again(shop: Shop) -> None:
    shop.write(STEPS)
    events = shop.events("up", code=1)
    assert (events[-1]["failed"], events[-1]["skipped"]) == (["web/provision:2"], [])
    finished = [event["action"] for event in events if event["event"] == "finished"]
    assert {"web/provision:3", "late/start"} <= set(finished)
    assert states(shop) == {"web": "running", "late": "running"}
    assert [action["id"] for action in shop.json("plan")["actions"]] == ["web/provision:2", "web/provision:3"]


def test_provision_begins_at_a_step(shop: Shop) -> None:
    shop.write(STEPS.replace("test -e /nowhere", "true"))
    shop.run("up")
    said = shop.run("provision", "--from", "two").stdout
    assert [word for word in ("first", "second", "third", "fourth") if f"web| {word}" in said] == ["second", "third"]
    assert shop.json("status")["machines"][0]["provisioned"] is True
    assert shop.run("provision", "--from", "nosuch").returncode == 2
    assert shop.run("provision", "--from", "two", "--only", "two").returncode == 2


def test_logs_tell_what_steps_said_and_the_last_run_alone(shop: Shop) -> None:
    shop.run("up")
    shop.run("provision")
    assert shop.run("logs", "web").stdout.count("\nhello\n") == 2
    assert shop.run("logs", "web", "--last").stdout.count("\nhello\n") == 1


def test_logs_show_the_console_of_machines_too(shop: Shop) -> None:
    shop.run("up")
    assert shop.run("logs", "db").stdout == "db booted\n"
    assert "==> web console <==\nweb booted\n" in shop.run("logs").stdout


def test_following_several_logs_names_each_before_its_lines(shop: Shop) -> None:
    shop.run("up")
    with subprocess.Popen(
        [ENVUP, "logs", "-f"], cwd=shop.directory, env=shop.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        awaited = {"db console| db booted\n", "web console| web booted\n", "web steps| hello\n"}
        while awaited:
            awaited.discard(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_following_several_logs_ends_when_nobody_reads_any_more(shop: Shop) -> None:
    shop.run("up")
    with subprocess.Popen(
        [ENVUP, "logs", "-f"],
        cwd=shop.directory,
        env=shop.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        (log,) = (Path(shop.environment["ENVUP_HOME"]) / "data/logs").glob("*/web.log")
        with log.open("a") as file:
            file.write("more\n")
        assert process.wait(20) == 141
        assert process.stderr.read() == ""


def test_suspended_machines_are_resumed_by_either_verb(shop: Shop) -> None:
    shop.run("up")
    assert shop.run("suspend", "web").returncode == 0
    assert {one["name"]: one["state"] for one in shop.json("status")["machines"]} == {
        "db": "running",
        "web": "suspended",
    }
    refused = shop.run("exec", "web", "--", "true")
    assert refused.returncode == 125
    assert "`env resume web`" in refused.stderr
    assert shop.run("resume").returncode == 0
    assert shop.run("exec", "web", "--", "true").returncode == 0
    shop.run("suspend")
    assert [event["action"] for event in shop.events("up") if event["event"] == "finished"] == [
        "db/resume",
        "web/resume",
    ]
    assert "nothing is suspended" in shop.run("resume").stdout


def test_a_provider_that_cannot_suspend_is_told_before_anything_is_done(shop: Shop) -> None:
    shop.write("name: shop\nimage: host\nprovider: chroot\nmounts: []\n")
    assert shop.run("up").returncode == 0, "needs root"
    try:
        refused = shop.run("suspend")
        assert refused.returncode == 2
        assert "provider chroot cannot suspend machines" in refused.stderr
    finally:
        shop.run("destroy", "--yes")


def test_what_a_provider_cannot_give_any_more_is_refused_before_anything_is_stopped(shop: Shop) -> None:
    shop.run("up")
    (Path(shop.environment["ENVUP_HOME"]) / "data/providers/pretend/refuses").touch()
    refused = shop.run("restart", "web")
    assert refused.returncode == 2
    assert "provider pretend cannot start it as declared" in refused.stderr
    assert "mounts: the source is gone" in refused.stderr
    assert {one["state"] for one in shop.json("status")["machines"]} == {"running"}


def test_a_step_that_runs_always_is_no_pending_change_and_its_failure_is_told(shop: Shop) -> None:
    always = "name: shop\nimage: host\nprovider: pretend\nmounts: []\nprovision: [{name: b, run: always, shell: %s}]\n"
    shop.write(always % "'true'")
    assert shop.run("plan", "--check").returncode == 3
    shop.run("up")
    assert shop.run("plan", "--check").returncode == 0
    assert (shop.json("plan")["changes"], shop.json("plan")["pending"]) == (True, False)
    assert shop.json("status")["machines"][0]["provisioned"] is True
    shop.write(always % "exit 3")
    assert shop.run("up").returncode == 1
    (machine,) = shop.json("status")["machines"]
    assert (machine["provisioned"], machine["drift"]) == (False, ["provision:1: has not succeeded"])
    shop.write(always % "'true'")
    shop.run("up")
    assert shop.json("status")["machines"][0]["provisioned"] is True


def test_a_step_whose_success_was_recorded_just_before_a_crash_has_run(shop: Shop) -> None:
    shop.run("up")
    file = Path(shop.environment["ENVUP_HOME"]) / "data/state.db"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE journal SET ended = NULL, outcome = NULL WHERE action LIKE 'provision:%'")
    assert {machine["provisioned"] for machine in shop.json("status")["machines"]} == {True}


def test_the_last_run_is_no_log_where_only_a_console_is(shop: Shop) -> None:
    shop.run("up")
    result = shop.run("logs", "db", "--last")
    assert result.returncode == 1
    assert "there is no log yet" in result.stderr


def test_logs_without_a_log_say_so(shop: Shop) -> None:
    result = shop.run("logs")
    assert result.returncode == 1
    assert "there is no log yet" in result.stderr


def test_following_a_log_shows_it_until_it_is_ended(shop: Shop) -> None:
    assert shop.run("up").returncode == 0
    with subprocess.Popen(
        [ENVUP, "logs", "web", "-f"], cwd=shop.directory, env=shop.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        awaited = {"web steps| hello\n", "web console| web booted\n"}
        while awaited:
            awaited.discard(process.stdout.readline())
        process.terminate()
        assert process.stdout.read() == "", "what it started is gone too"


def test_list_shows_environments_of_all_directories_and_which_are_gone(shop: Shop, tmp_path: Path) -> None:
    shop.run("up")
    other = shop.json("list")["environments"]
    assert [(one["name"], one["directory_exists"]) for one in other] == [("shop", True)]
    shop.directory.rename(tmp_path / "moved")
    shop.directory = tmp_path
    (one,) = shop.json("list")["environments"]
    assert one["directory_exists"] is False
    assert {machine["name"]: machine["state"] for machine in one["machines"]} == {"db": "running", "web": "running"}


def test_a_command_in_another_directory_takes_the_file_it_is_given(shop: Shop, tmp_path: Path) -> None:
    file = str(shop.directory / "Envfile")
    shop.directory = tmp_path
    assert shop.json("status", "--file", file)["environment"]["name"] == "shop"
    shop.environment["ENVUP_FILE"] = file
    assert shop.json("status")["environment"]["name"] == "shop"


def test_validate_says_ok_or_tells_every_problem(shop: Shop) -> None:
    assert shop.run("validate").stdout == f"{shop.directory}/Envfile: ok\n"
    shop.write("image: host\nprovder: chroot\nresources: {memroy: 1GiB}\n")
    result = shop.run("validate")
    assert (result.returncode, result.stdout) == (2, "")
    assert "Envfile:2:1" in result.stderr
    assert "Envfile:3:13" in result.stderr


def test_destroy_and_status_work_with_a_broken_envfile(shop: Shop) -> None:
    shop.run("up")
    shop.write("{{{")
    status = shop.run("status")
    assert "running" in status.stdout
    assert "warning" in status.stderr
    assert shop.run("destroy", "--yes").returncode == 0
    (shop.directory / "Envfile").unlink()
    assert shop.json("status")["machines"] == []


def test_new_writes_an_envfile_that_holds_and_never_overwrites(shop: Shop, tmp_path: Path) -> None:
    shop.directory = tmp_path / "fresh"
    shop.directory.mkdir()
    assert shop.run("new", "--image", "host", "--provider", "pretend", "fresh").returncode == 0
    assert shop.json("validate")["ok"] is True
    before = (shop.directory / "Envfile").read_bytes()
    assert shop.run("new").returncode == 2
    assert (shop.directory / "Envfile").read_bytes() == before


def test_plugins_shows_a_broken_one_with_its_problem(shop: Shop) -> None:
    from fake_plugins import install, manifest

    site = Path(shop.environment["PYTHONPATH"])
    install(site, "sad", code="import no_such_sdk", schema=manifest("provider", isolation="machine"))
    found = {plugin["name"]: plugin for plugin in shop.json("plugins")["plugins"]}
    assert "no_such_sdk" in found["sad"]["problem"]
    assert (found["pretend"]["problem"], found["pretend"]["abilities"]) == ("", ["console", "snapshots", "suspend"])
    assert "chroot" in found
    assert shop.run("status").returncode == 0


def test_doctor_tells_what_is_missing_and_the_remedy(shop: Shop) -> None:
    pretend = shop.json("doctor")["providers"]
    assert any(provider["name"] == "pretend" and provider["usable"] for provider in pretend)
    data = Path(shop.environment["ENVUP_HOME"]) / "data/providers/pretend"
    (data / "unusable").touch()
    text = shop.run("doctor").stdout
    assert "a good mood: it is gone" in text
    assert "to do: wait for it" in text


def test_doctor_marks_a_need_that_is_absent_and_optional(shop: Shop) -> None:
    data = Path(shop.environment["ENVUP_HOME"]) / "data/providers/pretend"
    shop.run("status")
    assert "  ✓ a tea\n" in shop.run("doctor").stdout
    (data / "thirsty").touch()
    told = "a tea: there is none\n      to do: boil water\n"
    assert f"  ! {told}" in shop.run("doctor").stdout
    assert shop.json("doctor", code=0)["providers"]
    shop.environment["PYTHONIOENCODING"] = "ascii"
    plain = shop.run("doctor").stdout
    assert f"  ! {told}" in plain and "  + a good mood\n" in plain


def test_doctor_outlives_a_provider_whose_check_fails(shop: Shop) -> None:
    from fake_plugins import PROVIDER, install, manifest

    code = PROVIDER.format(name="odd", isolation="machine").replace("doctor = ", "doctor = None; ")
    install(Path(shop.environment["PYTHONPATH"]), "odd", code=code, schema=manifest("provider", isolation="machine"))
    found = {provider["name"]: provider for provider in shop.json("doctor")["providers"]}
    assert "a bug in this plugin" in found["odd"]["problem"]


def test_schema_is_one_document_with_the_plugins_merged_in(shop: Shop) -> None:
    import json

    assert '"pretend"' in shop.run("schema").stdout
    json.loads(shop.run("schema").stdout)


def test_version_is_the_distributions_own(shop: Shop) -> None:
    assert shop.run("version").stdout == f"envup {__version__}\n"
    assert shop.json("version")["envup"] == __version__


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(shop: Shop, verb: str) -> None:
    explained = shop.run("help", verb)
    assert explained.returncode == 0
    assert explained.stdout.startswith(f"usage: env {verb}")
    assert shop.run(verb, "--help").stdout == explained.stdout


def test_help_names_every_verb(shop: Shop) -> None:
    text = shop.run("help").stdout
    assert [verb for verb in VERBS if f"\n  {verb} " not in text] == []
    assert shop.run().stdout == text


def test_images_and_prune_leave_what_is_in_use(shop: Shop) -> None:
    assert shop.json("images")["images"] == []
    assert shop.json("prune") == {"freed": [], "bytes": 0, "forgotten": []}


def test_prune_forgets_what_is_gone_and_has_no_machine(shop: Shop, tmp_path: Path) -> None:
    shop.run("up")
    shop.run("destroy", "--yes")
    directory = shop.directory
    directory.rename(tmp_path / "moved")
    shop.directory = tmp_path
    shop.run("prune")
    assert shop.json("list")["environments"] == []


ANSWERS = ("doctor", "images", "list", "logs", "plan", "plugins", "ports", "prune", "status", "validate", "version")


@pytest.mark.parametrize("verb", ANSWERS)
@pytest.mark.parametrize("up", [False, True])
def test_answers_fit_the_shipped_schema(shop: Shop, fits: Fits, verb: str, up: bool) -> None:
    if up:
        shop.run("up")
    fits(verb, shop.json(verb))


def test_an_answer_for_a_broken_envfile_fits_the_shipped_schema(shop: Shop, fits: Fits) -> None:
    shop.write("image: 3")
    fits("validate", shop.json("validate", code=2))
    fits("status", shop.json("status"))
    fits("error", shop.json("plan", code=2))


def test_copy_brings_files_in_and_out(shop: Shop, tmp_path: Path) -> None:
    shop.run("up")
    (tmp_path / "file").write_text("content")
    assert shop.run("copy", str(tmp_path / "file"), f"web:{tmp_path}/in").returncode == 0
    assert (tmp_path / "in").read_text() == "content"
    assert shop.events("copy", f"web:{tmp_path}/in", str(tmp_path / "out")) == [{"event": "result", "ok": True}]
    assert (tmp_path / "out").read_text() == "content"


def test_copy_takes_and_gives_tar_streams(shop: Shop, tmp_path: Path) -> None:
    shop.run("up")
    (tmp_path / "file").write_text("content")
    (tmp_path / "target").mkdir()
    stream = shop.run("copy", f"web:{tmp_path}/file", "-", text=False).stdout
    result = shop.run("copy", "-", f"web:{tmp_path}/target", text=False, input=stream)
    assert result.returncode == 0
    assert (tmp_path / "target" / "file").read_text() == "content"
    assert shop.run("copy", f"web:{tmp_path}/file", "-", "--json").returncode == 2


def test_events_fit_the_shipped_schema(shop: Shop, fits: Fits) -> None:
    shop.write(shop.directory.joinpath("Envfile").read_text().replace("echo hello", "echo hello; exit 3"))
    calls = (("up", 1), ("up", 1), ("stop", 0), ("restart", 1), ("destroy", 2), ("destroy --yes", 0))
    for call, code in calls:
        events = shop.events(*call.split(), code=code)
        for event in events:
            fits("event", event)
        assert events[-1]["event"] in ("result", "error")


def test_a_failed_up_ends_with_a_result_that_names_what_failed(shop: Shop) -> None:
    shop.write(shop.directory.joinpath("Envfile").read_text().replace("echo hello", "echo hello; exit 3"))
    events = shop.events("up", code=1)
    result = events[-1]
    assert (result["ok"], result["failed"], result["skipped"]) == (False, ["web/provision:1"], [])
    failed = next(event for event in events if event["event"] == "failed")
    assert (failed["exit_code"], failed["tail"]) == (3, ["hello"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_verbs_and_options(shop: Shop, shell: str) -> None:
    script = shop.run("completion", shell).stdout
    assert [verb for verb in VERBS if verb not in script] == []
    assert "remove-orphans" in script


def test_completion_of_bash_completes(shop: Shop) -> None:
    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        code = (
            f"source <(envup completion bash); COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _envup;"
            ' printf "%s\\n" "${COMPREPLY[@]}"'
        )
        path = f"{Path(__import__('sys').executable).parent}:/usr/bin:/bin"
        environment = shop.environment | {"PATH": path}
        call = ["bash", "-ec", code]
        return subprocess.run(
            call, cwd=shop.directory, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    assert complete("envup", "st") == ["status", "stop"]
    assert complete("envup", "up", "--rec") == ["--recreate"]
    assert complete("envup", "exec", "") == ["db", "web"]
    assert complete("envup", "completion", "z") == ["zsh"]
    assert complete("env", "FOO=1", "") == []


def test_prune_forgets_an_environment_whose_directory_has_another_id_by_now(shop: Shop) -> None:
    shop.write("image: host\nprovider: pretend\nmounts: []\nhostname: refused\n")
    assert shop.run("up").returncode == 1
    before = shop.json("list")["environments"]
    assert [one["machines"] for one in before] == [[]]
    assert shop.json("prune")["forgotten"] == []
    (shop.directory / ".envup/environment.json").unlink()
    assert shop.json("prune")["forgotten"] == [str(shop.directory)]
    assert shop.json("list")["environments"] == []
