"""Write transactions, and errors of SQLite that the disk causes: a full or broken disk does not damage a cassette."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import UsageError
from ..files import has_room, mount_of, no_room, temporary

_WRITING = (
    sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
)  # fmt: skip
"""Codes of a failed write. SQLITE_FULL stands for ENOSPC only, not for a quota or a limit."""
_DAMAGE = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS, sqlite3.SQLITE_IOERR_DATA)
"""Codes of a file that is cut short or damaged."""


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
    """Return a sentence that names the disk, if the disk causes the error; else None.

    SQLite also has temporary files, and does not tell which file system is full.
    """
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
