"""The schema of the SQLite cassette, its versions, and the conversion of older files.

The bytes of a stream are stored once, as received, in `read_blocks`. A row has several reads with their times. Its
frames and their verdicts are in `frame_blocks`, written after the bytes. A row has many frames, since a row for each
frame costs more than the proxy itself. `landmarks` is an index of the few frames that are read alone. `chunks` holds
bodies that are no stream, and the decoded bytes of streams with a content coding (side `content`).

Versions 1 to 3 have a row for each frame and each read. Version 4 has other names of two tables, and no ids of
recordings. A writer converts the file itself, in one transaction. A reader never writes. Of versions 1 to 3, it copies
the converted rows into a database in memory, and nothing else of the file. To version 4, it adds temporary views with
the names of today: their cost does not depend on the size of the file.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from itertools import chain

from ...contract import Issue
from ...contract.judge import Judgement
from ...omnigent.protocol import SESSION_CREATED, SESSION_STATUS
from ...wire.sse import Frame
from ..framing import Framed, Span, cut
from . import rows, stream_rows
from .connection import transaction
from .views import SELECTS, VIEWS

SCHEMA_VERSION = 6
"""`user_version`. 2: views, and no foreign key, with which Datasette linked a frame to a wrong exchange. 3: `tallies`,
for a list of streams without reading all frames. 4: blocks and `landmarks` instead of a row for each frame and each
read. 5: ids, labels, hops; `read_blocks` and `frame_blocks` were `pieces` and `pages`. 6: `journal`."""
APPLICATION_ID = 0x6F6D6E72  # "omnr"
_NEW_COLUMNS = ("recording_id", "run_id", "labels", "server_version", "hop")
"""Columns of `recordings` since version 5."""
_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;\n"
_RECORDINGS = """CREATE TABLE recordings (
  recording INTEGER PRIMARY KEY, started_at TEXT NOT NULL, version TEXT NOT NULL, contract TEXT NOT NULL,
  upstream TEXT{});
"""
_EXCHANGES = """CREATE TABLE exchanges (
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
"""
_TALLIES = """CREATE TABLE tallies (
  stream INTEGER NOT NULL, verdict TEXT NOT NULL, frames INTEGER NOT NULL, length INTEGER NOT NULL,
  PRIMARY KEY (stream, verdict)) WITHOUT ROWID;
"""
_BLOCKS = """CREATE TABLE "read_blocks" (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), n INTEGER NOT NULL, start INTEGER NOT NULL,
  size INTEGER NOT NULL, offset_ns INTEGER NOT NULL, reads TEXT NOT NULL, data BLOB);
CREATE UNIQUE INDEX read_blocks_by_read ON read_blocks(exchange, n);
CREATE TABLE "frame_blocks" (
  stream INTEGER NOT NULL, seq INTEGER NOT NULL, frames INTEGER NOT NULL, start INTEGER NOT NULL,
  length INTEGER NOT NULL, read INTEGER NOT NULL, offset_ns INTEGER NOT NULL, ends TEXT NOT NULL,
  reads TEXT NOT NULL, times TEXT NOT NULL, types TEXT NOT NULL, kinds TEXT, verdicts TEXT, more TEXT);
CREATE UNIQUE INDEX frame_blocks_by_seq ON frame_blocks(stream, seq);
CREATE TABLE landmarks (
  type TEXT NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (type, stream, seq)) WITHOUT ROWID;
"""
"""Two names are quoted, as SQLite quotes the name of a renamed table."""
_JOURNAL = """CREATE TABLE journal (entry INTEGER PRIMARY KEY AUTOINCREMENT, reads BLOB NOT NULL, data BLOB NOT NULL);
"""
_OTHERS = """CREATE TABLE messages (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), message INTEGER NOT NULL, at_ns INTEGER NOT NULL,
  sent_ns INTEGER, dir TEXT NOT NULL, opcode INTEGER NOT NULL, data, PRIMARY KEY (exchange, message)) WITHOUT ROWID;
CREATE TABLE incidents (
  recording INTEGER NOT NULL REFERENCES recordings(recording), at_ns INTEGER NOT NULL, message TEXT NOT NULL);
"""
_FORMER_BLOCKS = (
    _BLOCKS.replace('"read_blocks"', "pieces")
    .replace("read_blocks", "pieces")
    .replace('"frame_blocks"', "pages")
    .replace("frame_blocks", "pages")
)
_READS = """CREATE TABLE reads (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), n INTEGER NOT NULL, offset_ns INTEGER NOT NULL,
  sent_ns INTEGER, size INTEGER NOT NULL, PRIMARY KEY (exchange, n)) WITHOUT ROWID;
