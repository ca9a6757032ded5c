"""Runs SQL over a cassette: its tables, the views of `views`, and tables that a caller computes. It never writes.

A cassette may be a stranger's, so nothing that its file defines is run. The views here are temporary ones, and the
computed tables are in a database in memory, which sqlite-utils makes. Both take precedence over an object of the same
name in the file. SQLite asks `_Guard` before it reads anything else, or does anything but read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ...errors import UsageError
from ..sql import PRAGMA, Names, Result, distinct, mistake, refuse_parameters, refuse_statement
from .journal import UNSETTLED
from .reader import Store
from .schema import RENAMED, SCHEMA_VERSION, TABLES, is_named_as_now
from .views import SELECTS

Computed = Mapping[str, Mapping[str, type]]
"""The columns of each computed table, with their types: `str`, `int` or `float`."""
Rows = Callable[[str], Iterable[Mapping[str, Any]]]

_COMPUTED = "computed"
_TABLES = TABLES[SCHEMA_VERSION]
_READABLE = _TABLES | {UNSETTLED, "sqlite_master", "json_each", "json_tree"}
"""What may be read in the file's schema: these tables, and functions that SQLite finds there."""
_UNSAFE_FUNCTIONS = {"load_extension", "fts3_tokenizer"}
_STEPS = 100_000
"""After how many instructions SQLite looks for Ctrl-C: some milliseconds."""
_OF_THE_SQL = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_CONSTRAINT,
}
"""Error codes that a query causes, not the file."""


