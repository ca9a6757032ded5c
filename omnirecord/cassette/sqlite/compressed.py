"""Opens compressed cassettes: decompresses them into memory or, if large, into an unlinked file.

A compressed cassette is always closed. No decompressed data stays on the disk, however the process ends. The size is
limited by the size of the file. The content is trusted as little as that of any other file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import BrokenCassette
from ...wire.content_coding import ZSTD_MAGIC, PackingError, unpacked
from ..files import TemporaryFolder, copied_aside, folder_for, temporary
from .connection import clear_writing, closed_on_error, harden
from .migrations import forget_key

if TYPE_CHECKING:
    from .reader import Store

IN_MEMORY = 32 << 20
"""Largest database that is decompressed into memory, in bytes."""
FREE = 1 << 30
"""Limit of decompressed bytes for a small file: 1 GiB needs no warning."""
_RATIO = 100
"""Highest accepted compression ratio; cassettes shrink to between a tenth and a thirtieth."""
_PIECE = 1 << 20
JOURNAL = slice(18, 20)
"""Bytes of a database header that say that it has a log; a compressed database has none."""


def begins_packed(path: Path) -> bool:
    """Whether the file begins as a file compressed with zstd. Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC


def content(path: Path, free: int = FREE) -> Generator[bytes, None, None]:
    """Yield the decompressed bytes. Raises `BrokenCassette`. `free`: limit of bytes for a small file."""
    try:
        with path.open("rb") as file:
            most = max(free, _RATIO * os.fstat(file.fileno()).st_size)
            yield from unpacked(iter(lambda: file.read(_PIECE), b""), most)
    except PackingError as error:
        raise BrokenCassette(
            f"{path} cannot be unpacked: {error}. Restore it from a copy; or, if you trust it, unpack it with zstd -d"
        ) from error


def head(path: Path, size: int) -> bytes:
    """Return the first `size` decompressed bytes, or fewer if the file is damaged."""
    found = b""
    with closing(content(path)) as pieces:
        try:
            while len(found) < size:
                found += next(pieces)
        except (BrokenCassette, StopIteration):
            pass
    return found[:size]


def connect(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to a decompressed database.

    Raises `BrokenCassette`, `UsageError` or what SQLite raises.
    """
    pieces, begun = content(path), bytearray()
    with closing(pieces):
        for piece in pieces:
            begun += piece
            if len(begun) > IN_MEMORY:
                begun[JOURNAL] = b"\1\1"
                return _without_a_name(path, chain([bytes(begun)], pieces))
    begun[JOURNAL] = b"\1\1"
    with closed_on_error(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        connection.deserialize(begun)
        return _hardened(connection)


def _without_a_name(path: Path, pieces: Iterator[bytes]) -> sqlite3.Connection:
    """Return a connection to an unlinked file. SQLite opens the empty file; its folder is then removed."""
    with copied_aside(path, "unpacked"):
        with TemporaryFolder("unpacked") as folder:
            name = Path(folder) / "unpacked.db"
            file = name.open("xb")
            # Without locks, which closing the file below would drop. No other process knows the file.
            connection = sqlite3.connect(f"{name.as_uri()}?mode=ro&nolock=1", uri=True, check_same_thread=False)
        with closed_on_error(connection):
            with file:
                file.writelines(pieces)
            return _hardened(connection)


def _hardened(connection: sqlite3.Connection) -> sqlite3.Connection:
    harden(connection, reads_only=True)
    connection.execute("PRAGMA user_version").fetchone()  # the first access reads the header
    return connection


def copy_database(store: Store, output: Path | None) -> Iterator[bytes]:
    """Yield the bytes of a cassette as one database file without a log.

    The copy is made beside `output`, or in the temporary folder. Raises `CassetteError`, and `UsageError` if no copy
    can be made.
    """
    named = temporary() if output is None else output
    with folder_for(output, "packed") as name:
        made = Path(name) / "copy.db"
        with closing(sqlite3.connect(made)) as copy:
            copy.isolation_level = None
            store.backup(copy, named)
            with clear_writing(named):
                copy.execute("PRAGMA journal_mode = DELETE").fetchone()
                forget_key(copy)
        with made.open("rb") as file:
            yield from iter(lambda: file.read(_PIECE), b"")
