"""The mark of a cassette that a rotation made: its own name, so that a copy or a renamed one is not removed.

Beside it is the cassette's number in the order of recording. Names and file times follow the system's clock, which may
be set back.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import CassetteError
from .schema import open_for_reading, remove_copy

_NAME, _NUMBER = "made_as", "made_number"


def mark(connection: sqlite3.Connection, name: str, number: int) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?), (?, ?)", (_NAME, name, _NUMBER, number))


def number_made(path: Path) -> int | None:
    """The number of a file that a rotation made under this name: 0 if it is of a version without numbers; None for any
    other file, and for one that cannot be read."""
    try:
        connection = open_for_reading(path)
    except CassetteError:
        return None
    try:
        found = dict(connection.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", (_NAME, _NUMBER)))
    except (sqlite3.Error, ValueError):
        return None
    finally:
        remove_copy(connection)
    number = found.get(_NUMBER)
    return (number if type(number) is int else 0) if found.get(_NAME) == path.name else None


def beside(path: Path) -> list[Path]:
    """What may stand beside a cassette that nobody records into, and is of no use without it."""
    ends = ["-search" + end for end in ("", "-wal", "-shm", "-journal")] + ["-wal", "-shm", "-journal"]
    return [path.with_name(path.name + end) for end in ends]


def bytes_of(path: Path) -> int:
    """How much it takes of the disk, with what stands beside it."""
    return sum(one.stat().st_size for one in (path, *beside(path)) if one.exists())
