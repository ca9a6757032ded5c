"""The form of the SQLite cassette, its version, and how one is opened.

Rules: a reader never writes; a file that is no cassette, or a newer one, is refused and left as it was; an older
one is migrated in one transaction, by a writer only.

A stream's bytes are stored once. They arrive as rows of `chunks`; frames are made from them behind the recording,
and the chunks that a frame has used up are deleted. What of a body is in no frame yet is still in `chunks`. Bodies
that are no stream, and streams with a content coding (whose wire bytes cannot be made from frames), stay there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import BrokenCassette, CassetteInUse, NewerCassette, NotACassette, UsageError
from ..files import itself
from . import packed
from .distrust import harden, loosened, refuse_company, refuse_foreign_journal, refuse_other_kinds, refuse_others
from .views import FAMILY, VIEWS

SCHEMA_VERSION = 3
"""`user_version`. 2: views for people, and no foreign key by which Datasette linked a frame to another's exchange.
3: `tallies`, so that a list of streams is made without reading all frames."""
APPLICATION_ID = 0x6F6D6E72  # "omnr"
_MAGIC = b"SQLite format 3\0"

_TALLIES = """CREATE TABLE tallies (
  stream INTEGER NOT NULL, verdict TEXT NOT NULL, frames INTEGER NOT NULL, length INTEGER NOT NULL,
  PRIMARY KEY (stream, verdict)) WITHOUT ROWID;"""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE recordings (
  recording INTEGER PRIMARY KEY, started_at TEXT NOT NULL, version TEXT NOT NULL, contract TEXT NOT NULL,
  upstream TEXT);
CREATE TABLE exchanges (
  exchange INTEGER PRIMARY KEY, recording INTEGER NOT NULL REFERENCES recordings(recording),
  kind TEXT NOT NULL, stream INTEGER UNIQUE, session_id TEXT, party TEXT NOT NULL,
  request_at_ns INTEGER NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL, request_headers TEXT NOT NULL,
  response_at_ns INTEGER, status INTEGER, reason TEXT, response_headers TEXT,
  end_ns INTEGER, ending TEXT, request_bytes INTEGER NOT NULL DEFAULT 0, response_bytes INTEGER NOT NULL DEFAULT 0);
CREATE INDEX exchanges_by_session ON exchanges(session_id);
CREATE TABLE chunks (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), side TEXT NOT NULL, start INTEGER NOT NULL,
  data BLOB NOT NULL);
CREATE INDEX chunks_by_place ON chunks(exchange, side, start);
CREATE TABLE reads (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), n INTEGER NOT NULL, offset_ns INTEGER NOT NULL,
  sent_ns INTEGER, size INTEGER NOT NULL, PRIMARY KEY (exchange, n)) WITHOUT ROWID;
CREATE TABLE frames (
  stream INTEGER NOT NULL, seq INTEGER NOT NULL, read INTEGER NOT NULL,
  type TEXT, verdict TEXT NOT NULL, issues TEXT, length INTEGER NOT NULL, raw, PRIMARY KEY (stream, seq)
  ) WITHOUT ROWID;
CREATE INDEX frames_of_family ON frames(type, stream, seq) WHERE type IN {FAMILY};
{_TALLIES}
CREATE TABLE messages (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), message INTEGER NOT NULL, at_ns INTEGER NOT NULL,
  sent_ns INTEGER, dir TEXT NOT NULL, opcode INTEGER NOT NULL, data, PRIMARY KEY (exchange, message)) WITHOUT ROWID;
CREATE TABLE incidents (
  recording INTEGER NOT NULL REFERENCES recordings(recording), at_ns INTEGER NOT NULL, message TEXT NOT NULL);
{VIEWS}"""

TABLES = frozenset({"meta", "recordings", "exchanges", "chunks", "reads", "frames", "tallies", "messages", "incidents"})
_ADDED: dict[str, int] = {"tallies": 3}
"""The versions from which on there are tables that the first one had not."""

_SECOND = SCHEMA.replace(_TALLIES, "")
FORMER: dict[int, str] = {
    1: _SECOND.replace("stream INTEGER NOT NULL, seq", "stream INTEGER NOT NULL REFERENCES exchanges(stream), seq"),
    2: _SECOND,
}
"""The tables of older versions, as they made them."""


def has_tallies(connection: sqlite3.Connection) -> bool:
    """Whether a cassette's version has them: what goes by that name in an older one is not looked at."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= _ADDED["tallies"])


MIGRATIONS: dict[int, str] = {
    1: f"""
DROP VIEW IF EXISTS events;
DROP VIEW IF EXISTS sessions;
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = replace(sql, ' REFERENCES exchanges(stream)', '') WHERE name = 'frames';
PRAGMA writable_schema = OFF;
{VIEWS}""",
    2: f"""
{_TALLIES}
INSERT INTO tallies SELECT stream, verdict, count(*), sum(length) FROM frames GROUP BY stream, verdict;""",
}
"""From the version that is the key to the next one. Dropping a foreign key so is what SQLite's manual recommends."""


OURS: set[tuple[int, int]] = set()
"""The files, by device and number, that this process writes. To open one in any other way and close it would drop
SQLite's locks on it, and another program could then throw away the log that is written."""


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def is_sqlite(path: Path) -> bool:
    """Whether the file says of itself that it is an SQLite database."""
    if identity(path) in OURS:
        return True
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def is_packed(path: Path) -> bool:
    """Whether the file says of itself that it is compressed."""
    return identity(path) not in OURS and packed.begins_packed(path)


