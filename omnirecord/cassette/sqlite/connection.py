"""Connections to SQLite files: safe options, transactions, and errors as sentences.

A database may be from an unknown source, and SQLite executes parts of a schema. Such parts are views and virtual tables
in place of tables, generated columns, triggers and constraints. A journal beside the database may name another file,
which a rollback deletes. So a reader uses plain tables only, and a writer accepts only a schema that equals the one of
omnirecord.

A full or broken disk does not damage a cassette: its errors name the disk.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import BrokenCassette, CassetteError, CassetteInUse, NotACassette, UsageError
from ..files import has_room, is_of_the_disk, itself, mount_of, no_room, sibling, temporary, unwritable

LARGEST = 256 * 1024 * 1024
"""Largest value that is read, in bytes. Recorded values have at most 64 MiB."""
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""The first bytes of a rollback journal, and the last bytes of a journal for several files."""
_FLAGS = {"DEFENSIVE": True, "ENABLE_VIEW": False, "ENABLE_TRIGGER": False}
_OBJECTS = "SELECT type, name, tbl_name, sql, rootpage FROM sqlite_master"
_WRITING = (
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
)
"""Codes of a failed write. SQLITE_FULL stands for ENOSPC only, not for a quota or a limit."""
_DAMAGE = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA)
"""Codes of a file that is cut short or damaged."""


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def harden(connection: sqlite3.Connection, *, reads_only: bool) -> None:
    """Set the safe options of a connection. Call it before any use of the schema."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for name, value in _FLAGS.items():
        if flag := getattr(sqlite3, f"SQLITE_DBCONFIG_{name}", None):  # 3.12 on; the checks below refuse the same
            connection.setconfig(flag, value)  # type: ignore[attr-defined]
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
        {(*row[:3], " ".join(str(row[3]).split())) for row in one.execute(_OBJECTS) if row[2] in tables}
        for one in (connection, ours)
    )
    for kind, name, table, _ in sorted(there ^ here, key=str):
        raise NotACassette(
            f"{path} cannot be appended to: {kind} {name} of its table {table} is not as omnirecord makes it. Export it"
            " as .jsonl, import that into a new cassette, and append to that"
        )


def refuse_company(path: Path) -> None:
    """Raise `NotACassette` if the log, journal or shared memory is no regular file: SQLite would wait for a pipe."""
    for beside in (sibling(path, ending) for ending in ("-journal", "-wal", "-shm")):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(beside.lstat().st_mode):
                raise NotACassette(f"{beside} is a link, a pipe or a folder, and no file of omnirecord's: remove it")


def refuse_foreign_journal(path: Path) -> None:
    """Raise `NotACassette` if the journal names another file: a rollback would delete that file."""
    journal = sibling(path, "-journal")
    if not journal.exists():
        return
    with journal.open("rb") as file:
        file.seek(max(0, journal.stat().st_size - len(_JOURNAL_MAGIC)))
        ending = file.read()
    if ending == _JOURNAL_MAGIC:
        raise NotACassette(f"{journal} names another file, as omnirecord's never do: remove it, or take another --db")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: committed at the end, rolled back after an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def refused_by_disk(error: sqlite3.Error, path: Path) -> str | None:
    """Return a sentence that names the disk, if the disk causes the error; else None. SQLite also has temporary files,
    and does not tell which file system is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    kind = code & 0xFF
    if kind == sqlite3.SQLITE_FULL or (code in _WRITING and not has_room(path)):
        return no_room(path, temporary())
    if code in _WRITING:
        return f"cannot write {path}: {error} (the disk at {mount_of(path)}, a quota or `ulimit -f` refuses it)"
    if kind == sqlite3.SQLITE_IOERR and code not in _DAMAGE:
        return f"cannot use {path}: {error} (check the disk at {mount_of(path)})"
    if kind == sqlite3.SQLITE_CANTOPEN:
        return f"cannot open {path}: {error} (check the owner and mode of the file and its folder, and open files)"
    if kind == sqlite3.SQLITE_READONLY:
        return f"cannot write {path}: {error} (check its owner and mode, and whether the disk is read-only)"
    return None


@contextmanager
def clear_writing(named: Path) -> Iterator[None]:
    """Wrap the writing of a temporary database for `named`: raises `UsageError` if the disk refuses it."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        refusal = refused_by_disk(error, named)
        if refusal is None or (code & 0xFF != sqlite3.SQLITE_FULL and code not in _WRITING):
            raise
        raise UsageError(refusal) from error


def damaged(path: Path | str | None, why: object) -> BrokenCassette:
    path = path or "the cassette"
    return BrokenCassette(f"{path} is damaged ({why}): restore it from a copy, or from the .jsonl it was exported to")


@contextmanager
def clear_errors(path: Path | str) -> Iterator[None]:
    """Convert errors of SQLite and of the system about a file to `CassetteError`, with a clear sentence."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            why = "is in use by another program: wait until that has closed it, or stop it"
            raise CassetteInUse(f"{path} {why}") from error
        if (refusal := refused_by_disk(error, Path(path))) is not None:
            raise CassetteError(refusal) from error
        raise damaged(path, error) from error
    except UnicodeDecodeError as error:  # an SQLite message that quotes bytes of the file
        raise damaged(path, "it holds invalid text") from error
    except PermissionError as error:
        raise NotACassette(f"{path}: no permission ({error.strerror}): check its owner and mode") from error
    except OSError as error:
        if is_of_the_disk(error):
            raise CassetteError(unwritable(path, error)) from error
        raise NotACassette(f"{path}: {error.strerror or error}") from error


def is_usable_path(path: Path) -> None:
    """Raise `UsageError` for a directory, a pipe, a device or a circle of links."""
    with clear_errors(path):
        is_folder = path.is_dir()
        is_odd = path.exists() and not path.is_file()
    if path.is_symlink() and itself(path).is_symlink():
        raise UsageError(f"{path} is a symbolic link that leads in a circle: name a file")
    if is_folder:
        raise UsageError(f"{path} is a directory: name the cassette file in it")
    if is_odd:
        raise UsageError(f"{path} is a pipe or a device: name a file")
