"""The small init of a machine: a script for /bin/sh that reaps what is left to it, and ends everything when it is asked
to.

A shell that waits reaps whatever becomes its child. Its own helpers are in its session, 1, where nothing else is:
what the engine starts beside it has a session of its own. Fields of /proc/PID/stat are those of proc(5).
"""

from __future__ import annotations

SCRIPT = """\
read_next() {
    process=${1#/proc/} process=${process%/stat}
    { IFS= read -r line < "$1"; } 2>/dev/null || return 1
    set -- ${line##*) }
    state=$1 terminal=$5
    [ "$4" != 1 ] && [ "$state" != Z ]
}
finish() {
    trap '' TERM
    for file in /proc/[0-9]*/stat; do
        read_next "$file" || continue
        kill -TERM "$process"
        [ "$terminal" = 0 ] || kill -HUP "$process"
        kill -CONT "$process"
    done 2>/dev/null
    while any_left; do sleep 0.02; done
    exit 0
}
any_left() {
    for file in /proc/[0-9]*/stat; do
        read_next "$file" && return 0
    done
    return 1
}
trap finish TERM
while :; do
    sleep 2147483647 &
    wait $!
done
"""

SHARED = """\
trap 'exit 0' TERM
while :; do
    sleep 2147483647 &
    wait $!
done
"""
"""For a machine that sees processes which are not its own and must not end those: the engine ends its own with it."""
