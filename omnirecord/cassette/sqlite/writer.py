"""Writes a cassette: one at a time for a file, one thread at a time.

Every `write` is one transaction. While it is open the file is in WAL mode, so that readers see it grow; `close`
leaves a single clean file. Nothing here knows what the rows mean.

The mark of a cassette that a rotation made: its own name, so that a copy or a renamed one is not removed.

Beside it is the cassette's number in the order of recording. Names and file times follow the system's clock, which may
be set back.
"""

from __future__ import annotations

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from ...errors import CassetteError, UsageError
from ...model import Headers
from ...redaction.pseudonyms import SALT_BYTES
from ..files import itself
from .checked import DAMAGED, blob_of, size_or_damage
from .lock import RecorderLock, identity
from .rows import FRAMED, Row, size_of
from .schema import clear_errors, create_or_open, in_memory, is_usable_path, open_beside, open_for_reading, remove_copy
from .views import define

_LAST_READ = (
    "(SELECT offset_ns + json_extract(reads, '$[#-1][0]') FROM pieces WHERE exchange = x.exchange ORDER BY n DESC)"
)
_UNFINISHED = f"""
SELECT x.exchange, x.stream, x.response_headers, r.contract,
  max(x.request_at_ns, coalesce(x.response_at_ns, 0), coalesce({_LAST_READ}, 0),
      coalesce((SELECT max(at_ns) FROM messages WHERE exchange = x.exchange), 0)),
  {size_of("request")}, {size_of("response")}, x.ending, x.end_ns
FROM exchanges x JOIN recordings r USING (recording)
WHERE x.end_ns IS NULL OR (x.kind = 'sse' AND x.response_headers NOT LIKE '%content-encoding%'
  AND x.response_bytes > {FRAMED})
ORDER BY x.exchange"""


_LEAVING = (0.005, 0.01, 0.02, 0.03, 0.05, 0.0)
"""Seconds between the attempts to leave one clean file."""


_MANY = (64, 8)
"""Rows by one statement."""
_FEW = (16, 4)
"""The same for whoever wants to rest in between: small ones take 0.1 ms."""
_VALUES = re.compile(r"INSERT [A-Z ]*INTO \w+ VALUES (\([?, ]+\))")


@functools.cache
def _of_many(statement: str, many: int) -> str | None:
    """The statement that inserts so many rows instead of one; None where it does something else."""
    found = _VALUES.fullmatch(statement)
    return found and statement + f", {found[1]}" * (many - 1)


UNWRITABLE = sqlite3.Error, OSError
"""What is raised where a file cannot be written."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An exchange without an end, or a stream with bytes that are in no frame, as far as the file has it."""

    exchange: int
    stream: int | None
    headers: Headers
    contract: str
    last_ns: int
    request_bytes: int
    response_bytes: int
    ending: str | None
    end_ns: int | None


def is_transient(error: Exception) -> bool:
    """Whether a write may succeed when it is tried again: the disk or another process is what stands in its way."""
    refused = sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError
    return isinstance(error, (sqlite3.Error, OSError)) and not isinstance(error, refused)


