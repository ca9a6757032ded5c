"""Writes a cassette. A file has one writer at a time, and a writer belongs to one thread at a time.

Every `write` is one transaction. An open file is in WAL mode, so that readers see it grow; `close` leaves a single
file.

A cassette of a rotation is marked with its own name, so that a copy or a renamed file is never removed. It also has its
number in the order of recording: names and file times follow the system clock, which may be set back.
"""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import CassetteError, CassetteInUse, UsageError
from ...model import Headers
from ...redaction.pseudonyms import SALT_BYTES
from ..files import itself, sibling
from . import journal
from .checked import DAMAGED, blob_of, checked_size
from .connection import clear_errors, is_usable_path, transaction
from .lock import RecorderLock, identity, is_recorded
from .opening import create_or_open, has_no_tables, in_memory, is_sqlite, open_for_reading, open_to_mark, remove_copy
from .rows import FRAMED, GIVEN_KEY, Row, size_of
from .views import define

_LAST_READ = (
    "(SELECT offset_ns + json_extract(reads, '$[#-1][0]') FROM read_blocks WHERE exchange = x.exchange ORDER BY n DESC)"
)
_UNFINISHED = f"""
SELECT x.exchange, x.stream, x.response_headers, x.request_headers, x.target, r.contract, r.upstream, r.hop,
  (SELECT value FROM meta WHERE key = '{GIVEN_KEY}' || r.recording),
  max(x.request_at_ns, coalesce(x.response_at_ns, 0), coalesce({_LAST_READ}, 0),
      coalesce((SELECT max(at_ns) FROM messages WHERE exchange = x.exchange), 0)),
  {size_of("request")}, {size_of("response")}, x.ending, x.end_ns
FROM exchanges x JOIN recordings r USING (recording)
WHERE x.end_ns IS NULL OR (x.kind = 'sse' AND x.response_headers NOT LIKE '%content-encoding%'
  AND x.response_bytes > {FRAMED})
ORDER BY x.exchange"""


_NAME = "made_as"
_NUMBER = "made_number"
_SHIPPED = "shipped:"
"""The beginning of the keys of `meta` that name a lake with a copy of the cassette."""


_MANY = (64, 8)
"""Rows per statement."""
_FEW = (16, 4)
"""Rows per statement for a caller that pauses between statements; a statement takes 0.1 ms."""
_VALUES = re.compile(r"INSERT [A-Z ]*INTO \w+ VALUES (\([?, ]+\))")


@functools.cache
def _of_many(statement: str, many: int) -> str | None:
    """Return the statement that inserts `many` rows instead of one; None if the statement is no insertion."""
    found = _VALUES.fullmatch(statement)
    return found and statement + f", {found[1]}" * (many - 1)


UNWRITABLE = sqlite3.Error, OSError


class Unfinished(NamedTuple):
    """An exchange without an end, or a stream with bytes that are in no frame."""

    exchange: int
    stream: int | None
    headers: Headers
    request_headers: Headers
    target: str
    contract: str
    upstream: str | None
    hop: str | None
    contract_given: bool | None
    """The contract, and these three, are of its recording."""
    last_ns: int
    request_bytes: int
    response_bytes: int
    ending: str | None
    end_ns: int | None


def is_transient(error: Exception) -> bool:
    """Whether a retry of the write may succeed, because the disk or another process refused it."""
    refused = sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError
    return isinstance(error, (sqlite3.Error, OSError)) and not isinstance(error, refused)


