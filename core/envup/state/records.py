"""The SQLite database of records and journal, `state.db` in WAL mode.

One object serves all threads of a process. Deleting the file loses history and nothing else; a damaged one is set
aside under another name and begun anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any

from envup.errors import EnvupError
from envup.value import Value

_FORMAT = 2
_RESERVE = 256 << 10
"""Bytes: SQLite's index of its log takes 32 KiB, and what a command records some pages."""

JOURNAL_KEPT = 1000
"""Ended journal entries that are kept of one environment."""
_TABLES = """
CREATE TABLE environment (id TEXT PRIMARY KEY, name TEXT, directory TEXT, file TEXT, seen REAL) WITHOUT ROWID;
CREATE TABLE machine (environment TEXT, name TEXT, provider TEXT, instance TEXT, spec TEXT,
    PRIMARY KEY (environment, name)) WITHOUT ROWID;
CREATE TABLE step (environment TEXT, machine TEXT, instance TEXT, position INTEGER, name TEXT, definition TEXT,
    content TEXT, files TEXT, finished REAL,
    PRIMARY KEY (environment, machine, instance, position)) WITHOUT ROWID;
CREATE TABLE journal (id INTEGER PRIMARY KEY, environment TEXT, machine TEXT, action TEXT, provider TEXT, begun REAL,
    ended REAL, outcome TEXT);
CREATE INDEX journal_open ON journal (environment) WHERE ended IS NULL;
"""
_SNAPSHOTS = """
CREATE TABLE snapshot (environment TEXT, machine TEXT, name TEXT, instance TEXT, spec TEXT,
    PRIMARY KEY (environment, machine, name)) WITHOUT ROWID;
CREATE TABLE snapshot_step (environment TEXT, machine TEXT, snapshot TEXT, instance TEXT, position INTEGER, name TEXT,
    definition TEXT, content TEXT, files TEXT, finished REAL,
    PRIMARY KEY (environment, machine, snapshot, position)) WITHOUT ROWID;
"""
_NEW = {0: _TABLES + _SNAPSHOTS, 1: _SNAPSHOTS}
"""What a file of an earlier format lacks."""


class MachineRecord(Value):
    """What a machine was last made or changed to: `spec` as `envup.spec.summary` gives it."""

    provider: str
    instance: str
    spec: Mapping[str, Any]


class StepRecord(Value):
    """One `run: once` step that succeeded on one instance. `files` is what it read, as `envup.content` keeps it."""

    position: int
    name: str
    definition: str
    content: str
    files: Mapping[str, Any]


