"""The image source `debootstrap`: a system made from Debian packages, by mmdebstrap or else by debootstrap."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup.errors import EnvupError
from envup.events import Event
from envup.image import FetchContext, Fetched, ImageSource
from envup.images import subordinate, tools
from envup.model import HostCode, Pin

if TYPE_CHECKING:
    from envup.images.sources.mmdebstrap import Recipe

_ARCHITECTURES = {
    "x86_64": "amd64",
    "i686": "i386",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "riscv64": "riscv64",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
}
"""uname(2)'s machine to Debian's name."""

_APT_LEFTOVERS = (
    "./var/cache/apt/*.bin",
    "./var/cache/apt/archives/*.deb",
    "./var/lib/apt/lists/*",
    "./var/log/bootstrap.log",
)


class Debootstrap(ImageSource):
    """`image: debian/bookworm` and `image: {debootstrap: {…}}`."""

    name = "debootstrap"

    def title(self, options: Mapping[str, Any]) -> str:
        """Distribution, suite and architecture."""
        architecture = options.get("architecture") or native_architecture()
        return f"{options.get('distribution') or 'debian'}/{options['suite']}@{architecture}"

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The architecture, which is the host's by default."""
        return {"architecture": options.get("architecture") or native_architecture()}

    def host_code(self, options: Mapping[str, Any]) -> HostCode | None:
        """Programs of the packages run while they are installed, as root where envup is. That they come from the
        distribution is known by its keys, which `keyring` and options of a line in `mirror` set aside."""
        mirror, keyring = str(options.get("mirror") or ""), str(options.get("keyring") or "")
        if not keyring and "[" not in mirror:
            return None
        what = f"installs packages that {keyring or 'nobody'} signs, from {mirror or 'the default mirror'}"
        return HostCode(what, tuple(Path(path) for path in (keyring,) if path))

    def require_pin(self, pin: Pin) -> None:
        """That says which packages there are, which debootstrap does not."""
        if not pin.facts:
            brief = "what debootstrap has built cannot be built again, and is not locked"
            raise EnvupError(brief, hint="run: apt-get install mmdebstrap; then `env lock --update`")

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        from envup.images.sources import mmdebstrap

        recipe = _recipe(options, context.pin)
        tool = _tool(recipe)
        text = f"building {recipe.title} ({recipe.architecture}) with {Path(tool).name}"
        context.emit(Event("progress", text=text))
        try:
            if Path(tool).name == "mmdebstrap":
                return Fetched(recipe.architecture, pin=mmdebstrap.build(tool, recipe, archive, context))
            _with_debootstrap(tool, recipe, archive, context)
        except tools.ToolError as error:
            hint = (
                error.hint or "check the names of suite, variant and packages, the mirror, and the network of this host"
            )
            raise EnvupError(f"cannot build {recipe.title}: {error.brief}", details=error.details, hint=hint) from error
        return Fetched(recipe.architecture)


def native_architecture() -> str:
    """Debian's name of the host's architecture; the kernel's own where it is not known."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def _recipe(options: Mapping[str, Any], pin: Pin | None) -> Recipe:
    from envup.images.sources import debian
    from envup.images.sources.mmdebstrap import Recipe

    distribution, suite = str(options.get("distribution") or "debian"), str(options["suite"])
    architecture = str(options.get("architecture") or native_architecture())
    components = tuple(options.get("components") or ("main",))
    mirror = str(options.get("mirror") or "")
    mirrors = (mirror,) if mirror else debian.locked_mirrors(pin) if pin else ()
    mirrors = mirrors or _host_mirrors(distribution, suite, components, architecture)
    include = tuple(options.get("include") or ())
    if any("https://" in line for line in mirrors) and "ca-certificates" not in include:
        include = (*include, "ca-certificates")  # without it, apt in the machine cannot reach its own mirror
    keyring = str(options.get("keyring") or "") or _foreign_keyring(distribution, mirror)
    variant = str(options.get("variant") or "minbase")
    moment = debian.locked_time(pin) if pin else debian.moment_of(mirror, time.time())
    return Recipe(
        distribution,
        suite,
        variant,
        components,
        include,
        architecture,
        keyring,
        mirrors,
        own_mirrors=not mirror,
        time=moment,
        packages=debian.locked_packages(pin) if pin else {},
    )


def _host_mirrors(distribution: str, suite: str, components: Sequence[str], architecture: str) -> tuple[str, ...]:
    from envup.images import aptsources

    at_ports = distribution == "ubuntu" and architecture not in (native_architecture(), "i386")
    return () if at_ports else aptsources.mirrors(distribution, suite, components)


def _foreign_keyring(distribution: str, mirror: str) -> str:
    """The keyring of a distribution that is not the host's; empty for the host's own, whose keys the tools know."""
    from envup.images import aptsources

    if aptsources.release().get("ID") == distribution:
        return ""
    if distribution not in ("debian", "ubuntu") and not mirror:
        raise EnvupError(
            f"where to get {distribution} from is not known on this host",
            hint="give the image a `mirror:` and a `keyring:`",
        )
    keyring = Path(f"/usr/share/keyrings/{distribution}-archive-keyring.gpg")
    if not keyring.exists():
        raise EnvupError(
            f"the keys that sign {distribution} are not on this host",
            hint=f"run: apt-get install {distribution}-archive-keyring; or give the image a `keyring:`",
        )
    return str(keyring)


def _tool(recipe: Recipe) -> str:
    """mmdebstrap where it is, else debootstrap. Errors: `EnvupError` with the remedy where neither can be used."""
    what = f"building {recipe.title}"
    better = shutil.which("mmdebstrap", path=tools.search_path())
    debootstrap = shutil.which("debootstrap", path=tools.search_path())
    if better:
        if os.geteuid():
            subordinate.require(what)
        if recipe.architecture != native_architecture():
            tools.require("arch-test", "arch-test", f"{what} for {recipe.architecture}")
        return better
    if debootstrap and not os.geteuid() and not recipe.packages:
        return debootstrap
    needs = (
        "needs the program mmdebstrap"
        if os.geteuid() or recipe.packages
        else "needs the program mmdebstrap or debootstrap"
    )
    raise EnvupError(f"{what} {needs}", hint="run: apt-get install mmdebstrap")


def _with_debootstrap(tool: str, recipe: Recipe, archive: Path, context: FetchContext) -> None:
    from envup.images.sources.directory import pack

    root = context.work / "root"
    uri = next((line.split()[1] if line.startswith("deb ") else line for line in recipe.mirrors), "")
    argv = [
        *("unshare", "--mount", "--"),  # so that what it mounts below root is gone when it ends, however it ends
        tool,
        *([f"--variant={recipe.variant}"] if recipe.variant != "standard" else []),
        f"--arch={recipe.architecture}",
        f"--components={','.join(recipe.components)}",
        *([f"--include={','.join(recipe.include)}"] if recipe.include else []),
        *([f"--keyring={recipe.keyring}"] if recipe.keyring else []),
        recipe.suite,
        str(root),
        *([uri] if uri else []),
    ]
    variables = {"PATH": tools.search_path(), "SOURCE_DATE_EPOCH": str(recipe.time), "TMPDIR": str(context.work)}
    tools.run(argv, emit=context.emit, environment=variables)
    lines = [line for line in recipe.mirrors if line.startswith("deb ")]
    if lines:
        (root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
    pack(root, archive, context, exclude=_APT_LEFTOVERS)
