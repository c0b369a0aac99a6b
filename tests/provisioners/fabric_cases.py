"""A fabfile: what Fabric's documentation shows, each as a case that says what came of it in plain values.

It runs twice, over SSH and in a machine. RECORD names the file that the results go to, MARK is part of every name
that a case makes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fabric import Connection, task
from invoke import FailingResponder, Responder
from invoke.exceptions import CommandTimedOut, Failure, UnexpectedExit

CASES: dict[str, Callable[[Connection], Any]] = {}
FIELDS = (
    "command",
    "shell",
    "env",
    "stdout",
    "stderr",
    "encoding",
    "exited",
    "return_code",
    "ok",
    "failed",
    "pty",
    "hide",
)


def case(function: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
    CASES[function.__name__] = function
    return function


def fields(result: Any) -> dict[str, Any]:
    """All that a result says but the name of the host."""
    told = {name: getattr(result, name) for name in FIELDS}
    told["kind"] = f"{type(result).__module__}.{type(result).__name__}"
    told["connection"] = isinstance(result.connection, Connection)
    return told | {"truth": bool(result), "text": str(result), "repr": repr(result), "tail": result.tail("stdout", 2)}


def failure(function: Callable[[], Any]) -> dict[str, Any]:
    """What an error is and says."""
    try:
        return {"no error": repr(function())}
    except Exception as error:
        told = {"kind": type(error).__name__, "text": str(error), "repr": repr(error)}
        if isinstance(error, Failure):
            told |= {"result": fields(error.result), "reason": repr(error.reason)}
        if isinstance(error, OSError):
            told |= {"errno": error.errno}
        return told


@task
def record(c: Connection) -> None:
    """Runs every case."""
    told = {name: function(c) for name, function in CASES.items()}
    Path(os.environ["RECORD"]).write_text(json.dumps(told, default=str))


@case
def lifecycle(c: Connection) -> Any:
    states = [c.is_connected]
    c.open()
    states.append(c.is_connected)
    c.open()
    c.close()
    states.append(c.is_connected)
    with c:
        c.run("true", hide=True)
        states.append(c.is_connected)
    return [*states, c.is_connected, isinstance(c, Connection)]


@case
def run(c: Connection) -> Any:
    return fields(c.run("uname -s", hide=True))


@case
def run_in_the_home_by_the_login_shell(c: Connection) -> Any:
    return c.run('pwd; whoami; echo "$0 $HOME $USER $LOGNAME $SHELL"; umask', hide=True).stdout


@case
def both_streams(c: Connection) -> Any:
    return fields(c.run("echo out; echo err >&2; echo more", hide="both"))


@case
def streams_of_the_caller(c: Connection) -> Any:
    out, err = io.StringIO(), io.StringIO()
    result = c.run("echo out; echo err >&2", out_stream=out, err_stream=err)
    return [out.getvalue(), err.getvalue(), result.hide]


@case
def fails(c: Connection) -> Any:
    return failure(lambda: c.run("echo before; echo why >&2; exit 3", hide=True))


@case
def fails_with_warn(c: Connection) -> Any:
    return fields(c.run("exit 3", warn=True, hide=True))


@case
def not_found(c: Connection) -> Any:
    return fields(c.run("no-such-program", warn=True, hide=True))


@case
def killed(c: Connection) -> Any:
    return fields(c.run("kill -9 $$", warn=True, hide=True))


@case
def exits_as_transports_do(c: Connection) -> Any:
    return [c.run(f"exit {code}", warn=True, hide=True).exited for code in (125, 126, 127, 255)]


@case
def timeout(c: Connection) -> Any:
    told = failure(lambda: c.run("echo begun; exec sleep 60", timeout=1, hide=True))
    return told | {"timed out": told["kind"] == CommandTimedOut.__name__}


@case
def terminal(c: Connection) -> Any:
    return fields(c.run("test -t 0 && test -t 1 && stty size; echo $TERM; echo err >&2", pty=True, hide=True))


@case
def no_terminal(c: Connection) -> Any:
    return fields(c.run("test -t 0 || echo none", hide=True))


@case
def directories_and_prefixes(c: Connection) -> Any:
    with c.cd("/usr"), c.cd("share"), c.prefix("export A=1"), c.prefix("export B=2"):
        inside = fields(c.run("pwd; echo $A$B", hide=True))
    return [inside, c.run("echo $A$B", hide=True).stdout]


@case
def variables(c: Connection) -> Any:
    return fields(c.run('echo "$GREETING"', env={"GREETING": "hello"}, hide=True))


@case
def watcher(c: Connection) -> Any:
    answer = Responder(pattern=r"Are you sure\? ", response="y\n")
    line = 'printf "Are you sure? "; read answer; echo "the answer is $answer"'
    return [fields(c.run(line, pty=pty, watchers=[answer], hide=True)) for pty in (True, False)]


@case
def watcher_that_gives_up(c: Connection) -> Any:
    responder = FailingResponder(pattern="password: ", response="wrong\n", sentinel="no!")
    line = 'printf "password: "; read it; echo "no!"; printf "password: "; read it'
    return failure(lambda: c.run(line, pty=True, watchers=[responder], hide=True))["reason"]


@case
def input_of_the_caller(c: Connection) -> Any:
    return fields(c.run("cat; echo end", in_stream=io.StringIO("a line\nü"), hide=True))


@case
def much_output(c: Connection) -> Any:
    result = c.run("seq 100000; seq 1000 >&2", hide=True)
    return [hashlib.sha256(text.encode()).hexdigest() for text in (result.stdout, result.stderr)]


@case
def odd_text(c: Connection) -> Any:
    return c.run("""printf '%s|' 'ü €' "a'b" '$HOME' "\\\\"; printf '\\001\\t\\n\\n'""", hide=True).stdout


@case
def promise(c: Connection) -> Any:
    with c.run("echo later", asynchronous=True, hide=True) as begun:
        pass
    return [
        type(begun).__name__,
        fields(begun.runner.generate_result(exited=0, **begun.runner.result_kwargs))["command"],
    ]


@case
def promise_is_kept(c: Connection) -> Any:
    return fields(c.run("echo later", asynchronous=True, hide=True).join())


@case
def shell(c: Connection) -> Any:
    result = c.shell(in_stream=io.StringIO("echo in the $((1 + 1))nd shell\nexit\n"))
    told = [result.command, result.exited, result.pty, result.stderr, "in the 2nd shell" in result.stdout]
    failed = failure(lambda: c.shell(in_stream=io.StringIO("exit 4\n")))
    return [*told, failed["kind"], failed["result"]["exited"]]


@case
def sudo(c: Connection) -> Any:
    return fields(c.sudo("whoami", hide=True))


@case
def sudo_as_another_user(c: Connection) -> Any:
    result = c.sudo("id -un", user="nobody", hide="stderr")
    return [
        fields(result),
        c.sudo("sh -c 'echo $HOME'", user="nobody", hide=True).stdout,
        c.sudo("pwd", hide=True).stdout,
    ]


@case
def sudo_fails(c: Connection) -> Any:
    return [failure(lambda: c.sudo("sh -c 'exit 4'", hide=True)), fields(c.sudo("false", warn=True, hide=True))]


@case
def sudo_by_configuration(c: Connection) -> Any:
    other = Connection(
        c.original_host, user=c.user, port=c.port, connect_kwargs=c.connect_kwargs, config=c.config.clone()
    )
    other.config.sudo.user = "nobody"
    other.config.run.hide = True
    return fields(other.sudo("whoami"))


@case
def local(c: Connection) -> Any:
    result = c.local("pwd; exit 2", warn=True, hide=True)
    return [result.stdout, result.exited, type(result).__name__]


def transfer(result: Any) -> dict[str, Any]:
    """All that the result of a transfer says."""
    told = {name: getattr(result, name) for name in ("local", "orig_local", "remote", "orig_remote")}
    told = {
        name: value if isinstance(value, (str, type(None))) else type(value).__name__ for name, value in told.items()
    }
    return told | {"connection": isinstance(result.connection, Connection), "kind": type(result).__module__}


def there(c: Connection, path: str) -> str:
    return str(c.run(f'stat -c "%a %s %U" {path}', hide=True).stdout)


@case
def round_trip(c: Connection) -> Any:
    mark = os.environ["MARK"]
    content, back = Path(f"{mark}.bin"), Path(f"{mark}.back")
    content.write_bytes(os.urandom(300_000))
    content.chmod(0o640)
    told = [transfer(c.put(str(content), f"/tmp/{mark}")), there(c, f"/tmp/{mark}")]
    c.run(f"chmod 751 /tmp/{mark}")
    told += [transfer(c.get(f"/tmp/{mark}", str(back))), oct(stat.S_IMODE(back.stat().st_mode))]
    told.append(back.read_bytes() == content.read_bytes())
    c.run(f"rm /tmp/{mark}")
    content.unlink()
    back.unlink()
    return told


@case
def modes_that_are_not_kept(c: Connection) -> Any:
    mark = os.environ["MARK"]
    file, back = Path(mark), Path(f"{mark}.back")
    file.write_text("a text\n")
    file.chmod(0o755)
    told = [transfer(c.put(mark, preserve_mode=False)), there(c, mark)]
    c.run(f"chmod 700 {mark}")
    told += [transfer(c.get(mark, str(back), preserve_mode=False)), oct(stat.S_IMODE(back.stat().st_mode))]
    c.run(f"rm {mark}")
    file.unlink()
    back.unlink()
    return told


@case
def names_of_transfers(c: Connection) -> Any:
    mark = os.environ["MARK"]
    Path(mark).write_text("a text\n")
    told = [transfer(c.put(mark)), transfer(c.put(mark, "/tmp/"))]
    Path(mark).unlink()
    told += [
        transfer(c.get(mark)),
        transfer(c.get(f"/tmp/{mark}", f"{mark}.d/in/")),
        Path(f"{mark}.d/in/{mark}").read_text(),
    ]
    told.append(transfer(c.get(mark, f"{mark}.d/{{user}}-{{basename}}")))
    Path(mark).unlink()
    c.run(f"rm {mark} /tmp/{mark}")
    c.local(f"rm -r {mark}.d")
    return told


@case
def objects_that_are_like_files(c: Connection) -> Any:
    mark = os.environ["MARK"]
    binary, text, back = io.BytesIO(b"\0\1\xff" * 1000), io.StringIO("a text\n"), io.BytesIO()
    binary.seek(5)
    told = [transfer(c.put(binary, f"/tmp/{mark}")), binary.tell(), transfer(c.get(f"/tmp/{mark}", back))]
    told.append(back.getvalue() == binary.getvalue())
    c.put(text, mark)
    told += [c.run(f"cat {mark}", hide=True).stdout, there(c, mark), there(c, f"/tmp/{mark}")]
    c.run(f"chmod 600 {mark}")
    c.put(io.StringIO("again"), mark)
    told.append(there(c, mark))
    c.run(f"rm {mark} /tmp/{mark}")
    return told


@case
def transfers_that_fail(c: Connection) -> Any:
    tries = (
        lambda: c.put(io.StringIO("x"), "/no/such/place"),
        lambda: c.put(io.StringIO("x"), "/tmp/"),
        lambda: c.put(io.StringIO("x")),
        lambda: c.put("no-such-file"),
        lambda: c.put("", "/tmp/x"),
        lambda: c.get("/no/such/file", io.BytesIO()),
        lambda: c.get(""),
    )
    return [failure(one) for one in tries]


@case
def what_another_user_may_not(c: Connection) -> Any:
    told = failure(lambda: c.sftp().listdir("/no/such/directory"))
    return [told["kind"], told["errno"]]


@case
def files(c: Connection) -> Any:
    mark, sftp = os.environ["MARK"], c.sftp()
    home = sftp.normalize(".")
    told: list[Any] = [home, sftp.getcwd(), sftp is c.sftp()]
    sftp.mkdir(mark, 0o750)
    sftp.chdir(mark)
    with sftp.open("one", "w") as file:
        file.write("first\nsecond\n")
    with sftp.open("one", "a") as file:
        file.write(b"third\n")
    with sftp.open("one") as file:
        told += [file.readline(), file.read(), file.tell()]
        file.seek(6)
        told.append(file.read(6))
    sftp.chmod("one", 0o604)
    sftp.symlink("one", "link")
    sftp.rename("one", "two")
    found = sftp.stat("two")
    told += [oct(found.st_mode), found.st_size, found.st_uid, sftp.readlink("link"), sorted(sftp.listdir())]
    told += [
        stat.S_ISLNK(sftp.lstat("link").st_mode),
        failure(lambda: sftp.stat("link")),
        sftp.getcwd() == f"{home}/{mark}",
    ]
    told += [failure(lambda: sftp.remove("none"))["kind"], failure(lambda: sftp.rename("two", "link"))["kind"]]
    sftp.remove("link")
    sftp.unlink("two")
    sftp.chdir("..")
    sftp.rmdir(mark)
    told.append(failure(lambda: sftp.stat(mark))["kind"])
    sftp.chdir(None)
    return told


@case
def configuration(c: Connection) -> Any:
    try:
        c.run("exit 1", hide=True)
    except UnexpectedExit as error:
        return [error.result.exited, c.config.run.warn, c.config.timeouts.command, c.config.inline_ssh_env]
    return None