"""
_FRAMES = f"""CREATE TABLE frames (
  stream INTEGER NOT NULL, seq INTEGER NOT NULL, read INTEGER NOT NULL,
  type TEXT, verdict TEXT NOT NULL, issues TEXT, length INTEGER NOT NULL, raw, PRIMARY KEY (stream, seq)
  ) WITHOUT ROWID;
CREATE INDEX frames_of_family ON frames(type, stream, seq) WHERE type IN ('{SESSION_CREATED}', '{SESSION_STATUS}');
"""
RENAMED = 4
"""The version whose tables are those of today under other names."""
_OLDEST = _META + _RECORDINGS.format("") + _EXCHANGES + _READS
_OF_5 = (
    _META
    + _RECORDINGS.format("".join(f", {column} TEXT" for column in _NEW_COLUMNS))
    + _EXCHANGES
    + _BLOCKS
    + _TALLIES
    + _OTHERS
)
SCHEMAS: dict[int, str] = {
    1: _OLDEST
    + _FRAMES.replace("stream INTEGER NOT NULL, seq", "stream INTEGER NOT NULL REFERENCES exchanges(stream), seq")
    + _OTHERS,
    2: _OLDEST + _FRAMES + _OTHERS,
    3: _OLDEST + _FRAMES + _TALLIES + _OTHERS,
    4: _META + _RECORDINGS.format("") + _EXCHANGES + _FORMER_BLOCKS + _TALLIES + _OTHERS,
    5: _OF_5 + VIEWS,
    6: _OF_5 + _JOURNAL + VIEWS,
}
"""The statements of each version. Before a table of today changes, copy its statement for the older versions."""
TABLES = {version: frozenset(re.findall(r'CREATE TABLE "?(\w+)', schema)) for version, schema in SCHEMAS.items()}
_SHARED = ("meta", "recordings", "exchanges", "messages", "incidents")
"""Tables that older versions have, too."""
_AS_NOW = """CREATE TEMP VIEW read_blocks AS SELECT * FROM main.pieces;
CREATE TEMP VIEW frame_blocks AS SELECT * FROM main.pages;
CREATE TEMP VIEW recordings AS SELECT *, derived_id(recording) AS recording_id, NULL AS run_id, NULL AS labels,
  NULL AS server_version, NULL AS hop FROM main.recordings;
"""
_RENAME = """PRAGMA legacy_alter_table = ON;
ALTER TABLE pieces RENAME TO read_blocks;
DROP INDEX pieces_by_read;
CREATE UNIQUE INDEX read_blocks_by_read ON read_blocks(exchange, n);
ALTER TABLE pages RENAME TO frame_blocks;
DROP INDEX pages_by_seq;
CREATE UNIQUE INDEX frame_blocks_by_seq ON frame_blocks(stream, seq);
PRAGMA legacy_alter_table = OFF;
"""
"""With `legacy_alter_table`, a view of the user's own that names another table cannot stop the renaming."""
_IDENTIFY = "UPDATE recordings SET recording_id = derived_id(recording)"

_OTHER_CHUNKS = """SELECT c.exchange, c.side, c.start, c.data FROM chunks c JOIN exchanges x USING (exchange)
WHERE x.kind <> 'sse' OR c.side <> 'response' ORDER BY c.exchange, c.side, c.start"""