class Writer:
    """An open cassette. Raises `CassetteError` on opening: `CassetteInUse`, `NotACassette`, and so on.

    `named`: what errors call the file, where it is a temporary one. `beside`: another process has it open already, and
    lets this one write as well; raises what SQLite raises.
    """

    def __init__(self, path: Path | None, *, beside: bool = False, named: Path | None = None) -> None:
        self.path, self._named = path, named or path or "the cassette"
        self._lock: RecorderLock | None = None
        self._is_new = False
        if path is None or beside:
            self.connection = in_memory() if path is None else open_beside(path)
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
                self._identity = identity(path)
            except BaseException:
                self._remove_new()
                self._lock.release()
                raise

    def write(self, rows: Iterable[Row], rest: Callable[[], object] | None = None) -> None:
        """Apply rows in order, all or none. Raises what SQLite raises. `rest` is called between two statements of many
        rows: others may want the processor meanwhile, though what wants to write as well has to wait for us."""
        with self._transaction():
            for statement, group in groupby(rows, key=itemgetter(0)):
                self._execute(statement, list(map(itemgetter(1), group)), rest)

    def _execute(self, statement: str, values: list[tuple[Any, ...]], rest: Callable[[], object] | None) -> None:
        """Many rows by one statement, where that is possible: with each, the interpreter is given away and taken again,
        which whoever shares it has to wait for."""
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
        """Apply rows in order, also in one transaction, but leave out and return those that SQLite refuses."""
        refused = []
        with self._transaction():
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
        """What is read of the file to go on with it may be anything: what does not fit is a `BrokenCassette`."""
        with clear_errors(self._named):
            try:
                yield
            except DAMAGED as error:
                raise sqlite3.DatabaseError(str(error) or type(error).__name__) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def last_number(self, what: str) -> int:
        """The highest `recording`, `exchange` or `stream` that there is; 0 where there is none."""
        table = "recordings" if what == "recording" else "exchanges"
        (number,) = self.connection.execute(f"SELECT max({what}) FROM {table}").fetchone()
        return size_or_damage(number or 0, f"the highest {what}")

    def salt(self, salt: bytes | None = None) -> bytes:
        """The salt of this cassette's pseudonyms. A cassette without one gets this one, or a random one."""
        return self._meta("pseudonym_salt", salt or os.urandom(SALT_BYTES))

    def has_key(self, mark: bytes) -> bool:
        """Whether all pseudonyms of this cassette are of the key with this mark. The first mark given is stored."""
        return self._meta("pseudonym_mark", mark) == mark

    def _meta(self, key: str, value: bytes) -> bytes:
        """The value under a key of `meta`, which is this one where there was none."""
        self.connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
        return blob_of(self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone())

    def displaced(self) -> str | None:
        """What became of the file, where it is no longer what is at its path: nothing that is written now would be
        found there. None while it is."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "was removed or moved away"
        except OSError:
            return None  # who knows: a folder that may not be looked into for a while
        if (found.st_dev, found.st_ino) != self._identity:
            return "was replaced by another file"
        return "was emptied by another program" if found.st_size == 0 else None

    def size(self) -> int:
        """Bytes that the cassette will have once it is closed."""
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        (size,) = self.connection.execute("PRAGMA page_size").fetchone()
        return int(pages * size)

    def framed(self, stream: int) -> tuple[int, int, int]:
        """How many frames of a stream are stored, how many bytes of content these hold, and the last one's read."""
        query = "SELECT seq, frames, start, length, read, reads FROM pages WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        found = self.connection.execute(query, (stream,)).fetchone()
        if found is None:
            return 0, 0, 0
        seq, frames, start, length, read, reads = found
        return seq + frames - 1, start + length, read + json.loads(reads)[-1]

    def unfinished(self) -> list[Unfinished]:
        """What a killed recorder left behind, if it is asked before a recording begins."""
        return [
            Unfinished(exchange, stream, tuple(json.loads(headers or "[]")), *rest)
            for exchange, stream, headers, *rest in self.connection.execute(_UNFINISHED)
        ]

    def _leave_wal(self) -> None:
        """SQLite does not wait for readers with that. Somebody who follows the file is one for a moment only."""
        for pause in _LEAVING:
            try:
                self.connection.execute("PRAGMA journal_mode = DELETE").fetchone()
                return
            except sqlite3.OperationalError:
                time.sleep(pause)

    def settle(self) -> None:
        """Bring all that was written from the log into the file. Raises `CassetteError` where the disk refuses."""
        with clear_errors(self._named):
            busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("another program has it open")

    def discard(self) -> None:
        """Close it. Remove the file where this writer has made it."""
        if not self._is_new:
            self.close()
        elif self._lock is not None:
            self.connection.close()
            self._remove_new()
            self._lock.release()
            self._lock = None

    def _remove_new(self) -> None:
        if self._is_new and self.path is not None:
            file = itself(self.path)
            for ending in ("", "-wal", "-shm", "-journal"):
                part = file.with_name(file.name + ending)
                with suppress(OSError):
                    if stat.S_ISREG(part.lstat().st_mode):
                        part.unlink()

    @contextmanager
    def _interrupted(self, within: float) -> Iterator[None]:
        """Interrupt SQLite after so many seconds; it does then not begin again when the connection is closed."""
        timer = threading.Timer(min(within, threading.TIMEOUT_MAX), self.connection.interrupt)
        if within < math.inf:
            with suppress(RuntimeError):  # no thread can be begun: closing takes as long as it takes
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
        """Leave one clean file, and give up the lock. Where a reader is still there, or the disk takes longer than so
        many seconds, the log stays beside it."""
        if self._lock is None:  # closed before, in memory, or beside another writer, who does that
            self.connection.close()
            return
        with suppress(sqlite3.Error), self._interrupted(within):  # else the next recorder folds the log in
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._leave_wal()
        self.connection.close()
        self._lock.release()
        self._lock = None


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
