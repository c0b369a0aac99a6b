"""Building with mmdebstrap so that one recipe always gives one archive, to the byte.

That takes one moment for all that is dated (SOURCE_DATE_EPOCH), given package versions, no variables of the caller, and
nothing in the archive that is of the host or of this one build.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.image import FetchContext
from envup.images import pinning, subordinate, tools
from envup.images.sources.debian import is_snapshot, pin_of
from envup.model import Pin
from envup.value import NOTHING, Value

_MISSING = "envup: the mirror has no "
_DATED = ("""echo 'Acquire::Check-Valid-Until "false";' > "$1/etc/apt/apt.conf.d/00envup" """,)
"""An index is good for some days, for those who ask what is new; here the versions or the mirror say what is wanted."""
_PREFERENCES = '"$1/etc/apt/preferences.d/envup"'
_PINNED = (
    r"printf '%s\n' $ENVUP_PACKAGES | sed 's/^\(.*\)=\(.*\)$/Package: \1\nPin: version \2\nPin-Priority: 1001\n/'"
    f" > {_PREFERENCES}",
    rf"printf 'Package: *\nPin: release *\nPin-Priority: -1\n' >> {_PREFERENCES}",
    'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"',
    "apt-get -q -o APT::Update::Error-Mode=any update",
    r"""names="$(printf '%s\n' $ENVUP_PACKAGES | cut -d= -f1)" """,
    r"""there="$(apt-cache madison $names | sed -n 's/^ *\([^ |]*\) *| *\([^ |]*\) *|.*/\1=\2/p')" """,
    r"""missing="$(printf '%s\n' $ENVUP_PACKAGES | grep -vxF -e "$there" || true)" """,
    rf"""[ -z "$missing" ] || {{ printf '%s\n' "$missing" | sed 's/^/{_MISSING}/'; exit 1; }}""",
)
_CLEANED = (
    'cd "$1"',
    "rm -f etc/apt/preferences.d/envup etc/apt/apt.conf.d/00envup etc/hostname",
    "[ -h etc/resolv.conf ] || rm -f etc/resolv.conf",
    "rm -f var/lib/systemd/random-seed var/lib/urandom/random-seed var/cache/ldconfig/aux-cache",
    "rm -f var/cache/debconf/*-old var/lib/dpkg/*-old",
    "rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*",
    "[ ! -d var/log ] || find var/log -type f -exec truncate -s 0 '{}' +",
)
"""What apt keeps is removed here, as it has directories that belong to the host's account `_apt`."""
_OWN_SOURCES = (
    r"""[ ! -f etc/apt/sources.list ] || sed -i 's/^deb \[signed-by="[^]]*"\] /deb /' etc/apt/sources.list""",
)
"""Where the host keeps the keys of the distribution is not where the machine has them."""


class Recipe(Value):
    """What to build. `mirrors` are URIs or lines of sources.list(5); none leaves the choice to the tool. `own_mirrors`:
    they are the host's or the lock file's, not the Envfile's. `time` is in seconds since the epoch; nothing in the
    image is younger. `packages` are the versions to take, all that there are; none takes the newest of what is
    needed."""

    distribution: str
    suite: str
    variant: str
    components: tuple[str, ...]
    include: tuple[str, ...]
    architecture: str
    keyring: str
    mirrors: tuple[str, ...]
    own_mirrors: bool
    time: int
    packages: Mapping[str, str] = NOTHING

    @property
    def title(self) -> str:
        """The name of the system."""
        return f"{self.distribution}/{self.suite}"


def build(tool: str, recipe: Recipe, archive: Path, context: FetchContext) -> Pin:
    """Write the archive; what a lock file needs to have it built again. Errors: `ToolError`, `EnvupError` where a
    mirror no longer has a version."""
    missing: list[str] = []
    try:
        _run(tool, recipe, archive, context, _watched(context.emit, missing))
    except tools.ToolError as error:
        if not missing or context.pin is None:
            raise
        more = f" and {len(missing) - 1} more of the locked packages" if missing[1:] else ""
        raise EnvupError(
            f"the mirror of {recipe.title} no longer has {missing[0]}{more}",
            details="\n".join(missing) if more else "",
            hint=f"{pinning.update(context.pin)} takes the versions of now; a snapshot of the archive, as the `mirror:`"
            " of the image, keeps all versions",
        ) from error
    return pin_of(archive, recipe.time, own_mirrors=recipe.own_mirrors)


def _watched(emit: Emit, missing: list[str]) -> Emit:
    def tell(event: Event) -> None:
        if event.kind == "output" and event.text.startswith(_MISSING):
            missing.append(event.text.removeprefix(_MISSING).strip().replace("=", " "))
        emit(event)

    return tell


def _run(tool: str, recipe: Recipe, archive: Path, context: FetchContext, emit: Emit) -> None:
    argv = _argv(tool, recipe, archive)
    if not os.geteuid():
        tools.run(argv, emit=emit, environment=_environment(recipe, context.work), clean=True)
        return
    with subordinate.scratch(tool) as scratch:
        tools.run(argv, emit=emit, environment=_environment(recipe, scratch), clean=True)


def _argv(tool: str, recipe: Recipe, archive: Path) -> list[str]:
    dated = recipe.packages or any(map(is_snapshot, recipe.mirrors))
    setup = (*(_DATED if dated else ()), *(_PINNED if recipe.packages else ()))
    return [
        tool,
        "--mode=unshare" if os.geteuid() else "--mode=root",
        "--format=tar",
        f"--variant={recipe.variant}",
        f"--architectures={recipe.architecture}",
        f"--components={','.join(recipe.components)}",
        *([f"--include={','.join(recipe.include)}"] if recipe.include else []),
        *([f"--keyring={recipe.keyring}"] if recipe.keyring else []),
        f"--skip=cleanup/apt{',update' if recipe.packages else ''}",
        *([f"--setup-hook={_script(setup)}"] if setup else []),
        f"--customize-hook={_script((*_CLEANED, *(_OWN_SOURCES if recipe.own_mirrors else ())))}",
        "--",
        recipe.suite,
        str(archive),
        *recipe.mirrors,
    ]


def _script(commands: Iterable[str]) -> str:
    """In one line, as mmdebstrap first looks whether there is a file of that name."""
    return "; ".join(("set -eu", *commands))


def _environment(recipe: Recipe, temporary: Path) -> Mapping[str, str]:
    packages = " ".join(f"{name}={version}" for name, version in sorted(recipe.packages.items()))
    return {
        "PATH": tools.search_path(),
        "SOURCE_DATE_EPOCH": str(recipe.time),
        "TMPDIR": str(temporary),
        "TZ": "UTC0",
        "PYTHONHASHSEED": "0",  # the order of sets shows in what Python compiles
        "HOME": "/nonexistent",  # nor may a subordinate id read what is in the user's home
        **({"ENVUP_PACKAGES": packages} if packages else {}),
    }
