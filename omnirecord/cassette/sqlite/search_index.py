"""The search index of a cassette: the file `CASSETTE-search`, or a database in memory.

A search never writes to the cassette: no recorder waits for it, and a closed file stays the same, byte for byte. All
data in an index is in its cassette, so the index may be removed at any time. Each step is one transaction and first
reads the current state: two searches may index at once, each may be killed, and the next search continues. An index of
another file or version is built again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from ...errors import NotACassette
from ...omnigent.line import COPIES_WITHIN
from ..files import sibling
from .checked import DAMAGED
from .connection import closed_on_error, harden, refuse_company, refuse_foreign_journal, transaction

VERSION = 8
APPLICATION_ID = 0x6F6D6E73  # "omns"
UNUSABLE = (sqlite3.Error, *DAMAGED)
"""Errors of an unusable index: the file is damaged, the disk is full, another search hangs."""
UNANSWERED = -1
"""Frame number of an exchange whose request is indexed, and whose response is still unknown."""
_PATIENCE = 10.0
"""Seconds to wait for a step of another search."""
_HEAD = 8
"""Common first characters from which on two texts are the same text, of which one client received less."""
Kind = Literal["event", "text", "request", "answer"]
"""`request`: the body of a client's POST; `answer`: the response to a failed request, or a whole one of a model."""
SAID_NEAR = 600_000_000_000
"""Longest distance in ns of copies of a message: it may wait for an approval."""
EVER = 1 << 62
"""The same for a document with an id: no limit."""

_SCHEMA = """
CREATE TABLE state (made INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE done (exchange INTEGER PRIMARY KEY, seq INTEGER NOT NULL, digest INTEGER NOT NULL);
CREATE TABLE sessions (
  id INTEGER PRIMARY KEY, recording INTEGER NOT NULL, session_id TEXT, exchange INTEGER);
CREATE INDEX sessions_by_name ON sessions(recording, session_id, exchange);
CREATE TABLE docs (
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, recording INTEGER NOT NULL, exchange INTEGER NOT NULL,
  kind TEXT NOT NULL, type TEXT, first_seq INTEGER, last_seq INTEGER, first_ns INTEGER NOT NULL,
  last_ns INTEGER NOT NULL, says INTEGER NOT NULL, near_ns INTEGER NOT NULL, head INTEGER, key TEXT,
  same INTEGER NOT NULL, in_words INTEGER NOT NULL);
CREATE INDEX docs_alike ON docs(session, says, last_ns);
CREATE INDEX docs_begun_alike ON docs(session, head, exchange, last_ns) WHERE head IS NOT NULL;
CREATE INDEX docs_same ON docs(same, exchange, kind);
CREATE INDEX docs_under_way ON docs(exchange) WHERE key IS NOT NULL;
-- A text that goes on is in `words` once `publish` has put it there: each piece anew would be quadratic.
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL, marks BLOB);
CREATE VIRTUAL TABLE words USING fts5(
  text, content = 'texts', content_rowid = 'id', tokenize = "unicode61 remove_diacritics 2");
"""
_NEW_SESSION = "INSERT INTO sessions VALUES (NULL, ?, ?, ?)"

_NEAREST = 20
"""Most documents with the same content that are compared, before and after."""
_CANDIDATES = """
SELECT same, last_ns FROM (SELECT same, last_ns FROM docs
  WHERE session = ?1 AND says = ?2 AND last_ns BETWEEN {} AND id <> ?5 ORDER BY last_ns {} LIMIT ?6)"""
_ALIKE = f"""
SELECT same FROM ({_CANDIDATES.format("?3 AND ?4", "DESC")} UNION ALL {_CANDIDATES.format("?4 AND ?7", "ASC")}) d
WHERE ?8 OR NOT EXISTS (SELECT 1 FROM docs o WHERE o.same = d.same AND o.exchange = ?9 AND o.kind = ?10 AND o.id <> ?5)
ORDER BY abs(last_ns - ?4) LIMIT 1"""
_BEGUN_ALIKE = """
SELECT same FROM (SELECT same, id, last_ns FROM docs WHERE session = ?1 AND head = ?2
  AND exchange IN (SELECT value FROM json_each(?3)) AND last_ns BETWEEN ?4 AND ?5 LIMIT ?6) JOIN texts USING (id)
WHERE substr(text, 1, length(?7)) = ?7 OR substr(?7, 1, length(text)) = text ORDER BY last_ns LIMIT 1"""


