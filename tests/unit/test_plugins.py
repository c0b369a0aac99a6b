"""Plugins are found without importing them, loaded when they are asked for, and break only what uses them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import fake_plugins
import pytest
from fake_plugins import install, install_provider, manifest

from envup.errors import EnvupError, UsageError
from envup.events import Event
from envup.files import write_atomically
from envup.home import Home
from envup.plugins import Host, PluginInfo

HOOK = "import pluggy\nhook = pluggy.HookimplMarker('envup')\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site"
    path.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(path))
    for name in [name for name in sys.modules if name.startswith("plugin_") and name not in before]:
        monkeypatch.delitem(sys.modules, name)
    return path


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test imports its plugins itself."""
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def new_host(tmp_path: Path) -> Callable[[], Host]:
    return lambda: Host(Home(tmp_path / "data", tmp_path / "cache", tmp_path / "run"))


def named(host: Host, name: str) -> PluginInfo:
    return next(plugin for plugin in host.catalog() if plugin.name == name)


def refusal(call: Callable[[], object]) -> EnvupError:
    with pytest.raises(EnvupError) as caught:
        call()
    return caught.value


def test_the_catalogue_tells_names_versions_and_kinds_and_imports_nothing(
    site: Path, new_host: Callable[[], Host]
) -> None:
    install_provider(site, "box", "container", install="pip install box-sdk")
    box = named(new_host(), "box")
    assert (box.module, box.distribution, box.version, box.kinds) == ("plugin_box", "dist-box", "1.5", ("provider",))
    assert box.envup["install"] == "pip install box-sdk"
    assert not box.problem
    assert "plugin_box" not in sys.modules


def test_a_plugin_in_a_submodule_is_described_without_importing_what_is_around_it(
    site: Path, new_host: Callable[[], Host]
) -> None:
    schema = manifest("provider", isolation="machine")
    install(
        site,
        "deep",
        schema=schema,
        module="plugin_outer.inner.deep",
        code=fake_plugins.PROVIDER.format(name="deep", isolation="machine"),
    )
    host = new_host()
    assert named(host, "deep").kinds == ("provider",)
    assert not [name for name in sys.modules if name.startswith("plugin_outer")]
    assert host.provider("deep").__name__ == "Machines"


def test_providers_come_in_the_order_of_strength_and_then_of_names(site: Path, new_host: Callable[[], Host]) -> None:
    for name, isolation in {"av": "machine", "zc": "container", "ac": "container", "zf": "filesystem"}.items():
        install_provider(site, name, isolation)
    names = [name for name in new_host().providers() if name in ("av", "zc", "ac", "zf")]
    assert names == ["zf", "ac", "zc", "av"]


def test_a_provider_is_loaded_when_it_is_asked_for(site: Path, new_host: Callable[[], Host]) -> None:
    install_provider(site, "box", "container")
    host = new_host()
    assert host.provider("box") is host.provider("box")
    assert host.provider("box").isolation == "container"


def test_an_unknown_name_is_a_mistake_of_usage_that_lists_the_known(site: Path, new_host: Callable[[], Host]) -> None:
    install_provider(site, "box", "container")
    error = refusal(lambda: new_host().provider("bax"))
    assert isinstance(error, UsageError)
    assert "box" in error.hint


