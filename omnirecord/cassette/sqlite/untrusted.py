"""Protects against databases from unknown sources.

SQLite executes parts of a schema: views and virtual tables in place of tables, generated columns, triggers and
constraints. A journal beside the database may name another file, which a rollback deletes. So a reader uses plain
tables only, and a writer accepts only a schema that equals the one of omnirecord.
"""

from __future__ import annotations

import re
import sqlite3
import stat
from pathlib import Path

from ...errors import NotACassette
from ..files import itself

LARGEST = 256 * 1024 * 1024
"""Largest value that is read, in bytes. Recorded values have at most 64 MiB."""
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""The first bytes of a rollback journal, and the last bytes of a journal for several files."""
_FLAGS = ("SQLITE_DBCONFIG_DEFENSIVE", True), ("SQLITE_DBCONFIG_ENABLE_VIEW", False), (
    "SQLITE_DBCONFIG_ENABLE_TRIGGER", False
)  # fmt: skip
_OBJECTS = "SELECT type, name, tbl_name, sql, rootpage FROM sqlite_master"


def tables_in(schema: str) -> frozenset[str]:
    """Return the names of the tables that a schema creates."""
    return frozenset(re.findall(r'CREATE TABLE "?(\w+)', schema))


def harden(connection: sqlite3.Connection, *, reads_only: bool) -> None:
    """Set the safe options of a connection. Call it before any use of the schema."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for name, value in _FLAGS:
        if hasattr(sqlite3, name):  # from Python 3.12 on; the checks below refuse the same in any version
            connection.setconfig(getattr(sqlite3, name), value)  # type: ignore[attr-defined]
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if reads_only:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        connection.execute("PRAGMA query_only = ON")


def refuse_other_kinds(connection: sqlite3.Connection, tables: frozenset[str]) -> None:
    """Raise `sqlite3.DatabaseError` if one of `tables` is no plain table: reading it would execute code."""
    found = {name: (kind, root) for kind, name, _, _, root in connection.execute(_OBJECTS) if kind != "index"}
    for table in sorted(tables - {name for name, (kind, root) in found.items() if kind == "table" and root}):
        kind, _ = found.get(table, ("missing", 0))
        what = {"table": "a virtual table", "missing": "missing"}.get(kind, f"a {kind}")
        raise sqlite3.DatabaseError(f"{table} is {what}")
    names = "('" + "'), ('".join(tables) + "')"
    hidden = f"SELECT column1 FROM (VALUES {names}), pragma_table_xinfo(column1) WHERE hidden ORDER BY 1"
    for (table,) in connection.execute(hidden):
        raise sqlite3.DatabaseError(f"{table} has columns that are computed")


def refuse_others(connection: sqlite3.Connection, ours: sqlite3.Connection, tables: frozenset[str], path: Path) -> None:
    """Raise `NotACassette` if the tables differ from those in `ours`: writing them might execute code."""
    there, here = (
        {
            (kind, name, table, " ".join(str(sql).split()))
            for kind, name, table, sql, _ in one.execute(_OBJECTS) if table in tables
        } for one in (connection, ours)
    )  # fmt: skip
    for kind, name, table, _ in sorted(there ^ here, key=str):
        raise NotACassette(
            f"{path} cannot be appended to: {kind} {name} of its table {table} is not as omnirecord makes it. Export it"
            " as .jsonl, import that into a new cassette, and append to that"
        )


def refuse_company(path: Path) -> None:
    """Raise `NotACassette` if the log, journal or shared memory is no regular file: SQLite would wait for a pipe."""
    path = itself(path)  # SQLite looks beside the target of a link
    for ending in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        try:
            mode = beside.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode):
            raise NotACassette(f"{beside} is a link, a pipe or a folder, and no file of omnirecord's: remove it")


def refuse_foreign_journal(path: Path) -> None:
    """Raise `NotACassette` if the journal names another file: a rollback would delete that file."""
    path = itself(path)
    journal = path.with_name(f"{path.name}-journal")
    if not journal.exists():
        return
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - len(_JOURNAL_MAGIC)))
        ending = file.read()
    if ending == _JOURNAL_MAGIC:
        raise NotACassette(f"{journal} names another file, as omnirecord's never do: remove it, or take another --db")