def _objects(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Return the schema. The definitions of FTS5's own tables are left out, since they depend on the SQLite version."""
    found = connection.execute("SELECT type, name, tbl_name, sql, rootpage > 0 FROM sqlite_master").fetchall()
    return {(*row[:3], str(row[4]) if row[1].startswith("words_") else str(row[3])) for row in found}


@dataclass(frozen=True, slots=True)
class State:
    """The cassette of an index, and the state of the cassette at indexing."""

    inode: int
    stamp: list[int] | None
    """Detects a change of the file; None if the last change is too recent to decide."""
    recordings: list[list[Any]]
    is_closed: bool
    """No recorder was active."""
    is_complete: bool = False

    def standing(self, now: State) -> Literal["current", "behind", "other"]:
        """Return how an index in this state fits the cassette: complete, incomplete, or of another cassette."""
        if self.inode != now.inode or self.recordings != now.recordings[: len(self.recordings)]:
            return "other"
        if self.stamp is not None and self.stamp == now.stamp and self.is_closed and now.is_closed:
            return "current" if self.is_complete else "behind"
        is_edited = self.is_closed and now.is_closed and len(now.recordings) == len(self.recordings)
        return "other" if is_edited and self.stamp is not None else "behind"


DOC = "kind, type, first_seq, last_seq, first_ns, last_ns, text, says, near_ns, key, id, marks"


def doc_of(row: tuple[Any, ...]) -> Doc:
    doc = Doc(*row)
    doc.marks = array("q", row[-1])
    return doc


def path_beside(cassette: Path) -> Path:
    return sibling(cassette, "-search")


def remove_index(cassette: Path) -> None:
    """Remove the index beside a cassette. Only a regular file is removed."""
    path = path_beside(cassette)
    with suppress(OSError):
        if cassette.is_file() and stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


class Index:
    """An open index. If its file cannot be used, use one `in_memory`. Opening raises `sqlite3.Error`, or `NotACassette`
    if the path is no regular file."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self.connection = connection
        self._path = path

    @classmethod
    def in_memory(cls) -> Index:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(_SCHEMA)
        return cls(connection)

    @classmethod
    def beside(cls, cassette: Path) -> Index:
        """Open the file beside the cassette; create it with mode 0600 if missing. A foreign file is not changed."""
        path = path_beside(cassette)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if not stat.S_ISREG(path.lstat().st_mode):
            raise NotACassette(f"{path} is a link, a pipe or a folder")
        refuse_company(path)
        refuse_foreign_journal(path)
        with closed_on_error(sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE)) as connection:
            index = cls(connection, path)
            harden(connection, reads_only=False)
            connection.execute("PRAGMA secure_delete = ON")  # no indexed text stays in free pages
            index._prepare()
        return index

    def _prepare(self) -> None:
        (application,) = self.connection.execute("PRAGMA application_id").fetchone()
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        is_empty = self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        if application != APPLICATION_ID and not is_empty:
            raise sqlite3.DatabaseError("it is another program's database")
        if version != VERSION:
            with self.step():
                (version,) = self.connection.execute("PRAGMA user_version").fetchone()
                if version != VERSION:  # otherwise another search has just made it
                    self._make_anew()
        with closing(Index.in_memory().connection) as ours:
            if _objects(self.connection) != _objects(ours):
                raise sqlite3.DatabaseError("its schema is not the one of omnirecord: using it might execute code")

    def _make_anew(self) -> None:
        for table in ("words", "texts", "docs", "sessions", "done", "state"):
            self.connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA.split(";\n")[:-1]:
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.connection.execute(f"PRAGMA user_version = {VERSION}")

    def give_up(self, error: Exception) -> None:
        """Remove a damaged index, so that the next search makes another. An index that cannot be written stays."""
        if not isinstance(error, sqlite3.OperationalError) and self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        self.connection.close()

    def step(self) -> AbstractContextManager[None]:
        return transaction(self.connection)

    def state(self) -> tuple[int, State] | None:
        """Return the build number of the index and the state of the cassette; None for a new index."""
        row = self.connection.execute("SELECT made, state FROM state").fetchone()
        return None if row is None else (row[0], State(**json.loads(row[1])))

    def begin(self, state: State, *, instead_of: int) -> int:
        """Build the index again for this state, unless another search has done so; return the build number."""
        with self.step():
            known = self.state()
            if known is not None and known[0] != instead_of:
                return known[0]
            self._make_anew()
            made = int.from_bytes(os.urandom(7))
            said = json.dumps(asdict(replace(state, is_complete=False)))
            self.connection.execute("INSERT INTO state VALUES (?, ?)", (made, said))
        return made

    def complete(self, made: int, state: State) -> None:
        """Mark the index complete, unless another search has built it again since."""
        with self.step():
            said = json.dumps(asdict(replace(state, is_complete=True)))
            self.connection.execute("UPDATE state SET state = ? WHERE made = ?", (said, made))

    @contextmanager
    def at_once(self) -> Iterator[bool]:
        """Open a read transaction; return whether the index is complete."""
        self.connection.execute("BEGIN")
        try:
            known = self.state()
            yield known is not None and known[1].is_complete
        finally:
            self.connection.execute("ROLLBACK")

    def done(self, exchange: int) -> tuple[int, int]:
        """Return the last indexed frame of an exchange and its digest; zeros if there is none."""
        row = self.connection.execute("SELECT seq, digest FROM done WHERE exchange = ?", (exchange,)).fetchone()
        return row if row is not None else (0, 0)

    def is_done(self, exchange: int) -> bool:
        query = "SELECT 1 FROM done WHERE exchange = ? AND seq >= 0"
        return self.connection.execute(query, (exchange,)).fetchone() is not None

    def set_done(self, exchange: int, seq: int, digest: int) -> None:
        self.connection.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", (exchange, seq, digest))

    def session(self, recording: int, session_id: str | None, exchange: int) -> int:
        """Return the number of a session in a recording; a stream without a session counts as a session."""
        named = (recording, session_id, None if session_id is not None else exchange)
        query = "SELECT id FROM sessions WHERE recording = ? AND session_id IS ? AND exchange IS ?"
        row = self.connection.execute(query, named).fetchone()
        return row[0] if row else self.connection.execute(_NEW_SESSION, named).lastrowid or 0

    def under_way(self, exchange: int) -> list[Doc]:
        """Return the texts of a stream that may grow."""
        query = f"SELECT {DOC} FROM docs JOIN texts USING (id) WHERE exchange = ? AND key IS NOT NULL"
        return [doc_of(row) for row in self.connection.execute(query, (exchange,))]

    def put(self, docs: Iterable[Doc], recording: int, exchange: int, session: int, others: list[int]) -> None:
        """Add or update documents. `others`: exchanges that may have the same documents."""
        (last,) = self.connection.execute("SELECT coalesce(max(id), 0) FROM docs").fetchone()
        for doc in docs:
            if doc.id is not None:
                self._take_out(doc.id)
            else:
                last += 1
            number = doc.id or last
            is_over = doc.key is None
            is_begun = doc.kind == "text" and len(doc.text) >= _HEAD
            head = digest(doc.type, doc.text[:_HEAD]) if is_begun else None
            # One client may receive a text twice: as deltas and an item, or as a request and an event.
            is_sought = others or doc.near_ns != COPIES_WITHIN
            same = self._same(doc, number, exchange, session, head, others) if is_sought else None
            values = (
                number,
                session,
                recording,
                exchange,
                doc.kind,
                doc.type,
                doc.first_seq,
                doc.last_seq,
                doc.first_ns,
                doc.last_ns,
                doc.says,
                doc.near_ns,
                head,
                doc.key,
                same or number,
                is_over,
            )
            self.connection.execute("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            self.connection.execute("INSERT INTO texts VALUES (?, ?, ?)", (number, doc.text, doc.marks.tobytes()))
            if is_over:
                self.connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, doc.text))

    def publish(self, exchange: int) -> None:
        """Make the growing texts of a stream searchable. Call it within a step."""
        which = "WHERE id IN (SELECT id FROM docs WHERE exchange = ? AND key IS NOT NULL AND NOT in_words)"
        self.connection.execute(f"INSERT INTO words (rowid, text) SELECT id, text FROM texts {which}", (exchange,))
        self.connection.execute(f"UPDATE docs SET in_words = 1 {which}", (exchange,))

    def _take_out(self, number: int) -> None:
        one = (number,)
        there = "SELECT 'delete', id, text FROM texts JOIN docs USING (id) WHERE id = ? AND in_words"
        self.connection.execute(f"INSERT INTO words (words, rowid, text) {there}", one)
        self.connection.execute("DELETE FROM texts WHERE id = ?", one)
        self.connection.execute("DELETE FROM docs WHERE id = ?", one)
        others = "(SELECT min(id) FROM docs WHERE same = ?)"
        self.connection.execute(f"UPDATE docs SET same = {others} WHERE same = ?", (number, number))

    def _same(
        self, doc: Doc, number: int, exchange: int, session: int, head: int | None, others: list[int]
    ) -> int | None:
        """Return the number of an earlier document with the same content: a hit shows it once."""
        low = doc.first_ns - doc.near_ns
        at = doc.last_ns
        high = doc.last_ns + doc.near_ns
        values = (session, doc.says, low, at, number, _NEAREST, high, doc.near_ns == EVER, exchange, doc.kind)
        found = self.connection.execute(_ALIKE, values).fetchone()
        if found is None and head is not None and others:
            begun = (session, head, json.dumps(others), low, high, _NEAREST, doc.text)
            found = self.connection.execute(_BEGUN_ALIKE, begun).fetchone()
        return int(found[0]) if found is not None else None


@dataclass(slots=True)
class Doc:
    """One searchable document. Times are in ns since the start of its recording."""

    kind: Kind
    type: str | None
    first_seq: int | None
    """Frame number of the event, or of the first delta of a text. None for a request and its answer."""
    last_seq: int | None
    first_ns: int
    last_ns: int
    text: str
    says: int = 0
    near_ns: int = COPIES_WITHIN
    """Longest distance in time of a document with the same content that counts as the same, in ns."""
    key: str | None = None
    """Identifies a text that may grow."""
    id: int | None = None
    marks: array[int] = field(default_factory=lambda: array("q"))
    """For each delta of a text: its offset in the text, then its frame number."""

    def seq_at(self, place: int) -> int | None:
        """Return the frame number of the event with the character at `place`."""
        starts = self.marks[::2]
        found = bisect_right(starts, place) - 1
        return self.marks[2 * found + 1] if starts and found >= 0 else self.first_seq


def digest(*parts: str | bytes | None) -> int:
    """Return a 64-bit hash of the parts."""
    hashed = blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else (part or "").encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8) + data)
    return int.from_bytes(hashed.digest(), signed=True)