def test_a_missing_sdk_says_how_to_install_it(site: Path, new_host: Callable[[], Host]) -> None:
    schema = manifest("provider", isolation="container", install="pip install 'box[sdk]'")
    install(site, "box", schema=schema, code="import no_such_sdk\n")
    host = new_host()
    assert "box" in host.providers()
    error = refusal(lambda: host.provider("box"))
    assert "dist-box 1.5" in error.brief
    assert "no_such_sdk" in error.details
    assert error.hint == "run: pip install 'box[sdk]'"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def broken(:", "SyntaxError"),
        ("", "envup_provider"),
        (HOOK + "@hook\ndef envup_provdier(): pass\n", "envup_provdier"),
        (HOOK + "@hook\ndef envup_provider(surprise): pass\n", "surprise"),
        (HOOK + "@hook\ndef envup_provider(): return None\n", "that function returns nothing"),
        (HOOK + "@hook\ndef envup_provider(): return dict\n", "derived from Provider"),
        (HOOK + "@hook\ndef envup_provider(): return 5\n", "derived from Provider"),
        (HOOK + "@hook\ndef envup_provider(): raise ValueError('bang')\n", "bang"),
        (HOOK + "from envup.provider import Provider\nclass P(Provider): pass\n@hook\ndef envup_provider(): return P\n",
         "does not implement command"),
    ],
)  # fmt: skip
def test_a_plugin_that_does_not_load_is_one_error_that_names_its_distribution(
    site: Path, new_host: Callable[[], Host], code: str, told: str
) -> None:
    install(site, "bad", schema=manifest("provider", isolation="container"), code=code)
    install_provider(site, "good", "container")
    host = new_host()
    error = refusal(lambda: host.provider("bad"))
    assert "dist-bad 1.5" in error.brief
    assert told in error.details
    assert error.hint
    assert host.provider("good")


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ({}, "x-envup"),
        ({"x-envup": {"api": 2, "kinds": ["provider"]}}, "version 2 of the plugin interface"),
        ({"x-envup": {"api": 1}}, "no 'kinds'"),
        ({"x-envup": {"api": 1, "kinds": "provider"}}, "no 'kinds'"),
        ({"x-envup": {"api": 1, "kinds": ["providr"]}}, "unknown kind 'providr'"),
        ({"x-envup": {"api": 1, "kinds": ["provider"]}}, "isolation"),
        ({"x-envup": {"api": 1, "kinds": ["provider"], "isolation": "strong"}}, "isolation"),
        ({"type": 5, "x-envup": {"api": 1, "kinds": ["provisioner"]}}, "not a JSON schema"),
        ({"pattern": "(", "x-envup": {"api": 1, "kinds": ["provisioner"]}}, "not a JSON schema"),
        ({"$ref": "http://example.org/a", "x-envup": {"api": 1, "kinds": ["provisioner"]}}, "refers to"),
        ({"$ref": "#/$defs/a", "x-envup": {"api": 1, "kinds": ["provisioner"]}}, "refers to"),
        ({"properties": {"a": {"x-consent": True}}, "x-envup": {"api": 1, "kinds": ["provisioner"]}}, "at 'a'"),
        ({"properties": {"a": {"x-consent-when": {}}}, "x-envup": {"api": 1, "kinds": ["provisioner"]}}, "says why"),
        (
            {
                "properties": {"a": {"x-consent": "why", "x-consent-when": {"type": 5}}},
                "x-envup": {"api": 1, "kinds": ["provisioner"]},
            },
            "not a JSON schema",
        ),
    ],
)
def test_a_manifest_that_does_not_hold_is_told_in_the_catalogue_and_to_who_asks(
    site: Path, new_host: Callable[[], Host], schema: object, told: str
) -> None:
    install(site, "bad", schema=schema)  # type: ignore[arg-type]
    host = new_host()
    bad = named(host, "bad")
    assert told in bad.problem
    assert "bad" not in host.providers()
    kind = bad.kinds[0] if bad.kinds else "provider"
    error = refusal(lambda: getattr(host, kind)("bad"))
    assert "dist-bad" in error.brief
    assert told in error.details


@pytest.mark.parametrize("value", ["no_such_module", "plugin_bad:function", "plugin_bad.no_such", ""])
def test_an_entry_point_that_leads_nowhere_is_a_problem(site: Path, new_host: Callable[[], Host], value: str) -> None:
    install(site, "bad", schema=manifest("provisioner"), value=value or " ")
    assert named(new_host(), "bad").problem


def test_a_plugin_cannot_take_the_name_of_a_key_of_the_envfile(site: Path, new_host: Callable[[], Host]) -> None:
    install_provider(site, "image", "container")
    install(site, "run", schema=manifest("provisioner"))
    host = new_host()
    assert "key of the Envfile" in named(host, "image").problem
    assert "key of the Envfile" in named(host, "run").problem


def test_two_plugins_of_one_name_and_kind_are_told_and_neither_is_used(
    site: Path, new_host: Callable[[], Host]
) -> None:
    install_provider(site, "box", "container")
    schema = manifest("provider", isolation="machine")
    install(site, "box", schema=schema, distribution="rival", module="plugin_rival")
    host = new_host()
    assert "box" not in host.providers()
    error = refusal(lambda: host.provider("box"))
    assert "dist-box" in error.details
    assert "rival" in error.details