def is_full(error: Exception) -> bool:
    """Whether a write failed because the disk has no room."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Writer:
    """An open cassette; in memory if `path` is None. Opening raises `CassetteError` or `UsageError`. `named` is the
    name of a temporary file in errors."""

    def __init__(self, path: Path | None, *, named: Path | None = None) -> None:
        self.path = path
        self._named = named or path or "the cassette"
        self._lock: RecorderLock | None = None
        self._is_new = False
        if path is None:
            self.connection = in_memory()
            define(self.connection)
            return
        is_usable_path(path)
        if path.suffix == ".zst":
            raise UsageError(f"{path}: a compressed cassette is a closed one, name a .db to record into")
        if path.suffix == ".jsonl":
            raise UsageError(f"{path}: the text form is for export and import, name a .db to record into")
        with clear_errors(self._named):
            self._lock = RecorderLock(path)
            self._is_new = not path.exists()
            try:
                self.connection = create_or_open(path, self._lock.lock_file, named)
                define(self.connection)
                self.connection.execute("DELETE FROM meta WHERE key GLOB ?", (_SHIPPED + "*",))
                with self.taking_over(), transaction(self.connection):
                    journal.settle(self.connection)
                self._identity = identity(path)
            except BaseException:
                self._remove_new()
                self._lock.release()
                raise

    def write(self, rows: Iterable[Row], rest: Callable[[], object] | None = None) -> None:
        """Apply all rows in order, or none. Raises what SQLite raises. `rest` is called between two statements of many
        rows, so that other threads can run. Other writers still wait for the end of the transaction."""
        with transaction(self.connection):
            for statement, group in groupby(rows, key=itemgetter(0)):
                self._execute(statement, list(map(itemgetter(1), group)), rest)

    def _execute(self, statement: str, values: list[tuple[Any, ...]], rest: Callable[[], object] | None) -> None:
        """Insert many rows per statement if possible: each statement releases and takes the GIL."""
        at = 0
        for many in _MANY if rest is None else _FEW:
            while len(values) - at >= many and (all_at_once := _of_many(statement, many)):
                self.connection.execute(all_at_once, [*chain.from_iterable(values[at : at + many])])
                at += many
                if rest is not None and many == _FEW[0]:
                    rest()
        if at < len(values):
            self.connection.executemany(statement, values[at:])

    def write_each(self, rows: Iterable[Row]) -> list[Row]:
        """Apply rows in order, in one transaction; leave out and return the rows that SQLite refuses."""
        refused = []
        with transaction(self.connection):
            for row in rows:
                try:
                    self.connection.execute(*row)
                except Exception as error:
                    if is_transient(error):
                        raise
                    refused.append(row)
        return refused

    @contextmanager
    def taking_over(self) -> Iterator[None]:
        """Convert errors of invalid values in the file to `BrokenCassette`."""
        with clear_errors(self._named):
            try:
                yield
            except DAMAGED as error:
                raise sqlite3.DatabaseError(str(error) or type(error).__name__) from error

    def last_number(self, what: str) -> int:
        """Return the highest number of a `recording`, `exchange` or `stream`; 0 if there is none."""
        table = "recordings" if what == "recording" else "exchanges"
        (number,) = self.connection.execute(f"SELECT max({what}) FROM {table}").fetchone()
        return checked_size(number or 0, f"the highest {what}")

    def salt(self, salt: bytes | None = None) -> bytes:
        """Return the salt of the cassette's pseudonyms. A cassette without one gets `salt`, or a random salt."""
        return self._meta("pseudonym_salt", salt or os.urandom(SALT_BYTES))

    def has_key(self, mark: bytes) -> bool:
        """Whether the pseudonyms of the cassette use the key with this mark. The first mark is stored."""
        return self._meta("pseudonym_mark", mark) == mark

    def _meta(self, key: str, value: bytes) -> bytes:
        """Return the value of a key in `meta`; store `value` if there is none."""
        self.connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
        return blob_of(self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone())

    def displaced(self) -> str | None:
        """Return what happened to the file if its path no longer leads to it; None if it still does."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "was removed or moved away"
        except OSError:
            return None  # unknown: the folder may be unreadable for a while
        if (found.st_dev, found.st_ino) != self._identity:
            return "was replaced by another file"
        return "was emptied by another program" if found.st_size == 0 else None

    def size(self) -> int:
        """Return the size of the closed cassette, in bytes."""
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        (size,) = self.connection.execute("PRAGMA page_size").fetchone()
        return int(pages * size)

    def received(self, exchange: int) -> int:
        """Return the number of bytes of a stream in `read_blocks`."""
        query = "SELECT start + size FROM read_blocks WHERE exchange = ? ORDER BY n DESC LIMIT 1"
        found = self.connection.execute(query, (exchange,)).fetchone()
        return 0 if found is None else int(found[0])

    def framed(self, stream: int) -> tuple[int, int, int]:
        """Return the number of stored frames of a stream, their content in bytes, and the read of the last frame."""
        columns = "seq, frames, start, length, read, reads"
        query = f"SELECT {columns} FROM frame_blocks WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        found = self.connection.execute(query, (stream,)).fetchone()
        if found is None:
            return 0, 0, 0
        seq, frames, start, length, read, reads = found
        return seq + frames - 1, start + length, read + json.loads(reads)[-1]

    def unfinished(self) -> list[Unfinished]:
        """Return the exchanges that a killed recorder left; call it before a recording begins."""
        return [
            Unfinished(exchange, stream, tuple(json.loads(answered or "[]")), tuple(json.loads(asked)), *rest)
            for exchange, stream, answered, asked, *rest in self.connection.execute(_UNFINISHED)
        ]

    def _leave_wal(self) -> None:
        """Leave WAL mode. SQLite does not wait for readers here, and a follower reads for a moment only: retry."""
        for pause in (0.005, 0.01, 0.02, 0.03, 0.05, 0.0):
            try:
                self.connection.execute("PRAGMA journal_mode = DELETE").fetchone()
                return
            except sqlite3.OperationalError:
                time.sleep(pause)

    def settle(self) -> None:
        """Move all data from the log into the file. Raises `CassetteError`."""
        with clear_errors(self._named):
            busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("another program has it open")

    def discard(self) -> None:
        """Close the cassette. Remove the file if this writer created it."""
        if not self._is_new:
            self.close()
        elif self._lock is not None:
            self.connection.close()
            self._remove_new()
            self._lock.release()
            self._lock = None

    def _remove_new(self) -> None:
        if self._is_new and self.path is not None:
            for part in (sibling(self.path, ending) for ending in ("", "-wal", "-shm", "-journal")):
                with suppress(OSError):
                    if stat.S_ISREG(part.lstat().st_mode):
                        part.unlink()

    @contextmanager
    def _interrupted(self, within: float) -> Iterator[None]:
        """Interrupt SQLite after `within` seconds. Closing the connection then does not checkpoint again."""
        timer = threading.Timer(min(within, threading.TIMEOUT_MAX), self.connection.interrupt)
        if within < math.inf:
            with suppress(RuntimeError):  # no thread can be started: closing has no limit
                timer.start()
        try:
            yield
        except sqlite3.OperationalError:
            if sys.version_info >= (3, 12):
                self.connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
            raise
        finally:
            timer.cancel()

    def close(self, within: float = math.inf) -> None:
        """Leave a single file, and release the lock. The log stays beside the file if it has a reader, or if the disk
        takes longer than `within` seconds."""
        if self._lock is None:  # closed before, in memory, or beside another writer
            self.connection.close()
            return
        with suppress(sqlite3.Error), self._interrupted(within):  # else the next recorder moves the log into the file
            self.connection.execute("PRAGMA incremental_vacuum").fetchall()
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._leave_wal()
        self.connection.close()
        self._lock.release()
        self._lock = None


def mark(connection: sqlite3.Connection, name: str, number: int) -> None:
    """Mark a cassette as made by a rotation, with its file name and its number."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?), (?, ?)", (_NAME, name, _NUMBER, number))


