"""`env completion SHELL`: completion for a shell, made from the tables of the verbs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from envup.cli.answer import write
from envup.cli.options import COMMON, Argument, Arguments, Option
from envup.cli.table import VERBS
from envup.cli.table import module as module_of
from envup.errors import EnvupError

OPTIONS = ()
ARGUMENTS = (
    Argument("SHELL", "the shell; `machines` prints names for it", choices=("bash", "zsh", "fish", "machines")),
)
DETAILS = """
bash: source <(env completion bash)          in ~/.bashrc
zsh:  source <(env completion zsh)           in ~/.zshrc, after compinit
fish: env completion fish | source           in ~/.config/fish/config.fish"""

_BASH = """\
_envup() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} options= words=
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=( $(compgen -W '@VERBS@' -- "$cur") )
        return
    fi
    case $verb in
@CASES@
        *) return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=( $(compgen -W "$options" -- "$cur") )
    elif [[ $words == @machines ]]; then
        COMPREPLY=( $(compgen -W "$("${COMP_WORDS[0]}" completion machines 2>/dev/null)" -- "$cur") )
    elif [[ -n $words ]]; then
        COMPREPLY=( $(compgen -W "$words" -- "$cur") )
    fi
}
complete -o bashdefault -o default -F _envup env envup
"""


def run(arguments: Arguments) -> int:
    """Print the script, or the names of machines, one a line."""
    text = {"bash": bash, "zsh": zsh, "fish": fish, "machines": _machines}[arguments.shell]()
    write(text)
    return 0


def bash() -> str:
    """The script for bash 4 and later."""
    cases = "\n".join(f"        {verb}) options='{' '.join(_names(verb))}' words='{_words(verb)}' ;;" for verb in VERBS)
    return _BASH.replace("@VERBS@", " ".join(VERBS)).replace("@CASES@", cases)


def zsh() -> str:
    """The script for zsh: that of bash through bashcompinit."""
    return "autoload -U +X bashcompinit && bashcompinit\n" + bash()


def fish() -> str:
    """The script for fish."""
    lines = []
    for program in ("env", "envup"):
        for verb, summary in VERBS.items():
            lines.append(f"complete -c {program} -n __fish_is_first_token -a {verb} -d {_quoted(summary)}")
            seen = f"'test (count (commandline -opc)) -gt 1; and test (commandline -opc)[2] = {verb}'"
            for option in (*_options(verb), *COMMON):
                value = " -r" if option.value else ""
                lines.append(f"complete -c {program} -n {seen} -l {option.name[2:]}{value} -d {_quoted(option.help)}")
            if words := _words(verb):
                values = f"({program} completion machines)" if words == "@machines" else words
                lines.append(f"complete -c {program} -f -n {seen} -a '{values}'")
    return "\n".join(lines) + "\n"


def _machines() -> str:
    """Names of the machines here; none where there is no project or its Envfile does not hold."""
    from envup.project import Project

    try:
        project = Project.open()
        names = [spec.name for spec in project.environment().machines]
    except EnvupError:
        return ""
    return "".join(f"{name}\n" for name in names)


def _options(verb: str) -> Sequence[Option]:
    options: Sequence[Option] = import_module(module_of(verb)).OPTIONS
    return options


def _names(verb: str) -> list[str]:
    return [option.name for option in (*_options(verb), *COMMON)]


def _words(verb: str) -> str:
    """What an argument of the verb can be, `@machines` for names of machines."""
    arguments: Sequence[Argument] = import_module(module_of(verb)).ARGUMENTS
    for argument in arguments:
        if argument.choices:
            return " ".join(argument.choices)
        if argument.kind in ("machine", "exec"):
            return "@machines"
        if argument.kind == "verb":
            return " ".join(VERBS)
    return ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