class Query:
    """Runs queries over an open store, which can have one `Query`. `rows_of` is called once for each computed table
    that a query names."""

    def __init__(self, store: Store, computed: Computed, rows_of: Rows) -> None:
        from sqlite_utils import Database  # takes 0.3 s

        self._store = store
        self._rows_of = rows_of
        self._connection = store._connection
        self._made = Database(sqlite3.connect(":memory:"), recursive_triggers=False, execute_plugins=False)
        self._filled: set[str] = set()
        try:
            for name, columns in computed.items():
                self._made.create_table(name, dict(columns))
            self._define(computed)
            named = dict.fromkeys((*computed, *SELECTS, *sorted(_TABLES - {"journal"})))
            self.names: Names = {name: self._columns(name) for name in named}
            """The columns of all that a query can name: computed tables, views, tables of the file."""
        except sqlite3.Error as error:  # such as an unknown collation
            self.close()
            raise store._clear(error) from error
        self._guard = _Guard(self._connection, computed)

    def _define(self, computed: Computed) -> None:
        connection = self._connection
        connection.execute("PRAGMA query_only = OFF")  # for what is made here, which is outside of the file
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
        connection.execute(f"ATTACH ':memory:' AS {_COMPUTED}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.deserialize(self._made.conn.serialize(), name=_COMPUTED)
        ours = {name: f"SELECT * FROM {_COMPUTED}.{name}" for name in computed}
        for name, select in {**SELECTS, **ours}.items():
            connection.execute(f"CREATE TEMP VIEW {name} AS {select}")
        connection.execute("PRAGMA query_only = ON")

    def _columns(self, name: str) -> tuple[str, ...]:
        return tuple(one[0] for one in self._connection.execute(f"SELECT * FROM {name} LIMIT 0").description)

    def close(self) -> None:
        """Forget the computed tables; the store stays open."""
        self._made.conn.close()

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run one statement. Raises `UsageError` with one sentence for a mistake in it, `CassetteError` for a damaged
        file, `KeyboardInterrupt` for a Ctrl-C."""
        given = dict(parameters or {})
        keyword = refuse_statement(sql, self.names)
        refuse_parameters(sql, given)
        self._guard.reads = set()
        self._guard.refused = ""
        self._execute(sql if keyword == "EXPLAIN" else f"EXPLAIN {sql}", given, sql)  # names tables, reads no row
        reads = frozenset(self._guard.reads)
        self._fill(reads)
        cursor = self._execute(sql, given, sql)
        columns = distinct(one[0] for one in cursor.description or ())
        return Result(columns, self._checked(cursor, sql), reads)

    def _fill(self, reads: frozenset[str]) -> None:
        missing = [name for name in self._made.table_names() if name in reads - self._filled]
        if not missing:
            return
        self._connection.set_progress_handler(None, 0)
        self._connection.text_factory = str
        for name in missing:
            rows = self._rows_of(name)
            self._made.table(name).insert_all({key: _storable(value) for key, value in row.items()} for row in rows)
            self._filled.add(name)
        # Row by row: SQLite 3.53 does not replace a database that the transaction has read.
        self._connection.execute("PRAGMA query_only = OFF")
        for name in missing:
            rows = self._made.conn.execute(f"SELECT * FROM {name}")
            marks = ", ".join("?" * len(rows.description))
            self._connection.executemany(f"INSERT INTO {_COMPUTED}.{name} VALUES ({marks})", rows)
        self._connection.execute("PRAGMA query_only = ON")

    def _execute(self, sql: str, parameters: Mapping[str, Any], given: str) -> sqlite3.Cursor:
        self._connection.set_authorizer(self._guard)
        self._connection.set_progress_handler(lambda: 0, _STEPS)  # a call into Python is where a Ctrl-C is noticed
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            return self._connection.execute(sql, parameters)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise self._clear(error, given) from error
        finally:
            self._connection.set_authorizer(None)  # SQLite asks while it compiles a statement

    def _checked(self, cursor: sqlite3.Cursor, sql: str) -> Iterator[tuple[Any, ...]]:
        try:
            for row in cursor:  # noqa: UP028  # `yield from` closes the cursor, perhaps after the cassette
                yield row
        except (sqlite3.Error, OverflowError) as error:
            raise self._clear(error, sql) from error

    def _clear(self, error: Exception, sql: str) -> BaseException:
        if isinstance(error, UnicodeEncodeError):
            return UsageError("the SQL is not UTF-8, or a parameter is not: write it in UTF-8")
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return KeyboardInterrupt()
        if code not in _OF_THE_SQL:
            return self._store._clear(error)
        if self._guard.refused:
            return UsageError(self._guard.refused)
        return UsageError(mistake(str(error), sql, self.names))


class _Guard:
    """Tells SQLite what a query may do: read what is listed here, and call functions. Notes the tables it reads."""

    def __init__(self, connection: sqlite3.Connection, computed: Computed) -> None:
        self._ours = {*computed, *SELECTS}
        found = {str(name).lower() for (name,) in connection.execute("SELECT name FROM main.sqlite_master")}
        self._readable = _READABLE | (TABLES[RENAMED] if is_named_as_now(connection) else frozenset())
        self._foreign = found - self._readable
        """Names in the file that are not tables of a cassette."""
        self.reads: set[str] = set()
        self.refused = ""

    def __call__(self, action: int, first: str | None, second: str | None, schema: str | None, _: str | None) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _UNSAFE_FUNCTIONS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and self._may_read((first or "").lower(), schema):
            self.reads.add((first or "").lower())
            return sqlite3.SQLITE_OK
        self.refused = _refusal(action, first, second, schema)
        return sqlite3.SQLITE_DENY

    def _may_read(self, name: str, schema: str | None) -> bool:
        if schema in ("temp", _COMPUTED):
            return True
        if schema == "main":
            return name in self._readable and name not in self._foreign
        return name in self._ours or name not in self._foreign  # no schema: a name of which no column is read


def _refusal(action: int, first: str | None, second: str | None, schema: str | None) -> str:
    if action == sqlite3.SQLITE_READ:
        name = f"{schema}.{first}" if schema else first
        return (
            f"{name} cannot be read: a query reads the tables and views of omnirecord, and runs nothing that a file"
            " defines. `omnirecord query CASSETTE` lists them"
        )
    if action == sqlite3.SQLITE_FUNCTION:
        return f"the function {second} is not available in a query"
    if action == sqlite3.SQLITE_PRAGMA:
        return PRAGMA
    return "a query only reads: write one SELECT, which changes and attaches nothing"


def _storable(value: Any) -> Any:
    """A value that SQLite can store: a recorded event may hold any number, and half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return value


def pending(query: Query, result: Result) -> int:
    """The received bytes that are in no event yet, if the result is of events: see `streams.pending_bytes`."""
    if not result.reads & {"events", "responses", "frame_blocks"}:
        return 0
    ((size,),) = query.run("SELECT coalesce(sum(pending_bytes), 0) FROM streams WHERE pending_bytes > 0").rows
    return int(size)
