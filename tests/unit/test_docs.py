"""The documentation names everything that there is: verbs, keys, hooks, methods, and files that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envup import hookspecs
from envup.envfile.load import load
from envup.home import Home
from envup.plan import VERBS as ACTIONS
from envup.plugins import Host
from envup.provider import (
    Console,
    Dial,
    Export,
    Flush,
    ImageForms,
    Layers,
    MemoryLayers,
    OwnImages,
    Pause,
    Provider,
    Resize,
    Snapshots,
    Suspend,
)
from envup.shim import VERBS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
SCHEMA: dict[str, Any] = json.loads((ROOT / "envfile.schema.json").read_text())["$defs"]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_documented(verb: str) -> None:
    assert re.search(rf"`(env )?{verb}\b", page("cli.md"))


@pytest.mark.parametrize("key", sorted(SCHEMA["file"]["properties"] | SCHEMA["machine"]["properties"]))
def test_every_key_of_a_file_and_of_a_machine_is_documented(key: str) -> None:
    assert re.search(rf"^\|.*`{key}`", page("envfile.md"), re.MULTILINE)


@pytest.mark.parametrize("key", sorted(SCHEMA["step"]["properties"]))
def test_every_key_of_a_step_is_documented(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", page("envfile.md").partition("## Steps")[2], re.MULTILINE)


@pytest.mark.parametrize("key", sorted(SCHEMA["debootstrap"]["properties"]))
def test_every_key_of_the_debootstrap_image_is_documented(key: str) -> None:
    form = re.search(r"`{debootstrap: {(.*?)}}` \|", page("envfile.md"))
    assert form and key in form[1].split(", ")


@pytest.mark.parametrize(
    "plugin", sorted(ROOT.glob("provi*/envup_*/options.schema.json")), ids=lambda path: path.parent.name
)
def test_every_option_of_a_plugin_in_the_box_is_documented(plugin: Path) -> None:
    schema = json.loads(plugin.read_text())
    told = "".join(page(name) for name in ("envfile.md", "chroot.md", "docker.md", "lxc.md", "kvm.md", "fabric.md"))
    options = [name for form in (schema, *schema.get("oneOf", ())) for name in form.get("properties", ())]
    assert options
    assert [name for name in options if not re.search(rf"\b{name}\b", told)] == []


def test_every_form_of_an_image_is_documented() -> None:
    forms = [next(iter(form["required"])) for form in SCHEMA["image"]["oneOf"] if "required" in form]
    assert [form for form in forms if f"`{{{form}: " not in page("envfile.md")] == []


def test_every_hook_is_documented() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("envup_")]
    assert hooks
    assert [hook for hook in hooks if f"`{hook}" not in page("plugins.md")] == []


ABILITIES = (
    Resize,
    Suspend,
    Pause,
    Snapshots,
    Export,
    Flush,
    Console,
    Dial,
    Layers,
    MemoryLayers,
    ImageForms,
    OwnImages,
)


@pytest.mark.parametrize("contract", [Provider, *ABILITIES])
def test_every_method_that_a_provider_writes_is_documented(contract: type) -> None:
    methods = contract.__abstractmethods__  # type: ignore[attr-defined]
    assert methods
    assert [name for name in sorted(methods) if not re.search(rf"`{name}[`(]", page("plugins.md"))] == []


def test_no_verb_is_called_otherwise_in_the_documentation() -> None:
    called = {
        (path.name, verb) for path in PAGES for verb in re.findall(r"`env(?:up)? ([a-z][a-z-]*)\b", path.read_text())
    }
    assert called
    assert {(name, verb) for name, verb in called if verb not in VERBS} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        linked = (path.parent / name) if name else path
        assert linked.exists(), target
        assert not heading or heading in _headings(linked), target


def _headings(path: Path) -> list[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles]


def test_the_json_and_python_of_the_plugin_guide_hold() -> None:
    blocks = re.findall(r"```(json|python)\n(.*?)```", page("plugins.md"), re.DOTALL)
    assert {kind for kind, _ in blocks} == {"json", "python"}
    for kind, text in blocks:
        if kind == "json":
            json.loads(text)
        else:
            compile(text, "plugins.md", "exec")


def test_the_architecture_names_every_module_of_the_engine() -> None:
    text = page("architecture.md")
    modules = [
        path.name for path in (ROOT / "core/envup").iterdir() if path.suffix == ".py" and path.stem != "__init__"
    ]
    unnamed = [
        name for name in modules if not re.search(rf"\b{re.escape(name)}", text) and not name.startswith("plugin_")
    ]
    assert unnamed == []


def envfiles() -> Iterator[tuple[str, str]]:
    of_plugins = {path for path in PAGES if (path.parent / "pyproject.toml").exists() and path.parent != ROOT}
    for path in sorted({*PAGES} - of_plugins):
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)):
            yield f"{path.name}-{number}", text if "image:" in text else f"image: host\n{text}"
    for path in sorted(ROOT.glob("examples/*/Envfile")):
        yield f"examples-{path.parent.name}", path.read_text()


@pytest.mark.parametrize("text", [text for _, text in envfiles()], ids=[name for name, _ in envfiles()])
def test_every_envfile_in_the_documentation_holds(
    text: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "t")
    monkeypatch.setenv("REDIS_PASSWORD", "p")
    (tmp_path / "Envfile").write_text(text)
    assert load(tmp_path / "Envfile", Host(Home.locate().make())).machines


def test_every_action_of_a_plan_is_documented() -> None:
    assert [verb for verb in ACTIONS if f"`{verb}`" not in page("cli.md").partition("## JSON")[2]] == []
