"""Cassettes as older versions of omnirecord made them, from what a cassette of now says."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from omnirecord.cassette.framing import is_text
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import is_coded, schema
from omnirecord.cassette.sqlite.schema import APPLICATION_ID
from omnirecord.cassette.sqlite.views import SELECTS

VIEWS = """
CREATE VIEW events AS
  SELECT x.recording, f.stream, x.session_id, f.seq, r.offset_ns, r.sent_ns, f.type, f.verdict, f.issues, f.raw
  FROM frames f JOIN exchanges x ON x.stream = f.stream JOIN reads r ON r.exchange = x.exchange AND r.n = f.read
  ORDER BY f.stream, f.seq;
CREATE VIEW sessions AS
  SELECT recording, session_id, min(request_at_ns) AS started_ns, count(*) AS exchanges, count(stream) AS streams
  FROM exchanges WHERE session_id IS NOT NULL GROUP BY recording, session_id ORDER BY recording, started_ns;
"""
NOW = "".join(
    f"CREATE VIEW {name} AS {select.replace('read_blocks', 'pieces').replace('frame_blocks', 'pages')};"
    for name, select in SELECTS.items()
)
_SHARED = ("meta", "recordings", "exchanges", "messages", "incidents")


def aged(new: Path, path: Path, version: int = 1, framed: int = 10**6) -> Path:
    """The same as `new` in the form of that version, of which the recorder had made `framed` frames a stream."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(f"{schema.SCHEMAS[version]} {VIEWS if version < schema.RENAMED else NOW}")
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
        _copy(new, old, version)
        if version < schema.RENAMED:
            _fill(new, old, framed)
        if version == 3:
            old.execute("INSERT INTO tallies SELECT stream, verdict, count(*), sum(length) FROM frames GROUP BY 1, 2")
        old.commit()
    return path


def _copy(new: Path, old: sqlite3.Connection, version: int) -> None:
    """Copy the tables that are the same, and of version 4 those with other names."""
    tables = {table: table for table in (*_SHARED, "chunks")}
    if version == schema.RENAMED:
        tables |= {"read_blocks": "pieces", "frame_blocks": "pages", "landmarks": "landmarks", "tallies": "tallies"}
    with closing(sqlite3.connect(new)) as source:
        for table, named in tables.items():
            columns = "recording, started_at, version, contract, upstream" if table == "recordings" else "*"
            where = " WHERE side <> 'content'" if table == "chunks" and version < schema.RENAMED else ""
            for row in source.execute(f"SELECT {columns} FROM {table}{where}").fetchall():
                old.execute(f"INSERT INTO {named} VALUES ({', '.join('?' * len(row))})", row)


def _fill(new: Path, old: sqlite3.Connection, framed: int) -> None:
    store = open_store(new)
    for x in store.streams():
        reads = store.reads(x.exchange)
        for n, one in enumerate(reads):
            old.execute(
                "INSERT INTO reads VALUES (?, ?, ?, ?, ?)", (x.exchange, n, one.offset_ns, one.sent_ns, one.size)
            )
        if is_coded(x):
            old.execute("INSERT INTO chunks VALUES (?, 'response', 0, ?)", (x.exchange, store.wire(x)))
        offsets, at = [one.offset_ns for one in reads], 0
        for frame in store.frames(x):
            read = max(n for n, offset in enumerate(offsets) if offset == frame.offset_ns)
            if frame.seq <= framed:
                raw = frame.raw.decode() if frame.raw is not None and is_text(frame.raw) else frame.raw
                issues = json.dumps(frame.issues) if frame.issues else None
                made = (x.stream, frame.seq, read, frame.type, frame.verdict, issues, frame.length, raw)
                old.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?)", made)
            elif not is_coded(x) and frame.raw is not None:
                old.execute("INSERT INTO chunks VALUES (?, 'response', ?, ?)", (x.exchange, at, frame.raw))
            at += frame.length
    store.close()
