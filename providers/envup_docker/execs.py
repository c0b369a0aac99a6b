"""Programs that the engine runs in a container: made, started, asked for their exit code."""

from __future__ import annotations

from envup_docker.engine import Engine, EngineError, Hijacked
from envup_docker.failures import LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Exec:
    """One program, started; its streams are `stream`."""

    __slots__ = ("_container", "engine", "id", "stream")

    def __init__(
        self,
        engine: Engine,
        container: str,
        line: Sequence[str],
        *,
        user: str = "0",
        environment: Sequence[str] = (),
        terminal: bool = False,
    ) -> None:
        self.engine, self._container = engine, container
        body = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": terminal,
            "User": user,
            "Env": environment,
            "Cmd": line,
        }
        self.id: str = engine.call("POST", f"/containers/{container}/exec", body=body)["Id"]
        self.stream: Hijacked = engine.hijack("POST", f"/exec/{self.id}/start", body={"Detach": False, "Tty": terminal})

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal a size. One that has ended meanwhile is no error."""
        try:
            self.engine.call("POST", f"/exec/{self.id}/resize", query={"h": rows, "w": columns})
        except EngineError as error:
            if error.status == 0:
                raise

    def exit_code(self) -> int:
        """Wait for its end, which its streams may precede. Errors: `EngineError`."""
        code = self._exit_code()
        if code is not None:
            return code
        return self._awaited()

    def _awaited(self) -> int:
        query = {"filters": {"container": [self._container], "event": ["exec_die", "die", "destroy"]}}
        with self.engine.stream("GET", "/events", query=query) as events:
            code = self._exit_code()
            for _event in events.lines() if code is None else ():
                code = self._exit_code()
                if code is not None:
                    break
        if code is None:
            raise EngineError(0, "the engine stopped before the program's end was known", LOST)
        return code

    def _exit_code(self) -> int | None:
        state = self.engine.call("GET", f"/exec/{self.id}/json")
        return None if state["Running"] or state["ExitCode"] is None else int(state["ExitCode"])
