"""Consent on the command line: asked for once and kept, asked again after a change, refused where nobody is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_console import Console
from cli_shop import Shop
from fake_plugins import install, manifest

Fits = Callable[[str, Any], None]

HEAD = "name: shop\nprovider: pretend\nmounts: []\n"
KINDS = {
    "mount": (HEAD.replace("[]", "['@OUT@:/out']") + "image: host\n", "default: mounts @OUT@ at /out, writable"),
    "option": (HEAD + "image: host\npretend: {level: 1}\n", "default: pretend.level: 1 (a height)"),
    "image": (HEAD + "image: {hostly: @FILE@}\n", "default: runs @FILE@ on this host"),
    "dockerfile": (
        HEAD + "image: {dockerfile: Dockerfile, context: .}\n",
        "default: builds @DIRECTORY@/Dockerfile in a Docker engine, which is given @DIRECTORY@",
    ),
    "fabfile": (
        HEAD + "image: host\nprovision: [{name: deploy, fabric: go}]\n",
        "default: step 'deploy' runs go of fabfile on this host",
    ),
    "step": (
        HEAD + "image: host\nprovision: [{name: deploy, hostly: task.sh}]\n",
        "default: step 'deploy' runs task.sh on this host",
    ),
}
ENVFILES = {kind: text for kind, (text, _line) in KINDS.items()}
CARRIED_OUT = sorted(KINDS.keys() - {"dockerfile"})
"""Kinds that come to an end without a Docker engine."""
FABFILE = """\
from fabric import task


@task
def go(connection):
    connection.local("sh task.sh")
