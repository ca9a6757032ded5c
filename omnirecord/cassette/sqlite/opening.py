"""Opens a cassette file, for a reader or a writer.

A reader never writes. A file that is no cassette, or a newer one, is refused and left unchanged. An older cassette is
migrated in one transaction, by a writer only.

A compressed cassette is always closed. It is decompressed into memory or, if large, into an unlinked file: no
decompressed data stays on the disk, however the process ends. The size is limited by the size of the file. The content
is trusted as little as that of any other file.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

from ...errors import BrokenCassette, NewerCassette, NotACassette
from ...wire.content_coding import ZSTD_MAGIC, PackingError, unpacked
from ..files import TemporaryFolder, copied_aside, itself, pieces_of
from . import schema
from .checked import DAMAGED
from .connection import (
    clear_errors,
    closed_on_error,
    harden,
    refuse_company,
    refuse_foreign_journal,
    refuse_other_kinds,
    refuse_others,
    transaction,
)
from .lock import JOURNAL, connect, identity, in_use, refuse_log_elsewhere, refuse_other_name
from .rows import PAGE_SIZE
from .schema import APPLICATION_ID, SCHEMA_VERSION
from .views import define_ids

log = logging.getLogger("omnirecord")

CACHE = 512
"""Page cache of a writer in KiB, a quarter of SQLite's default: it reads its latest rows only. Of two writers, each
discards its cache when the other one has written."""
_MAGIC = b"SQLite format 3\0"
IN_MEMORY = 32 << 20
"""Largest database that is decompressed into memory, in bytes."""
FREE = 1 << 30
"""Limit of decompressed bytes for a small file: 1 GiB needs no warning."""
_RATIO = 100
"""Highest accepted compression ratio; cassettes shrink to between a tenth and a thirtieth."""


def is_sqlite(path: Path) -> bool:
    """Whether the file begins as an SQLite database. Raises `OSError`."""
    return in_use(identity(path)) or _begins(path, _MAGIC)


def is_packed(path: Path) -> bool:
    """Whether the file begins as a compressed file. Raises `OSError`."""
    return not in_use(identity(path)) and _begins(path, ZSTD_MAGIC)


def is_database(path: Path) -> bool:
    """Whether the file is an SQLite database, compressed or not. Raises `OSError`."""
    return is_sqlite(path) or (_begins(path, ZSTD_MAGIC) and _head(path, len(_MAGIC)) == _MAGIC)


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def content(path: Path, free: int = FREE) -> Generator[bytes, None, None]:
    """Yield the decompressed bytes of a file. Raises `BrokenCassette`. `free`: limit of bytes for a small file."""
    try:
        yield from unpacked(pieces_of(path), max(free, _RATIO * path.stat().st_size))
    except PackingError as error:
        raise BrokenCassette(
            f"{path} cannot be unpacked: {error}. Restore it from a copy; or, if you trust it, unpack it with zstd -d"
        ) from error


def _head(path: Path, size: int) -> bytes:
    """Return the first `size` decompressed bytes, or fewer if the file is damaged."""
    found = b""
    with closing(content(path)) as pieces, suppress(BrokenCassette, StopIteration):
        while len(found) < size:
            found += next(pieces)
    return found[:size]


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to a cassette. Raises `CassetteError`. The file may be closed, being recorded, left
    by a killed recorder, or compressed. A cassette of version 4 is read through temporary views; an older one is
    converted in memory."""
    with clear_errors(path):
        if is_packed(path):
            connection = connect_packed(path)
        else:
            refuse_company(path)
            refuse_other_name(path)
            connection = _connect_read_only(path)
        try:
            version = _check_version(connection, path)
            refuse_other_kinds(connection, schema.TABLES[version])
            define_ids(connection)
            if version < schema.RENAMED:
                return _modern(connection)
            if version == schema.RENAMED:
                schema.name_as_now(connection)
            return connection
        except BaseException:
            remove_copy(connection)
            raise


def _modern(old: sqlite3.Connection) -> sqlite3.Connection:
    with closed_on_error(in_memory()) as new:
        try:
            new.execute("BEGIN")
            schema.copy(old, new)
            new.execute("COMMIT")
        except DAMAGED as error:
            raise sqlite3.DatabaseError(str(error) or type(error).__name__) from error
    remove_copy(old)
    harden(new, reads_only=True)
    return new


def _connect_read_only(path: Path) -> sqlite3.Connection:
    try:
        return _hardened(connect(path, "ro"))
    except sqlite3.OperationalError:
        copy = _copy_aside(path)
    try:
        return _hardened(connect(copy, "rw"))
    except BaseException:
        _COPIES.pop(copy.parent).cleanup()
        raise


def _hardened(connection: sqlite3.Connection) -> sqlite3.Connection:
    with closed_on_error(connection):
        harden(connection, reads_only=True)
        connection.execute("PRAGMA user_version").fetchone()  # the first access reads the header and the log
    return connection


