"""The plugin host: which plugins there are, and their classes, loaded when they are asked for.

The catalogue comes from the index and imports no plugin. A plugin that is broken is told in the catalogue and is an
error only for who asks for it. `pm.hook` is called here and nowhere else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from envup.errors import EnvupError, UsageError
from envup.plugin_index import Index, PluginInfo, read

if TYPE_CHECKING:
    from pluggy import PluginManager

    from envup.events import Event
    from envup.home import Home
    from envup.image import ImageSource
    from envup.provider import Provider
    from envup.provisioner import Provisioner

__all__ = ["Host", "PluginInfo"]

STRENGTH = {"filesystem": 0, "container": 1, "machine": 2}


class Host:
    """What is installed. The index is kept below the cache of `home`; None takes the user's own."""

    def __init__(self, home: Home | None = None) -> None:
        self._home = home
        self._index: Index | None = None
        self._managers: dict[tuple[str, str], PluginManager] = {}
        self._deaf: set[str] = set()

    def catalog(self) -> tuple[PluginInfo, ...]:
        """All plugins by name, the broken ones too. Imports none; a second call costs nothing."""
        return self._read()[1]

    @property
    def key(self) -> str:
        """A digest of the catalogue; another one means that what an Envfile may say has changed."""
        return self._read()[0]

    @property
    def home(self) -> Home:
        """Where the user's directories are."""
        if self._home is None:
            from envup.home import Home

            self._home = Home.locate()
        return self._home

    def _read(self) -> Index:
        if self._index is None:
            self._index = read(self.home.cache)
        return self._index

    def providers(self) -> tuple[str, ...]:
        """Names of the providers whose manifest holds, the weakest isolation first, then by name."""
        found = [plugin for plugin in self.catalog() if "provider" in plugin.kinds and not plugin.problem]
        return tuple(p.name for p in sorted(found, key=lambda p: (STRENGTH[p.envup["isolation"]], p.name)))

    def names(self, kind: str) -> tuple[str, ...]:
        """Names that an Envfile may use for a plugin of that kind, broken ones included."""
        return tuple(sorted({plugin.name for plugin in self.catalog() if plugin.may_be(kind)}))

    def info(self, kind: str, name: str) -> PluginInfo:
        """The plugin of that kind and name. Errors: `UsageError` naming those that there are."""
        named = [plugin for plugin in self.catalog() if plugin.name == name and plugin.may_be(kind)]
        if named:
            return min(named, key=lambda plugin: kind not in plugin.kinds)
        noun, names = kind.replace("_", " "), ", ".join(self.names(kind))
        raise UsageError(f"no {noun} '{name}' is installed", hint=f"installed: {names}" if names else "")

    def provider(self, name: str) -> type[Provider]:
        """The class of a provider. Errors: `EnvupError` naming the distribution and what is wrong with it."""
        from envup.provider import Provider

        found: type[Provider] = self._class("provider", name, Provider)
        return found

    def provisioner(self, name: str) -> type[Provisioner]:
        """The class of a provisioner. Errors as `provider`."""
        from envup.provisioner import Provisioner

        found: type[Provisioner] = self._class("provisioner", name, Provisioner)
        return found

    def image_source(self, name: str) -> type[ImageSource]:
        """The class of an image source, one of envup's own or of a plugin. Errors as `provider`."""
        from envup.image import ImageSource
        from envup.images.sources import SOURCES

        own = SOURCES.get(name)
        rivals = [plugin for plugin in self.catalog() if plugin.name == name and "image_source" in plugin.kinds]
        if own and rivals:
            raise _unusable(rivals[0], f"envup itself has an image source called '{name}'")
        loaded = getattr(import_module(own[0]), own[1]) if own else self._class("image_source", name, ImageSource)
        found: type[ImageSource] = loaded
        return found

    def notify(self, event: Event) -> tuple[str, ...]:
        """Give an event to the plugins whose manifest says `"events": true`; returns warnings to show. A plugin that
        failed once is not called again by this host."""
        warnings = []
        for plugin in self.catalog():
            if not plugin.envup.get("events") or plugin.problem or plugin.module in self._deaf:
                continue
            try:
                self._manager(plugin).hook.envup_event(event=event)
            except Exception as error:
                self._deaf.add(plugin.module)
                warnings.append(f"the plugin '{plugin.name}' of {_label(plugin)} hears no more events: {_told(error)}")
        return tuple(warnings)

    def _class(self, kind: str, name: str, base: type) -> Any:
        plugin = self.info(kind, name)
        if plugin.problem:
            raise _unusable(plugin, plugin.problem)
        hook = f"envup_{kind}"
        try:
            answers = getattr(self._manager(plugin).hook, hook)()
        except EnvupError:
            raise
        except Exception as error:
            raise _unusable(plugin, f"its hook {hook} failed: {_told(error)}") from error
        if problem := _class_problem(answers, hook, base):
            raise _unusable(plugin, problem)
        return answers[0]

    def _manager(self, plugin: PluginInfo) -> PluginManager:
        """A manager that knows this one plugin: what a broken one left behind is never called for another."""
        key = (plugin.distribution, plugin.module)
        if key not in self._managers:
            self._managers[key] = _registered(plugin)
        return self._managers[key]


def _registered(plugin: PluginInfo) -> PluginManager:
    install = plugin.envup.get("install", "")
    try:
        module = import_module(plugin.module)
    except (Exception, SystemExit) as error:
        problem = f"its module {plugin.module} cannot be imported: {_told(error)}"
        raise _unusable(plugin, problem, hint=f"run: {install}" if install else "") from error

    from pluggy import PluginManager, PluginValidationError

    from envup import hookspecs

    manager = PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name=plugin.name)
        manager.check_pending()
    except (PluginValidationError, ValueError) as error:
        raise _unusable(plugin, " ".join(str(error).split())) from error
    return manager


def _class_problem(answers: list[Any], hook: str, base: type) -> str:
    if not answers:
        return f"its module has no function {hook} that is marked as a hook, or that function returns nothing"
    answer = answers[0]
    if not (isinstance(answer, type) and issubclass(answer, base)):
        return f"its {hook} must return a class derived from {base.__name__}, not {answer!r}"
    if missing := sorted(getattr(answer, "__abstractmethods__", ())):
        return f"its class {answer.__name__} does not implement {', '.join(missing)}"
    return ""


def _label(plugin: PluginInfo) -> str:
    return f"the distribution {plugin.distribution} {plugin.version}"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _unusable(plugin: PluginInfo, problem: str, *, hint: str = "") -> EnvupError:
    brief = f"the plugin '{plugin.name}' of {_label(plugin)} cannot be used"
    return EnvupError(brief, details=problem, hint=hint or f"update or remove {_label(plugin)}")