"""
QUESTION = "Do you agree? [y/N] "


@pytest.fixture
def shop(shop: Shop, tmp_path: Path) -> Shop:
    """A project with plugins that run a script of it on the host, which leaves a line in `ran`."""
    site, code = tmp_path / "site", (Path(__file__).parent / "hostly.py").read_text()
    schema = {"type": "string", "x-envup": manifest("provisioner", "image_source")["x-envup"]}
    install(site, "hostly", code=code, schema=schema)
    schema = manifest("provider", isolation="container")
    schema["properties"]["level"] |= {"x-consent": "a height", "x-apply": "restart"}
    install(site, "pretend", code=(Path(__file__).parent / "pretend.py").read_text(), schema=schema)
    (tmp_path / "out").mkdir()
    (shop.directory / "task.sh").write_text("echo one >> ran\n")
    (shop.directory / "Dockerfile").write_text("FROM scratch\n")
    (shop.directory / "fabfile.py").write_text(FABFILE)
    return shop


def filled(shop: Shop, text: str) -> str:
    words = {"@OUT@": shop.directory.parent / "out", "@FILE@": shop.directory / "task.sh"}
    for sign, path in (words | {"@DIRECTORY@": shop.directory}).items():
        text = text.replace(sign, str(path))
    return text


def declare(shop: Shop, kind: str) -> str:
    """Write the Envfile of that kind; the line that is asked for."""
    text, line = KINDS[kind]
    shop.write(filled(shop, text))
    return filled(shop, line)


def change(shop: Shop, kind: str) -> None:
    """Have that which was agreed to be another one."""
    envfile = shop.directory / "Envfile"
    edits = {"mount": (":/out", ":/elsewhere"), "option": ("level: 1", "level: 2")}
    files = {
        "dockerfile": ("Dockerfile", "FROM scratch\nLABEL two=two\n"),
        "fabfile": ("fabfile.py", FABFILE.replace("sh task.sh", "echo two >> ran")),
    }
    if kind in edits:
        envfile.write_text(envfile.read_text().replace(*edits[kind]))
    else:
        name, text = files.get(kind, ("task.sh", "echo two >> ran\n"))
        (shop.directory / name).write_text(text)


def refused(shop: Shop, *argv: str) -> list[str]:
    """What a command that nobody agrees to asks for."""
    done = shop.run(*argv)
    assert (done.returncode, done.stdout) == (2, ""), done
    brief, *details, hint = done.stderr.splitlines()
    assert "needs your consent; nothing was changed" in brief
    assert "--trust" in hint
    return [line.strip() for line in details]


def ran(shop: Shop) -> list[str]:
    file = shop.directory / "ran"
    return file.read_text().split() if file.exists() else []


def states(shop: Shop) -> set[str]:
    return {machine["state"] for machine in shop.json("status")["machines"]}


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_terminal_it_is_refused_before_anything_is_changed(shop: Shop, kind: str) -> None:
    line = declare(shop, kind)
    assert refused(shop, "up") == [line]
    assert refused(shop, "up", "--yes") == [line], "--yes is about losing machines"
    assert (states(shop), ran(shop)) == ({"absent"}, [])


@pytest.mark.parametrize("kind", CARRIED_OUT)
def test_it_is_agreed_to_once_and_again_after_a_change(shop: Shop, kind: str) -> None:
    line = declare(shop, kind)
    assert f"agreed: {line.partition(': ')[2]}" in shop.run("up", "--trust").stdout
    assert states(shop) == {"running"}
    first = ran(shop)
    for again in (("up",), ("restart",), ("up", "--recreate")):
        assert shop.run(*again).returncode == 0
    change(shop, kind)
    (asked,) = refused(shop, "up", "--recreate")
    assert ran(shop).count("two") == 0
    assert ran(shop)[: len(first)] == first
    assert shop.run("up", "--recreate", "--trust").returncode == 0
    assert states(shop) == {"running"}
    assert asked.startswith("default: ")
    assert shop.run("up", "--recreate").returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_terminal_it_is_asked_for_and_the_answer_is_kept(shop: Shop, kind: str) -> None:
    line = declare(shop, kind)
    no = Console(shop, "up")
    no.until(QUESTION)
    assert f"  {line}\r\n" in no.text
    no.type("\n")
    assert no.end() == 1
    assert "not agreed; nothing was changed" in no.text
    assert (states(shop), ran(shop)) == ({"absent"}, [])
    yes = Console(shop, "up")
    yes.until(QUESTION)
    yes.type("y\n")
    goes = kind in CARRIED_OUT
    assert yes.end() == (0 if goes else 1)
    again = Console(shop, "up")
    assert again.end() == (0 if goes else 1)
    assert QUESTION not in again.text
    change(shop, kind)
    changed = Console(shop, "up", "--recreate")
    changed.until(QUESTION)
    changed.type("n\n")
    assert changed.end() == 1


def test_a_list_that_grows_is_asked_for_what_is_new(shop: Shop) -> None:
    declare(shop, "step")
    shop.run("up", "--trust")
    text = filled(shop, ENVFILES["step"]).replace("mounts: []", f"mounts: ['{shop.directory.parent}/out:/out']")
    shop.write(text)
    assert refused(shop, "up") == [f"default: mounts {shop.directory.parent}/out at /out, writable"]


def test_an_envfile_that_stays_within_its_machines_never_asks(shop: Shop) -> None:
    console = Console(shop, "up")
    assert console.end() == 0
    assert QUESTION not in console.text
    assert shop.run("trust").stdout == "the Envfile asks for nothing that reaches beyond its machines\n"
    assert shop.json("trust")["demands"] == []


def test_what_is_not_carried_out_is_not_asked_for(shop: Shop) -> None:
    declare(shop, "step")
    assert shop.run("up", "--no-provision").returncode == 0
    line = "default: step 'deploy' runs task.sh on this host"
    assert refused(shop, "provision") == [line]
    assert refused(shop, "up") == [line]
    assert shop.run("provision", "--trust").returncode == 0
    assert ran(shop) == ["one"]
    shop.write(ENVFILES["step"].replace("name: deploy,", "name: deploy, run: never,"))
    shop.run("trust", "--withdraw")
    assert shop.run("up", "--recreate").returncode == 0
    assert refused(shop, "provision", "--only", "deploy") == [line]


def test_plan_shows_what_would_be_asked_and_asks_for_nothing(shop: Shop, fits: Fits) -> None:
    line = declare(shop, "mount")
    assert f"consent: {line}\n" in shop.run("plan").stdout
    plan = shop.json("plan")
    fits("plan", plan)
    (demand,) = plan["consent"]
    assert (demand["kind"], demand["machine"], f"default: {demand['text']}") == ("mount", "default", line)
    shop.run("up", "--trust")
    assert "consent: " not in shop.run("plan").stdout
    assert shop.json("plan")["consent"] == []


def test_trust_shows_what_is_agreed_to_and_takes_it_back(shop: Shop, fits: Fits) -> None:
    declare(shop, "mount")
    assert shop.run("trust").stdout.splitlines()[1].startswith("pending  default  mounts ")
    shop.run("up", "--trust")
    assert shop.run("trust").stdout.splitlines()[1].startswith("agreed   default  mounts ")
    document = shop.json("trust")
    fits("trust", document)
    assert [demand["agreed"] for demand in document["demands"]] == [True]
    withdrawn = shop.json("trust", "--withdraw")
    fits("trust", withdrawn)
    assert withdrawn["withdrawn"] == 1
    assert states(shop) == {"running"}
    assert shop.run("up").returncode == 0, "nothing is to be done, so nothing is asked"
    assert len(refused(shop, "restart")) == 1
    assert states(shop) == {"running"}
    assert shop.run("trust", "--withdraw").stdout == "0 withdrawn; what runs goes on as it is\n"


def test_answers_outlive_machines_and_what_the_project_keeps(shop: Shop) -> None:
    declare(shop, "step")
    shop.run("up", "--trust")
    shop.run("destroy", "--yes")
    for file in sorted((shop.directory / ".envup").iterdir()):
        file.unlink()
    (shop.directory / ".envup").rmdir()
    assert shop.run("up").returncode == 0


def test_a_copy_of_a_project_asks_again(shop: Shop, tmp_path: Path) -> None:
    declare(shop, "option")
    shop.run("up", "--trust")
    copy = Shop(tmp_path / "copy", shop.environment)
    copy.directory.mkdir()
    copy.write((shop.directory / "Envfile").read_text())
    assert len(refused(copy, "up")) == 1


def test_prune_forgets_answers_for_a_directory_that_is_gone(shop: Shop, tmp_path: Path) -> None:
    declare(shop, "option")
    shop.run("up", "--trust")
    shop.run("destroy", "--yes")
    trust = tmp_path / "home/data/trust"
    shop.run("prune")
    assert len(list(trust.iterdir())) == 1
    shop.directory.rename(tmp_path / "moved")
    shop.directory = tmp_path
    shop.run("prune")
    assert list(trust.iterdir()) == []


def test_json_tells_what_is_asked_and_never_asks(shop: Shop, fits: Fits) -> None:
    declare(shop, "option")
    console = Console(shop, "up", "--json")
    assert console.end() == 2
    assert QUESTION not in console.text
    asked, error = shop.events("up", code=2)
    fits("event", asked)
    fits("event", error)
    assert (asked["event"], asked["kind"], asked["machine"], asked["agreed"]) == ("consent", "option", "default", False)
    assert asked["text"] == "pretend.level: 1 (a height)"
    assert error["code"] == 2
    events = shop.events("up", "--trust")
    assert [event["agreed"] for event in events if event["event"] == "consent"] == [True]
    assert [event for event in shop.events("restart") if event["event"] == "consent"] == []


def test_a_machine_cannot_change_what_the_command_at_work_runs_on_the_host(shop: Shop) -> None:
    evil = f"echo 'echo evil >> ran' > {shop.directory}/task.sh"
    shop.write(f'{HEAD}image: host\nprovision: [shell: "{evil}", {{name: deploy, hostly: task.sh}}]\n')
    done = shop.run("up", "--trust")
    assert done.returncode == 1
    assert "you did not agree to it, or it has changed since" in done.stderr
    assert ran(shop) == []
    assert refused(shop, "up") == ["default: step 'deploy' runs task.sh on this host"]


def test_a_machine_cannot_lead_a_mount_out_of_the_project(shop: Shop) -> None:
    lead_out = f"rmdir {shop.directory}/data; ln -s / {shop.directory}/data"
    shop.write(
        "name: shop\ndefaults: {image: host, provider: pretend, mounts: []}\nmachines:\n"
        f"  one: {{provision: [shell: '{lead_out}']}}\n"
        "  two: {mounts: ['data:/data'], depends_on: {one: provisioned}}\n"
    )
    (shop.directory / "data").mkdir()
    done = shop.run("up")
    assert done.returncode == 1, done
    assert f"two: mounts {shop.directory}/data, which is /, at /data, writable" in done.stderr
    assert {machine["name"]: machine["state"] for machine in shop.json("status")["machines"]}["two"] != "running"


def test_a_provider_is_not_asked_about_options_before_they_are_agreed_to(shop: Shop, tmp_path: Path) -> None:
    declare(shop, "option")
    data = tmp_path / "home/data/providers/pretend"
    data.mkdir(parents=True)
    (data / "refuses").touch()
    assert "mounts: the source is gone" not in shop.run("plan").stderr
    assert len(refused(shop, "up")) == 1
    done = shop.run("up", "--trust")
    assert done.returncode == 2
    assert "mounts: the source is gone" in done.stderr
    assert states(shop) == {"absent"}


def test_a_program_that_the_address_of_a_libvirt_names_does_not_run_before(shop: Shop) -> None:
    program = shop.directory / "program"
    program.write_text(f"#!/bin/sh\ntouch {shop.directory}/ran\n")
    program.chmod(0o755)
    uri = f"qemu+ext://host/system?command={program}"
    shop.write(f"image: {{tarball: /dev/null}}\nmounts: []\nprovider: kvm\nkvm: {{cpu: EPYC, uri: '{uri}'}}\n")
    for verb in ("validate", "plan", "status", "up"):
        shop.run(verb)
        assert not (shop.directory / "ran").exists(), verb
    shop.run("up", "--trust")
    assert (shop.directory / "ran").exists(), "nothing shows that it would have run"


def test_images_build_needs_consent_for_what_it_runs(shop: Shop) -> None:
    line = declare(shop, "image")
    assert refused(shop, "images", "build") == [line]
    assert ran(shop) == []
    assert shop.run("images", "build", "--trust").returncode == 0
    assert ran(shop) == ["one"]
    assert shop.run("images", "build", "--refresh").returncode == 0
    change(shop, "image")
    assert refused(shop, "images", "build") == [line]


def test_a_path_cannot_write_to_the_terminal_that_asks(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "out\x1b[2Kx").mkdir()
    shop.write(f"{HEAD}image: host\n".replace("[]", f'["{tmp_path}/out\\e[2Kx:/out"]'))
    console = Console(shop, "up")
    console.until(QUESTION)
    console.type("n\n")
    assert console.end() == 1
    assert "\x1b[2Kx" not in console.text
    assert "\x1b[2Kx" not in shop.run("up").stderr


def test_answers_that_cannot_be_kept_are_an_error_and_nothing_is_done(shop: Shop, tmp_path: Path) -> None:
    declare(shop, "step")
    (tmp_path / "home/data").mkdir(parents=True)
    (tmp_path / "home/data/trust").touch()
    done = shop.run("up", "--trust")
    assert done.returncode == 1
    assert "cannot keep what you agreed to" in done.stderr
    assert (states(shop), ran(shop)) == ({"absent"}, [])
    os.unlink(tmp_path / "home/data/trust")
    assert shop.run("up", "--trust").returncode == 0