def connect_packed(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to a decompressed database. Raises `BrokenCassette`, `UsageError` or what SQLite
    raises."""
    pieces = content(path)
    begun = bytearray()
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
        with closed_on_error(connection), file:
            file.writelines(pieces)
        return _hardened(connection)


_COPYING = threading.Lock()
"""Held while the empty cassette in memory is copied."""
_COPIES: dict[Path, TemporaryFolder] = {}
"""Temporary folders with a copy of a cassette; no other folder is ever removed."""


def _copy_aside(path: Path) -> Path:
    """Return a copy of a cassette with its log: a read-only folder has no room for SQLite's shared memory."""
    path = itself(path)  # the log is beside the file, not beside a link to it
    with copied_aside(path, "copied"):
        made = TemporaryFolder("copy")
        try:
            folder = Path(made.name).resolve()
            for part in ("", "-wal"):
                source = path.with_name(path.name + part)
                if source.exists():
                    shutil.copyfile(source, folder / source.name)
        except BaseException:
            made.cleanup()
            raise
        _COPIES[folder] = made
    return folder / path.name


def create_or_open(path: Path, lock: Callable[[Path], None], named: Path | None = None) -> sqlite3.Connection:
    """Return a connection for a writer. A missing file is created with mode 0600, an older cassette is migrated. `lock`
    locks the file, or raises `CassetteInUse`. `named` is the name of the file in errors. Raises `CassetteError`."""
    with clear_errors(named or path):
        if path.exists() and path.stat().st_size and not is_sqlite(path):
            raise NotACassette(f"{path} is there and is no SQLite cassette: choose another --db, it was left as it is")
        refuse_company(path)
        if not path.exists():
            os.close(os.open(itself(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            lock(path)
        else:
            lock(path)
            refuse_log_elsewhere(path)
            refuse_foreign_journal(path)
            _refuse_if_not_ours(path)
        with closed_on_error(_connect_writer(path)) as connection:
            _prepare(connection, path)
    return connection


def open_to_mark(path: Path) -> sqlite3.Connection:
    """Return a connection for a change of `meta` in a closed cassette of any version. Raises what SQLite raises."""
    with (
        closed_on_error(_connect_writer(path)) as connection,
        closing(in_memory(_check_version(connection, path))) as ours,
    ):
        refuse_others(connection, ours, frozenset({"meta"}), path)
    return connection


def _connect_writer(path: Path) -> sqlite3.Connection:
    with closed_on_error(connect(path, "rw", isolation_level=None, timeout=1.0)) as connection:
        harden(connection, reads_only=False)
    return connection


def _refuse_if_not_ours(path: Path) -> None:
    """Raise `CassetteError` for a file that is no cassette: opening it for writing would move its log into it."""
    try:
        connection = _hardened(connect(path, "ro"))
    except sqlite3.OperationalError:
        return  # only a writer can roll back an incomplete transaction
    with closing(connection):
        if not _is_without_tables(connection):
            _check_version(connection, path)


def has_no_tables(path: Path) -> bool:
    """Return whether a database has no tables. Raises what SQLite raises, or `OSError`."""
    with path.open("rb") as file:
        page_size = int.from_bytes(file.read(18)[16:])
    log = path.with_name(f"{path.name}-wal")
    if path.stat().st_size == page_size and not (log.exists() and log.stat().st_size):
        return True  # a table has a page of its own; only a writer could roll back an incomplete transaction
    with closing(_hardened(connect(path, "ro"))) as connection:
        return _is_without_tables(connection)


def _is_without_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,))


def in_memory(version: int = SCHEMA_VERSION) -> sqlite3.Connection:
    """Return a connection to an empty cassette in memory, with the tables of the given version."""
    connection = _memory()
    with _COPYING:
        _empty(version).backup(connection)
    define_ids(connection)
    return connection


def _memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


@functools.cache
def _empty(version: int) -> sqlite3.Connection:
    """Return an empty cassette to copy: a copy takes an eightieth of the time."""
    connection = _memory()
    _create(connection, version)
    atexit.register(connection.close)
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if _is_without_tables(connection):
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # the journal leaves free pages
        connection.execute("PRAGMA journal_mode = WAL")
        _create(connection)
    else:
        version = _check_version(connection, path)
        with closing(in_memory(version)) as ours:
            refuse_others(connection, ours, schema.TABLES[version], path)
        connection.execute("PRAGMA journal_mode = WAL")
        define_ids(connection)
        if version != SCHEMA_VERSION:
            with transaction(connection):
                schema.convert(connection, version)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if schema.forget_key(connection):
            log.warning(
                "%s held the key of its pseudonyms, by which guesses of a secret can be confirmed. It was removed;"
                " copies of the file still hold it. New recordings in it get other pseudonyms.",
                path,
            )
    _tune(connection)


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{CACHE}")


def _create(connection: sqlite3.Connection, version: int = SCHEMA_VERSION) -> None:
    pragmas = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
    connection.executescript(f"BEGIN; {schema.SCHEMAS[version]} {pragmas} COMMIT;")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise NotACassette(f"{path} is an SQLite database, but no cassette")
    if version > SCHEMA_VERSION:
        known = f"this omnirecord reads up to {SCHEMA_VERSION}: upgrade omnirecord"
        raise NewerCassette(f"{path} has cassette format {version}, {known}")
    return int(version)


def is_aside(connection: sqlite3.Connection) -> bool:
    """Whether a reading connection is to a copy of the cassette, or to a converted older cassette."""
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    return not file or Path(file).parent in _COPIES


def remove_copy(connection: sqlite3.Connection) -> None:
    """Close a reading connection, and remove the copy if there is one."""
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    connection.close()
    if file and (made := _COPIES.pop(Path(file).parent, None)):
        made.cleanup()