def test_two_plugins_of_one_name_and_different_kinds_live_together(site: Path, new_host: Callable[[], Host]) -> None:
    install_provider(site, "box", "container")
    install(site, "box", schema=manifest("provisioner"), distribution="other", module="plugin_other")
    host = new_host()
    assert host.provider("box")
    assert host.info("provisioner", "box").distribution == "other"


def test_a_damaged_list_of_entry_points_stops_nothing(site: Path, new_host: Callable[[], Host]) -> None:
    install_provider(site, "box", "container")
    (site / "dist_bad-1.0.dist-info").mkdir()
    (site / "dist_bad-1.0.dist-info" / "entry_points.txt").write_bytes(b"[envup]\nno equals sign\n")
    (site / "dist_ugly-1.0.dist-info").mkdir()
    (site / "dist_ugly-1.0.dist-info" / "entry_points.txt").write_bytes(b"[envup]\n\xff\xfe = x\n")
    assert new_host().provider("box")


def test_events_reach_only_plugins_that_ask_for_them(site: Path, new_host: Callable[[], Host]) -> None:
    hear = HOOK + "heard = []\n@hook\ndef envup_event(event):\n    heard.append(event.kind)\n"
    install(site, "ear", code=hear, schema={"x-envup": {"api": 1, "kinds": [], "events": True}})
    install(site, "deaf", code=hear, schema=manifest("provisioner"))
    host = new_host()
    assert host.notify(Event("note")) == ()
    assert sys.modules["plugin_ear"].heard == ["note"]
    assert "plugin_deaf" not in sys.modules


def test_a_listener_that_fails_is_warned_of_once(site: Path, new_host: Callable[[], Host]) -> None:
    code = HOOK + "@hook\ndef envup_event(event):\n    raise ValueError('bang')\n"
    install(site, "ear", code=code, schema={"x-envup": {"api": 1, "kinds": [], "events": True}})
    host = new_host()
    (warning,) = host.notify(Event("note"))
    assert "bang" in warning
    assert "dist-ear" in warning
    assert host.notify(Event("note")) == ()


def test_the_own_image_sources_are_there_and_a_plugin_cannot_replace_one(
    site: Path, new_host: Callable[[], Host]
) -> None:
    assert new_host().image_source("tarball").name == "tarball"
    install(site, "tarball", schema=manifest("image_source"))
    assert "dist-tarball" in refusal(lambda: new_host().image_source("tarball")).brief
    assert new_host().image_source("directory").name == "directory"


def discoveries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    import envup.plugin_discovery

    count: list[int] = []
    original = envup.plugin_discovery.discover

    def discover() -> object:
        count.append(1)
        return original()

    monkeypatch.setattr(envup.plugin_discovery, "discover", discover)
    return count


def test_the_index_is_made_again_only_after_a_change(
    site: Path, new_host: Callable[[], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = discoveries(monkeypatch)
    package = install_provider(site, "box", "container")
    first = new_host()
    assert named(first, "box").kinds == ("provider",)
    assert new_host().catalog() == first.catalog()
    assert len(count) == 1
    (package / "options.schema.json").write_text(json.dumps(manifest("provisioner")))
    assert named(new_host(), "box").kinds == ("provisioner",)
    assert new_host().key != first.key
    install_provider(site, "late", "machine")
    assert named(new_host(), "late").kinds == ("provider",)
    assert len(count) == 3


@pytest.mark.parametrize("damage", ["", "{}", "[]", "null", '{"stamps": [], "plugins": [[]], "key": ""}', "\0"])
def test_a_damaged_index_is_made_again(site: Path, new_host: Callable[[], Host], tmp_path: Path, damage: str) -> None:
    install_provider(site, "box", "container")
    expected = new_host().catalog()
    (file,) = (tmp_path / "cache").glob("plugins-*.json")
    file.write_text(damage)
    assert new_host().catalog() == expected
    assert named(new_host(), "box")
    assert file.read_text() != damage
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [file.name]


def test_an_index_that_cannot_be_written_is_no_error(site: Path, tmp_path: Path) -> None:
    install_provider(site, "box", "container")
    (tmp_path / "file").write_text("in the way")
    host = Host(Home(tmp_path, tmp_path / "file", tmp_path))
    assert named(host, "box")


def test_a_private_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, b"new", mode=0o600)
    assert (link.read_text(), target.read_text()) == ("new", "old")
    assert link.stat().st_mode & 0o777 == 0o600