def is_database(path: Path) -> bool:
    """Whether the file is an SQLite database, compressed or not."""
    return is_sqlite(path) or (packed.begins_packed(path) and packed.head(path, len(_MAGIC)) == _MAGIC)


@contextmanager
def clear_errors(path: Path | str) -> Iterator[None]:
    """Turn what SQLite and the system say about a file into our own sentences."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise CassetteInUse(
                f"{path} is in use by another program: wait until that has closed it, or stop it"
            ) from error
        raise BrokenCassette(
            f"{path} is damaged ({error}): restore it from a copy, or from the .jsonl it was exported to"
        ) from error
    except UnicodeDecodeError as error:  # of what SQLite says, with a piece of the file in it
        raise BrokenCassette(
            f"{path} is damaged (text in it is no text): restore it from a copy, or from the .jsonl it was exported to"
        ) from error
    except PermissionError as error:
        raise NotACassette(f"{path}: no permission ({error.strerror}): check its owner and mode") from error
    except OSError as error:
        raise NotACassette(f"{path}: {error.strerror or error}") from error


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, on a file that is closed, being recorded, left behind by a killed recorder, or
    compressed."""
    with clear_errors(path):
        if is_packed(path):
            connection = packed.connect(path)
        else:
            refuse_company(path)
            connection = _connect_read_only(path)
        try:
            version = _check_version(connection, path)
            refuse_other_kinds(connection, frozenset(name for name in TABLES if _ADDED.get(name, 1) <= version))
        except BaseException:
            remove_copy(connection)
            raise
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path, "ro")
    except sqlite3.OperationalError:
        copy = _copy_aside(path)
    try:
        return _connect(copy, "rw")
    except BaseException:
        _COPIES.discard(copy.parent)
        shutil.rmtree(copy.parent, ignore_errors=True)
        raise


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False)
    try:
        harden(connection, reads_only=True)
        connection.execute("PRAGMA user_version").fetchone()  # the first access reads the header and the log
    except BaseException:
        connection.close()
        raise
    return connection


_COPIES: set[Path] = set()
"""The folders of our own that hold a copy: only these are ever thrown away."""


def _copy_aside(path: Path) -> Path:
    """A folder that may not be written has no room for SQLite's shared memory: read a copy with its log instead."""
    folder = Path(tempfile.mkdtemp(prefix="omnirecord-")).resolve()
    _COPIES.add(folder)
    path = itself(path)  # the log is beside the file, not beside a link to it
    for part in ("", "-wal"):
        source = path.with_name(path.name + part)
        if source.exists():
            shutil.copyfile(source, folder / source.name)
    return folder / path.name


def create_or_open(path: Path) -> sqlite3.Connection:
    """A connection for the recorder: the file is made (mode 0600) if it is not there, and migrated if it is older."""
    with clear_errors(path):
        if path.exists() and path.stat().st_size and not is_sqlite(path):
            raise NotACassette(f"{path} is there and is no SQLite cassette: choose another --db, it was left as it is")
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        else:
            refuse_company(path)
            refuse_foreign_journal(path)
            _refuse_if_not_ours(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            harden(connection, reads_only=False)
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _refuse_if_not_ours(path: Path) -> None:
    """Look before we write: to open and close a database for writing is to fold its log into it, whoever's it is."""
    try:
        connection = _connect(path, "ro")
    except sqlite3.OperationalError:
        return  # a half-written transaction is to be rolled back first, which no reader can
    with closing(connection):
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            _check_version(connection, path)


def in_memory(version: int = SCHEMA_VERSION) -> sqlite3.Connection:
    """An empty cassette that has no file."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _create(connection, FORMER.get(version, SCHEMA))
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        connection.execute("PRAGMA journal_mode = WAL")
        _create(connection)
    else:
        with closing(in_memory(_check_version(connection, path))) as ours:
            refuse_others(connection, ours, TABLES, path)
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection)
    connection.execute("PRAGMA synchronous = NORMAL")


def _create(connection: sqlite3.Connection, schema: str = SCHEMA) -> None:
    connection.executescript(
        f"BEGIN; {schema} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    steps = "".join(MIGRATIONS[v] for v in range(version, SCHEMA_VERSION))
    if steps:
        with loosened(connection):
            connection.executescript(f"BEGIN; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise NotACassette(f"{path} is an SQLite database, but no cassette")
    if version > SCHEMA_VERSION:
        raise NewerCassette(
            f"{path} has cassette format {version}, this omnirecord reads up to {SCHEMA_VERSION}: upgrade omnirecord"
        )
    return int(version)


def free_path(path: Path) -> Path:
    """Where a new cassette can be made: at `path`, where that is free or an empty file, else beside it, numbered."""
    number, found = 1, path
    while found.exists() and found.stat().st_size:
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def is_copy(connection: sqlite3.Connection) -> bool:
    """Whether a reading connection is one to a copy that was put aside."""
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    return bool(file) and Path(file).parent in _COPIES


def remove_copy(connection: sqlite3.Connection) -> None:
    """Close a reading connection, and throw away the copy if it was one."""
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    was_copy = is_copy(connection)
    connection.close()
    if was_copy:
        _COPIES.discard(Path(file).parent)
        shutil.rmtree(Path(file).parent, ignore_errors=True)


def is_usable_path(path: Path) -> None:
    """Refuse what can be no cassette whatever it holds."""
    with clear_errors(path):
        is_folder, is_odd = path.is_dir(), path.exists() and not path.is_file()
    if is_folder:
        raise UsageError(f"{path} is a directory: name the cassette file in it")
    if is_odd:
        raise UsageError(f"{path} is a pipe or a device: name a file")
