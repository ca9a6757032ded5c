"""A database may be a stranger's: what it could do to who opens it, and how it is kept from that.

SQLite runs what a schema holds: views and virtual tables in the place of tables, generated columns, triggers and
constraints when it is written to. And a journal beside it may name another file, which is deleted when the journal is
rolled back. So a reader sees plain tables and nothing else, and a writer takes a schema only if it is ours to the
letter.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import NotACassette
from ..files import itself

LARGEST = 256 * 1024 * 1024
"""The largest value that is read, in bytes. Ours have 64 MiB at the most."""
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""How a rollback journal begins, and how one ends that is part of a transaction over several files."""
_FLAGS = ("SQLITE_DBCONFIG_DEFENSIVE", True), ("SQLITE_DBCONFIG_ENABLE_VIEW", False), (
    "SQLITE_DBCONFIG_ENABLE_TRIGGER", False
)  # fmt: skip
_OBJECTS = "SELECT type, name, tbl_name, sql, rootpage FROM sqlite_master"


def harden(connection: sqlite3.Connection, *, reads_only: bool) -> None:
    """Before anything of the schema is used."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for name, value in _FLAGS:
        if hasattr(sqlite3, name):  # from Python 3.12 on; what it forbids is refused below in any case
            connection.setconfig(getattr(sqlite3, name), value)  # type: ignore[attr-defined]
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if reads_only:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        connection.execute("PRAGMA query_only = ON")


def refuse_other_kinds(connection: sqlite3.Connection, tables: frozenset[str]) -> None:
    """Raise `sqlite3.DatabaseError` where one of `tables` is no plain table: to read it would run something."""
    found = {name: (kind, root) for kind, name, _, _, root in connection.execute(_OBJECTS) if kind != "index"}
    for table in sorted(tables):
        kind, root = found.get(table, ("missing", 0))
        if kind != "table" or not root:
            raise sqlite3.DatabaseError(f"{table} is {'a virtual table' if kind == 'table' else _article(kind)}")
        if connection.execute(f"SELECT 1 FROM pragma_table_xinfo('{table}') WHERE hidden").fetchone():
            raise sqlite3.DatabaseError(f"{table} has columns that are computed")


def refuse_others(connection: sqlite3.Connection, ours: sqlite3.Connection, tables: frozenset[str], path: Path) -> None:
    """Raise `NotACassette` where the tables are not as in `ours`, which we made: to write them might run something."""
    there, here = (set(_on(tables, one)) for one in (connection, ours))
    for kind, name, table, _ in sorted(there ^ here, key=str):
        raise NotACassette(
            f"{path} cannot be appended to: {kind} {name} of its table {table} is not as omnirecord makes it. Export it"
            " as .jsonl, import that into a new cassette, and append to that"
        )


def refuse_company(path: Path) -> None:
    """Raise `NotACassette` where what lies beside it, and belongs to it, is no file: SQLite would wait for a pipe."""
    path = itself(path)  # which is where SQLite looks, whichever link was named
    for ending in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        try:
            mode = beside.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode):
            raise NotACassette(f"{beside} is a link, a pipe or a folder, and no file of omnirecord's: remove it")


def refuse_foreign_journal(path: Path) -> None:
    """Raise `NotACassette` where the journal beside it names another file: rolled back, it would delete that."""
    path = itself(path)
    journal = path.with_name(f"{path.name}-journal")
    if not journal.exists():
        return
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - len(_JOURNAL_MAGIC)))
        ending = file.read()
    if ending == _JOURNAL_MAGIC:
        raise NotACassette(f"{journal} names another file, as omnirecord's never do: remove it, or take another --db")


def _on(tables: frozenset[str], connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, str]]:
    for kind, name, table, sql, _ in connection.execute(_OBJECTS):
        if table in tables:
            yield kind, name, table, " ".join(str(sql).split())


def _article(kind: str) -> str:
    return kind if kind == "missing" else f"a {kind}"
