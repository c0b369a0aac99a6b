"""The shell scripts that run inside a container, and what they are told. Any POSIX shell runs them, by its builtins
alone but for `sleep`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENTER = """\
echo $$
envup_told=
while :; do
    IFS= read -r envup_line || exit 125
    [ "$envup_line" = . ] && break
    envup_told=$envup_told${envup_line#:}
done
envup_user=$1 envup_workdir=$2
shift 2
eval "$envup_told"
echo =
envup_name=$envup_user envup_home=/ envup_shell=/bin/sh
[ "$envup_user" = root ] && envup_home=/root
if [ -r /etc/passwd ]; then
    while IFS=: read -r envup_1 envup_2 envup_3 envup_4 envup_5 envup_6 envup_7 || [ -n "$envup_1" ]; do
        if [ "$envup_1" = "$envup_user" ] || [ "$envup_3" = "$envup_user" ]; then
            envup_name=$envup_1 envup_home=${envup_6:-/} envup_shell=${envup_7:-/bin/sh}
            break
        fi
    done </etc/passwd
fi
: "${HOME:=$envup_home}" "${USER=$envup_name}" "${LOGNAME=$envup_name}" "${SHELL=$envup_shell}" "${LANG=C.UTF-8}"
: "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export HOME USER LOGNAME SHELL LANG PATH
umask 022
if [ -z "$envup_workdir" ]; then
    cd -- "$envup_home" 2>/dev/null || cd /
elif ! cd -- "$envup_workdir" 2>/dev/null; then
    envup_why='No such file or directory'
    [ -e "$envup_workdir" ] && envup_why='Not a directory'
    [ -d "$envup_workdir" ] && envup_why='Permission denied'
    echo "envup: working directory $envup_workdir: $envup_why" >&2
    exit 126
fi
unset OLDPWD SHLVL
[ $# = 0 ] && set -- "$envup_shell" -l
envup_denied() {
    [ -e "$1" ] && return 0
    envup_at=$1
    while [ "$envup_at" != "${envup_at%/*}" ]; do
        envup_at=${envup_at%/*}
        [ -d "$envup_at" ] && { [ ! -x "$envup_at" ]; return; }
    done
    return 1
}
envup_path=$PATH: envup_why='not found' envup_code=127
case $1 in
'') envup_path= ;;
*/*) envup_path=: ;;
esac
while [ -n "$envup_path" ]; do
    envup_file=${envup_path%%:*}
    envup_file=${envup_file:+$envup_file/}$1
    [ -f "$envup_file" ] && [ -x "$envup_file" ] && break
    envup_denied "$envup_file" && envup_why='Permission denied' envup_code=126
    envup_path=${envup_path#*:}
done
envup_applet() {
    case $1 in
    */* | -* | '') return 1 ;;
    esac
    [ "$(command -v env)" = env ] && [ "$(command -v "$1")" = "$1" ]
}
if [ -z "$envup_path" ] && ! envup_applet "$1"; then
    printf '%s\n' "envup: $1: $envup_why" >&2
    exit "$envup_code"
fi
case $1 in
-*) exec env -- "$@" ;;
esac
exec "$@"
"""
"""Becomes the program: `ENTER envup USER WORKDIR PROGRAM ARGUMENT…`. It says its number on a line, reads what `told`
makes, and says `=`; all that follows is the program's. It looks for the program itself, as the words of a shell that
does not find one begin with the line of the script. A busybox may have programs in its shell that are no files."""

SIGNAL = """\
alive() {
    for envup_file in /proc/[0-9]*/stat; do
        IFS= read -r envup_line <"$envup_file" || continue
        set -- "$1" ${envup_line##*) }
        [ "$4" = "$1" ] && [ "$2" != Z ] && return 0
    done 2>/dev/null
    return 1
}
if kill "-$2" "-$1" 2>/dev/null; then
    left=$3
    while [ "$left" -gt 0 ] && alive "$1"; do
        left=$((left - 1))
        sleep 0.05 2>/dev/null || sleep 1 || break
    done
    [ "$3" = 0 ] || kill -KILL "-$1" 2>/dev/null
elif alive "$1"; then
    exit 3
fi
exit 0
"""
"""Signals a process group: `SIGNAL envup GROUP NAME TWENTIETHS`. With a patience other than 0, it waits until nothing
of the group is left and kills it after that many twentieths of a second. Exit code 3: it may not signal the group."""

_WIDTH = 1000
"""Bytes of a line that is told; a terminal takes 4095, termios(3)."""


def told(argv: Sequence[str], variables: Mapping[bytes, bytes]) -> bytes:
    """What the script ENTER reads: nothing, unless arguments or values are no UTF-8, which JSON cannot carry."""
    lines = []
    words = []
    for number, argument in enumerate(argv, 1):
        if is_text(argument):
            words.append(f'"${{{number}}}"')
        else:
            name = f"envup_arg{number}"
            lines.append(_assigned(name, argument.encode("utf-8", "surrogateescape")))
            words.append(f'"${name}"')
    if lines:
        lines.append(f"set -- {' '.join(words)};")
    for variable, value in variables.items():
        name = variable.decode()
        lines.append(f"{_assigned(name, value)}export {name};")
    text = "".join(lines)
    pieces = (text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH))
    return "".join([*(f":{piece}\n" for piece in pieces), ".\n"]).encode("ascii")


def is_text(argument: str) -> bool:
    """Whether JSON can carry it."""
    return argument.isascii() or not any("\udc80" <= character <= "\udcff" for character in argument)


def _assigned(name: str, value: bytes) -> str:
    """A command substitution takes newlines off its end, so a dot guards them."""
    octal = "".join(f"\\{byte:03o}" for byte in value)
    return f"{name}=$(printf '{octal}.');{name}=${{{name}%.}};"
