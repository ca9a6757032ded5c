"""The mark of a cassette that a rotation made: its own name, so that a copy or a renamed one is nobody's to remove."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..errors import CassetteError
from .schema import open_for_reading, remove_copy

_KEY = "made_as"


def mark(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, name))


def is_made_by_rotation(path: Path) -> bool:
    """Whether a rotation made this file under this name. A file that cannot be read is not taken for one."""
    try:
        connection = open_for_reading(path)
    except CassetteError:
        return False
    try:
        found = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    except sqlite3.Error:
        return False
    finally:
        remove_copy(connection)
    return bool(found == (path.name,))


def beside(path: Path) -> list[Path]:
    """What may stand beside a cassette that nobody records into, and is of no use without it."""
    ends = ["-search" + end for end in ("", "-wal", "-shm", "-journal")] + ["-wal", "-shm", "-journal"]
    return [path.with_name(path.name + end) for end in ends]


def bytes_of(path: Path) -> int:
    """How much it takes of the disk, with what stands beside it."""
    return sum(one.stat().st_size for one in (path, *beside(path)) if one.exists())