class Records(Value):
    """All that is remembered of one environment. `steps` is by machine, of its recorded instance, in order;
    `unfinished` are the (machine, action) that a command which died had begun, each with its provider; `unready` the
    machines whose probe did not succeed since they were last started or provisioned; `failed` has the machines whose
    last step did not succeed, each with that action (`provision:N`); `snapshots` the names of each machine's, as far as
    they were taken by envup on this host."""

    machines: Mapping[str, MachineRecord]
    steps: Mapping[str, tuple[StepRecord, ...]]
    unfinished: Mapping[tuple[str, str], str] = MappingProxyType({})
    unready: frozenset[str] = frozenset()
    failed: Mapping[str, str] = MappingProxyType({})
    snapshots: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class State:
    """The records of one user."""

    def __init__(self, path: Path) -> None:
        self._lock, self._path = threading.Lock(), path
        self.set_aside: Path | None = None
        """The damaged file that was there before, under its new name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep_room(path.with_name(f"{path.name}.reserve"))
        try:
            self._database = _open(path)
        except sqlite3.OperationalError as error:
            raise _told(error, path) from error
        except sqlite3.DatabaseError:
            self._database = self._begin_anew(path)

    def _begin_anew(self, path: Path) -> sqlite3.Connection:
        """Only one process sets a damaged file aside; the others open the fresh one."""
        import fcntl

        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(sqlite3.DatabaseError):
                return _open(path)
            self.set_aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.rename(self.set_aside)
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            return _open(path)

    def close(self) -> None:
        """Release the file. A second call does nothing."""
        self._database.close()

    def records(self, environment: str) -> Records:
        """What is remembered of one environment; empty when nothing is."""
        machines = {
            name: MachineRecord(provider, instance, json.loads(spec))
            for name, provider, instance, spec in self._all(
                "SELECT name, provider, instance, spec FROM machine WHERE environment = ?", environment
            )
        }
        steps: dict[str, list[StepRecord]] = {}
        rows = self._all(
            "SELECT machine, instance, position, name, definition, content, files FROM step WHERE environment = ?"
            " ORDER BY machine, position",
            environment,
        )
        for machine, instance, position, name, definition, content, files in rows:
            if machine in machines and machines[machine].instance == instance:
                record = StepRecord(position, name, definition, content, json.loads(files))
                steps.setdefault(machine, []).append(record)
        unfinished = {
            (machine, action): provider
            for machine, action, provider in self._all(
                "SELECT machine, action, provider FROM journal WHERE environment = ? AND ended IS NULL", environment
            )
        }
        kept = {name: tuple(rows) for name, rows in steps.items()}
        unready, failed = self._unready(environment), self._failed(environment)
        return Records(machines, kept, unfinished, unready, failed, self._snapshots(environment))

    def _snapshots(self, environment: str) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        query = "SELECT machine, name FROM snapshot WHERE environment = ? AND name != '' ORDER BY machine, name"
        for machine, name in self._all(query, environment):
            found[machine] = (*found.get(machine, ()), name)
        return found

    def _unready(self, environment: str) -> frozenset[str]:
        last = self._all(
            "SELECT machine, action, outcome, max(id) FROM journal WHERE environment = ?"
            " AND (action IN ('create', 'start', 'resume', 'restore', 'ready') OR action LIKE 'provision:%')"
            " GROUP BY machine",
            environment,
        )
        return frozenset(machine for machine, action, outcome, _ in last if (action, outcome) != ("ready", "done"))

    def _failed(self, environment: str) -> Mapping[str, str]:
        last = self._all(
            "SELECT machine, action, outcome, max(id) FROM journal WHERE environment = ?"
            " AND (action IN ('create', 'restore') OR action LIKE 'provision:%') GROUP BY machine",
            environment,
        )
        anew = ("create", "restore")
        return {machine: action for machine, action, outcome, _ in last if action not in anew and outcome != "done"}

    def remember_environment(self, environment: str, name: str, directory: Path, file: Path | None) -> None:
        """Note where an environment lives; a second call moves it."""
        self._do(
            "INSERT OR REPLACE INTO environment VALUES (?, ?, ?, ?, ?)",
            environment,
            name,
            str(directory),
            str(file or ""),
            time.time(),
        )

    def empty_environment(self, environment: str) -> None:
        """Drop what is known of an environment, its journal included, but for that it has nothing."""
        with self._writing():
            self._drop(environment)
            self._database.execute("UPDATE environment SET directory = '' WHERE id = ?", (environment,))

    def forget_environment(self, environment: str) -> None:
        """Drop all that is known of an environment."""
        with self._writing():
            self._drop(environment)
            self._database.execute("DELETE FROM environment WHERE id = ?", (environment,))

    def _drop(self, environment: str) -> None:
        for table in ("machine", "step", "journal", "snapshot", "snapshot_step"):
            self._database.execute(f"DELETE FROM {table} WHERE environment = ?", (environment,))

    def environments(self) -> Sequence[tuple[str, str, str, str]]:
        """(id, name, directory, file) of every environment of this user that is not empty, by directory."""
        query = "SELECT id, name, directory, file FROM environment WHERE directory != '' ORDER BY directory"
        return self._all(query)

    def knows(self, environment: str) -> bool:
        """Whether a command that changes something was ever carried out for this environment."""
        return bool(self._all("SELECT 1 FROM environment WHERE id = ?", environment))

    def providers(self, environment: str) -> frozenset[str]:
        """The providers that machines of an environment were made with."""
        rows = self._all("SELECT DISTINCT provider FROM machine WHERE environment = ?", environment)
        return frozenset(provider for (provider,) in rows)

    def remember_machine(self, environment: str, name: str, record: MachineRecord) -> None:
        """Note what a machine is now; steps of an earlier instance are dropped."""
        self._do(
            "INSERT OR REPLACE INTO machine VALUES (?, ?, ?, ?, ?)",
            environment,
            name,
            record.provider,
            record.instance,
            json.dumps(record.spec),
        )
        for table in ("step", "snapshot", "snapshot_step"):
            query = f"DELETE FROM {table} WHERE environment = ? AND machine = ? AND instance != ?"
            self._do(query, environment, name, record.instance)

    def keep_with_snapshot(self, environment: str, machine: str, snapshot: str) -> None:
        """Note with a snapshot what is recorded of its machine now."""
        where = "WHERE environment = ? AND machine = ?"
        with self._writing():
            self._drop_snapshot(environment, machine, snapshot)
            self._database.execute(
                "INSERT INTO snapshot SELECT environment, name, ?, instance, spec FROM machine"
                " WHERE environment = ? AND name = ?",
                (snapshot, environment, machine),
            )
            self._database.execute(
                "INSERT INTO snapshot_step SELECT environment, machine, ?, instance, position, name, definition,"
                f" content, files, finished FROM step {where}",
                (snapshot, environment, machine),
            )

    def go_back_to_snapshot(
        self, environment: str, machine: str, snapshot: str, *, spec: bool, steps: int | None = None
    ) -> None:
        """Record of a machine which steps had run when a snapshot was taken, of these the first `steps` if that is
        given, and with `spec` what it was; no step where that was not noted."""
        known = "environment = ? AND machine = ?"
        of_instance = (
            f"SELECT spec FROM snapshot AS kept WHERE {known} AND name = ? AND kept.instance = machine.instance"
        )
        key = (environment, machine, snapshot)
        with self._writing():
            self._database.execute(f"DELETE FROM step WHERE {known}", key[:2])
            self._database.execute(
                "INSERT INTO step SELECT environment, machine, instance, position, name, definition, content, files,"
                f" finished FROM snapshot_step WHERE {known} AND snapshot = ? AND position < coalesce(?, position + 1)",
                (*key, steps),
            )
            if spec:
                self._database.execute(
                    f"UPDATE machine SET spec = coalesce(({of_instance}), spec) WHERE environment = ? AND name = ?",
                    (*key, *key[:2]),
                )

    def steps_in_common(self, environment: str, machine: str, snapshot: str) -> int:
        """How many steps, from the first on, have run both in a machine as it is and in a snapshot of it."""
        now = self.records(environment).steps.get(machine, ())
        pairs = zip(now, self.steps_of_snapshot(environment, machine, snapshot), strict=False)
        return sum(1 for _pair in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def steps_of_snapshot(self, environment: str, machine: str, snapshot: str) -> tuple[StepRecord, ...]:
        """Which steps had run when a snapshot was taken; none where that was not noted."""
        rows = self._all(
            "SELECT position, name, definition, content, files FROM snapshot_step"
            " WHERE environment = ? AND machine = ? AND snapshot = ? ORDER BY position",
            environment,
            machine,
            snapshot,
        )
        return tuple(
            StepRecord(position, name, definition, content, json.loads(files))
            for position, name, definition, content, files in rows
        )

    def spec_of_snapshot(self, environment: str, machine: str, snapshot: str) -> Mapping[str, Any]:
        """What its machine was declared as when a snapshot was taken; empty where that was not noted."""
        known = "environment = ? AND machine = ? AND name = ?"
        rows = self._all(f"SELECT spec FROM snapshot WHERE {known}", environment, machine, snapshot)
        return json.loads(rows[0][0]) if rows else {}

    def forget_snapshot(self, environment: str, machine: str, snapshot: str) -> None:
        """Drop what was noted with a snapshot."""
        with self._writing():
            self._drop_snapshot(environment, machine, snapshot)

    def _drop_snapshot(self, environment: str, machine: str, snapshot: str) -> None:
        for table, name in (("snapshot", "name"), ("snapshot_step", "snapshot")):
            query = f"DELETE FROM {table} WHERE environment = ? AND machine = ? AND {name} = ?"
            self._database.execute(query, (environment, machine, snapshot))

    def forget_machine(self, environment: str, name: str) -> None:
        """Drop a machine, its steps and what was noted with its snapshots."""
        for table in ("snapshot", "snapshot_step"):
            self._do(f"DELETE FROM {table} WHERE environment = ? AND machine = ?", environment, name)
        self._do("DELETE FROM machine WHERE environment = ? AND name = ?", environment, name)
        self._do("DELETE FROM step WHERE environment = ? AND machine = ?", environment, name)

    def forget_steps(self, environment: str, machine: str, position: int) -> None:
        """Drop what is noted of the step at `position` and of those behind it."""
        self._do(
            "DELETE FROM step WHERE environment = ? AND machine = ? AND position >= ?", environment, machine, position
        )

    def remember_step(self, environment: str, machine: str, instance: str, step: StepRecord) -> None:
        """Note that a step succeeded on an instance; replaces what was noted at its position."""
        self._do(
            "INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            environment,
            machine,
            instance,
            step.position,
            step.name,
            step.definition,
            step.content,
            json.dumps(step.files),
            time.time(),
        )

    def begin(self, environment: str, machine: str, action: str, provider: str) -> int:
        """Journal that an action of a provider begins; the entry's number."""
        return self._do(
            "INSERT INTO journal (environment, machine, action, provider, begun) VALUES (?, ?, ?, ?, ?)",
            environment,
            machine,
            action,
            provider,
            time.time(),
        )

    def end(self, entry: int, outcome: str) -> None:
        """Journal how an action ended: `done`, `failed` or `interrupted`."""
        self._do("UPDATE journal SET ended = ?, outcome = ? WHERE id = ?", time.time(), outcome, entry)

    def settle(self, environment: str, machine: str) -> None:
        """Close what a dead command left open for a machine, after its remains were dealt with."""
        self._do(
            "UPDATE journal SET ended = ?, outcome = 'abandoned'"
            " WHERE environment = ? AND machine = ? AND ended IS NULL",
            time.time(),
            environment,
            machine,
        )

    def abandon(self, environment: str) -> None:
        """Close what a dead command left open, but for creations and removals, whose remains are still to be dealt
        with. Call with the environment's lock held."""
        self._do(
            "UPDATE journal SET ended = ?, outcome = 'abandoned'"
            " WHERE environment = ? AND ended IS NULL AND action NOT IN ('create', 'destroy')",
            time.time(),
            environment,
        )

    def trim(self, environment: str) -> None:
        """Drop the oldest ended entries of the journal beyond `JOURNAL_KEPT`."""
        self._do(
            "DELETE FROM journal WHERE environment = ? AND ended IS NOT NULL AND id <="
            " (SELECT id FROM journal WHERE environment = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            environment,
            environment,
            JOURNAL_KEPT,
        )

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _told(error, self._path) from error

    def _do(self, query: str, *values: Any) -> int:
        """Carry out a statement; the number of the row that it added, if it did."""
        with self._writing():
            return int(self._database.execute(query, values).lastrowid or 0)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction."""
        try:
            with self._lock, self._database:
                yield
        except sqlite3.DatabaseError as error:
            raise _told(error, self._path) from error


def _told(error: sqlite3.DatabaseError, path: Path) -> EnvupError:
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    hint = "free some space on that disk" if full else f"is the disk full? Else move {path} away; only history is lost"
    return EnvupError(f"cannot use the records in {path}: {error}", hint=hint)


def _keep_room(reserve: Path) -> None:
    """Have room for what is to be recorded when the disk is full, so that the machine which fills it can be removed: a
    file that goes then, and comes back where there is plenty."""
    found = os.statvfs(reserve.parent)
    free = found.f_frsize * (found.f_bavail if os.geteuid() else found.f_bfree)
    if free < _RESERVE:
        reserve.unlink(missing_ok=True)
    elif free > 16 * _RESERVE and not reserve.exists():
        with contextlib.suppress(OSError), reserve.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVE)


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.touch(mode=0o600)  # the files that SQLite puts beside it get the same mode
    database = sqlite3.connect(path, timeout=30.0, check_same_thread=False)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version in _NEW:
            _bring_up(database)
        elif version != _FORMAT:
            raise EnvupError(
                f"{path} has format {version}; this envup reads {_FORMAT}",
                hint="use the newer envup; or move the file away, which loses the record of which steps have run",
            )
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


def _bring_up(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("BEGIN IMMEDIATE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for statement in filter(str.strip, _NEW.get(version, "").split(";")):
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {_FORMAT}")
    database.commit()