def number_made(path: Path) -> int | None:
    """Return the number of a cassette that a rotation made under this name. 0 if the version had no numbers; None for
    any other file, and for one that cannot be read."""
    found = _meta_of(path)
    if found.get(_NAME) != path.name:
        return None
    number = found.get(_NUMBER)
    return number if type(number) is int else 0


def mark_shipped(path: Path, lake: str, recordings: int | None = None) -> bool:
    """Mark a closed cassette as shipped to `lake`, a URL without credentials; return whether it is marked now.

    False, and no change, for a file that is text, compressed, read-only, being recorded, left by a killed recorder, or
    in use by a reader. The same for another number of `recordings`. The modification time stays. A writer that opens
    the cassette removes all marks. Raises `CassetteError` for a damaged file.
    """
    with clear_errors(path):
        before = path.stat()
        if not is_sqlite(path) or not os.access(path, os.W_OK) or not os.access(itself(path).parent, os.W_OK):
            return False
    try:
        with clear_errors(path):
            lock = RecorderLock(path, is_shipper=True)
            try:
                return not is_recorded(path) and _mark_shipped(path, lake, recordings)
            finally:
                with suppress(OSError):
                    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
                lock.release()
    except CassetteInUse:
        return False


def _mark_shipped(path: Path, lake: str, recordings: int | None) -> bool:
    if any(sibling(path, end).exists() for end in ("-wal", "-journal")):
        return False
    with closing(open_to_mark(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM recordings").fetchone()
        if recordings not in (None, count):
            return False
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SHIPPED + lake, time.time_ns()))
    return True


def shipped_to(path: Path) -> frozenset[str]:
    """Return the lakes that have the whole content of a cassette, by its marks; none for a file without marks."""
    with suppress(OSError):
        if is_sqlite(path):
            return frozenset(key.removeprefix(_SHIPPED) for key in _meta_of(path) if key.startswith(_SHIPPED))
    return frozenset()


def _meta_of(path: Path) -> dict[str, Any]:
    """Return the values in `meta`, by key; nothing for a file that cannot be read."""
    with suppress(CassetteError, sqlite3.Error, ValueError):
        connection = open_for_reading(path)
        try:
            return {str(key): value for key, value in connection.execute("SELECT key, value FROM meta")}
        finally:
            remove_copy(connection)
    return {}


def holds_nothing(path: Path) -> bool:
    """Return whether a file has no content, no tables or no recording: its recorder was killed while it made the file.
    Raises what SQLite raises, or `OSError`."""
    if not path.stat().st_size:
        return True
    if not is_sqlite(path):
        return False
    if has_no_tables(path):
        return True
    with suppress(CassetteError):
        connection = open_for_reading(path)
        try:
            return bool(connection.execute("SELECT count(*) FROM recordings").fetchone() == (0,))
        finally:
            remove_copy(connection)
    return False


def beside(path: Path) -> list[Path]:
    """Return the paths of the files that may lie beside a closed cassette and belong to it."""
    ends = ["-search" + end for end in ("", "-wal", "-shm", "-journal")] + ["-wal", "-shm", "-journal", "-reserve"]
    return [path.with_name(path.name + end) for end in ends]


def bytes_of(path: Path) -> int:
    """Return the size of a cassette on the disk, with the files beside it, in bytes."""
    return sum(one.stat().st_size for one in (path, *beside(path)) if one.exists())
