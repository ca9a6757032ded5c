"""The schema of the SQLite cassette, and its version.

The bytes of a stream are stored once, as received, in `read_blocks`. A row has several reads with their times. Its
frames and their verdicts are in `frame_blocks`, written after the bytes. A row has many frames, since a row for each
frame costs more than the proxy itself. `landmarks` is an index of the few frames that are read alone. `chunks` holds
bodies that are no stream, and the decoded bytes of streams with a content coding (side `content`).
"""

from __future__ import annotations

import re

from .views import VIEWS

SCHEMA_VERSION = 6
"""`user_version`. Versions 1 to 5 are of builds before the first release, and are refused."""
APPLICATION_ID = 0x6F6D6E72  # "omnr"
SCHEMA = f"""CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE recordings (
  recording INTEGER PRIMARY KEY, started_at TEXT NOT NULL, version TEXT NOT NULL, contract TEXT NOT NULL,
  upstream TEXT, recording_id TEXT, run_id TEXT, labels TEXT, server_version TEXT, hop TEXT);
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
CREATE TABLE "read_blocks" (
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
CREATE TABLE tallies (
  stream INTEGER NOT NULL, verdict TEXT NOT NULL, frames INTEGER NOT NULL, length INTEGER NOT NULL,
  PRIMARY KEY (stream, verdict)) WITHOUT ROWID;
CREATE TABLE messages (
  exchange INTEGER NOT NULL REFERENCES exchanges(exchange), message INTEGER NOT NULL, at_ns INTEGER NOT NULL,
  sent_ns INTEGER, dir TEXT NOT NULL, opcode INTEGER NOT NULL, data, PRIMARY KEY (exchange, message)) WITHOUT ROWID;
CREATE TABLE incidents (
  recording INTEGER NOT NULL REFERENCES recordings(recording), at_ns INTEGER NOT NULL, message TEXT NOT NULL);
CREATE TABLE journal (entry INTEGER PRIMARY KEY AUTOINCREMENT, reads BLOB NOT NULL, data BLOB NOT NULL);
{VIEWS}"""
"""The statements of an empty cassette. Two names are quoted, as in the cassettes of earlier builds of this version."""
TABLES = frozenset(re.findall(r'CREATE TABLE "?(\w+)', SCHEMA))