def copy(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Copy a cassette of versions 1 to 3 into a new one. Raises what SQLite raises, or one of `DAMAGED`."""
    for table in _SHARED:
        more = ", NULL" * len(_NEW_COLUMNS) if table == "recordings" else ""
        for row in old.execute(f"SELECT * FROM {table}"):
            new.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))}{more})", row)
    new.execute(_IDENTIFY)
    new.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?)", old.execute(_OTHER_CHUNKS))
    for row in _converted(old):
        new.execute(*row)


def convert(connection: sqlite3.Connection, version: int) -> None:
    """Convert an old cassette in place, within a transaction. The user's own views stay. Its tables must be exactly
    those of `SCHEMAS`. Raises what SQLite raises, or one of `DAMAGED`."""
    _execute_all(connection, _JOURNAL)
    if version == 5:
        return
    for view in ("events", "sessions") if version == 1 else SELECTS:
        connection.execute(f"DROP VIEW IF EXISTS {view}")
    if version == RENAMED:
        _execute_all(connection, _RENAME)
    else:
        _convert_frames(connection)
    for column in _NEW_COLUMNS:
        connection.execute(f"ALTER TABLE recordings ADD COLUMN {column} TEXT")
    connection.execute(_IDENTIFY)
    _execute_all(connection, VIEWS)


def _convert_frames(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE IF EXISTS tallies")
    _execute_all(connection, _TALLIES + _BLOCKS)
    for row in _converted(connection):
        connection.execute(*row)
    connection.execute(
        "DELETE FROM chunks WHERE side = 'response' AND exchange IN (SELECT exchange FROM exchanges WHERE kind = 'sse')"
    )
    connection.execute("DROP TABLE frames")
    connection.execute("DROP TABLE reads")


def name_as_now(connection: sqlite3.Connection) -> None:
    """Add temporary views to a reading connection, through which a cassette of version 4 is read like one of today."""
    connection.execute("PRAGMA query_only = OFF")  # for what is made here, which is outside of the file
    _execute_all(connection, _AS_NOW)
    connection.execute("PRAGMA query_only = ON")


def is_named_as_now(connection: sqlite3.Connection) -> bool:
    """Whether a reading connection has these temporary views."""
    return connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'frame_blocks'").fetchone() is not None


def forget_key(connection: sqlite3.Connection) -> bool:
    """Remove the pseudonym key that an older omnirecord stored in the file; return whether there was one. No byte of
    the key stays: `secure_delete` zeroes the page of `meta`, and the checkpoint empties the log."""
    if connection.execute("SELECT 1 FROM meta WHERE key = 'pseudonyms'").fetchone() is None:
        return False
    connection.execute("PRAGMA secure_delete = ON")
    with transaction(connection):
        others = connection.execute("SELECT key, value FROM meta WHERE key <> 'pseudonyms'").fetchall()
        connection.execute("DELETE FROM meta")  # of all rows: the page is zeroed as a whole
        connection.executemany("INSERT INTO meta VALUES (?, ?)", others)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return True


def _execute_all(connection: sqlite3.Connection, statements: str) -> None:
    """Execute statements within the open transaction, which `executescript` would commit."""
    statement = ""
    for line in statements.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _converted(old: sqlite3.Connection) -> Iterator[rows.Row]:
    query = "SELECT exchange, stream, response_headers FROM exchanges WHERE stream IS NOT NULL ORDER BY stream"
    for exchange, stream, headers in old.execute(query).fetchall():
        coding = next((value for name, value in json.loads(headers or "[]") if name.lower() == "content-encoding"), "")
        yield from _stream(old, exchange, stream, coding.strip().lower() not in ("", "identity"))


def _stream(old: sqlite3.Connection, exchange: int, stream: int, is_coded: bool) -> Iterator[rows.Row]:
    frames = "SELECT length, raw FROM frames WHERE stream = ? ORDER BY seq"
    spans: Iterator[Span] = ((length, _bytes(raw)) for length, raw in old.execute(frames, (stream,)))
    if is_coded:
        yield from rows.content(exchange, spans)
        spans = _chunks(old, exchange, 0)
    else:
        ((framed,),) = old.execute("SELECT coalesce(sum(length), 0) FROM frames WHERE stream = ?", (stream,))
        spans = chain(spans, _chunks(old, exchange, framed))
    of_reads = "SELECT offset_ns, sent_ns, size FROM reads WHERE exchange = ? ORDER BY n"
    reads = old.execute(of_reads, (exchange,)).fetchall()
    yield from stream_rows.read_blocks(exchange, reads, cut(spans, (size for *_, size in reads)))
    yield from stream_rows.frame_blocks(stream, _framed(old, stream), lambda read: reads[read][0])


def _chunks(old: sqlite3.Connection, exchange: int, at: int) -> Iterator[Span]:
    query = "SELECT start, data FROM chunks WHERE exchange = ? AND side = 'response' ORDER BY start"
    for start, data in old.execute(query, (exchange,)):
        if start > at:
            yield start - at, None
        rest = data[max(0, at - start) :]
        if rest:
            yield len(rest), rest
        at = max(at, start + len(data))


def _framed(old: sqlite3.Connection, stream: int) -> Iterator[Framed]:
    query = "SELECT read, type, verdict, issues, length, raw FROM frames WHERE stream = ? ORDER BY seq"
    for read, type_, verdict, issues, length, raw in old.execute(query, (stream,)):
        found = tuple(Issue(path, message) for path, message in json.loads(issues or "[]"))
        yield Framed(Frame(_bytes(raw), length, True), Judgement(verdict, type_, issues=found), read)


def _bytes(raw: str | bytes | None) -> bytes | None:
    return raw.encode() if isinstance(raw, str) else raw
