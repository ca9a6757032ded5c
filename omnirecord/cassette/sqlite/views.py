"""The SQL views of a cassette, for Datasette and other SQLite tools; the SQL functions of a writer; Datasette metadata.

Times are UTC or seconds. A column costs time only if a query names it. For a count or a facet, SQLite leaves out unused
subqueries and unused left joins to a unique key. A view shows stored frames; received bytes without frames are counted
in `streams.pending_bytes`.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from typing import Any

from ...model import VERDICTS
from ...omnigent import protocol
from ..recording_ids import derived_id
from .rows import FRAMED, size_of


def _at(ns: str) -> str:
    """Return SQL for a time of recording `c` as UTC, in milliseconds."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', c.started_at, printf('%.3f seconds', ({ns}) / 1e9))"


def _header(headers: str, name: str) -> str:
    return (
        f"(SELECT lower(json_extract(h.value, '$[1]')) FROM json_each({headers}) h"
        f" WHERE lower(json_extract(h.value, '$[0]')) = '{name}')"
    )


def _body(side: str) -> str:
    """Return SQL for the first 64 kB of a body, if it is text."""
    headers = f"x.{side}_headers"
    kind = f"coalesce({_header(headers, 'content-type')}, '')"
    is_text = f"({kind} LIKE '%json%' OR {kind} LIKE 'text/%' OR {kind} LIKE 'application/x-www-form-urlencoded%')"
    plain = f"coalesce({_header(headers, 'content-encoding')}, 'identity') = 'identity'"
    parts = (
        f"SELECT CAST(data AS TEXT) AS part FROM chunks WHERE exchange = x.exchange AND side = '{side}'"
        " AND start < 65536 ORDER BY start"
    )
    return f"CASE WHEN {is_text} AND {plain} THEN (SELECT group_concat(part, '') FROM ({parts})) END"


_LINES = "char(10) || replace(raw, char(13), char(10)) || char(10)"
_FIRST = f"substr({_LINES}, instr({_LINES}, char(10) || 'data:') + 6)"
_DATA = f"ltrim(substr({_FIRST}, 1, instr({_FIRST}, char(10)) - 1), ' ')"
"""The first data line of a frame."""

_IS_DATA = f"typeof(raw) = 'text' AND (json_valid({_DATA}) OR {_DATA} = '[DONE]')"


def _seconds(ns: str, unit: str = "1e9") -> str:
    """Return SQL for a time in seconds. The cast sets an affinity, since Datasette compares with text."""
    return f"CAST(({ns}) / {unit} AS REAL)"


def _of(column: str, place: str = "j.key") -> str:
    """Return SQL for an entry in a list of a frame block."""
    return f"json_extract(p.{column}, '$[' || {place} || ']')"


_VERDICT = (
    f"CASE coalesce({_of('verdicts')}, {VERDICTS.index('valid')}) "
    + "".join(f"WHEN {number} THEN '{verdict}' " for number, verdict in enumerate(VERDICTS))
    + "END"
)
_TYPE = _of("types", f"coalesce({_of('kinds')}, 0)")
_BEGIN = f"CASE j.key WHEN 0 THEN 0 ELSE {_of('ends', '(j.key - 1)')} END"
_LENGTH = f"(j.value - {_BEGIN})"
_START = f"(p.start + {_BEGIN})"
_READ = f"(p.read + {_of('reads')})"
_FRAMES = "frame_blocks p CROSS JOIN json_each(p.ends) j LEFT JOIN exchanges x ON x.stream = p.stream"
"""SQL for one row per frame, the source of `_VERDICT` and the other columns."""
_CAME = f"(p.offset_ns + {_of('times')})"
_SENT = (
    f"(SELECT r.offset_ns + json_extract(r.reads, '$[' || ({_READ} - r.n) || '][1]') FROM read_blocks r"
    f" WHERE r.exchange = x.exchange AND r.n <= {_READ} ORDER BY r.n DESC LIMIT 1)"
)
"""SQL for the time at which the read of a frame's last byte was sent on, in ns."""
_BEFORE = f"""CASE WHEN j.key > 0 THEN p.offset_ns + {_of("times", "(j.key - 1)")} ELSE
      (SELECT q.offset_ns + json_extract(q.times, '$[#-1]') FROM frame_blocks q
       WHERE q.stream = p.stream AND q.seq < p.seq ORDER BY q.seq DESC LIMIT 1) END"""
"""SQL for the arrival of the previous frame, in ns."""


def _part(start: str, size: str) -> str:
    """Return SQL for the part of a row of bytes that belongs to the frame."""
    return (
        f"substr(data, max({_START} - {start}, 0) + 1,"
        f" min({_START} + {_LENGTH}, {start} + {size}) - max({_START}, {start})) AS part"
    )


_OF_READS = f"""SELECT {_part("start", "size")} FROM read_blocks WHERE exchange = x.exchange
      AND n >= (SELECT max(n) FROM read_blocks WHERE exchange = x.exchange AND n <= p.read) AND n <= {_READ}
      AND start < {_START} + {_LENGTH} AND start + size > {_START} AND NOT EXISTS
        (SELECT 1 FROM chunks WHERE exchange = x.exchange AND side = 'content') ORDER BY n"""
_OF_CONTENT = f"""SELECT {_part("start", "length(data)")} FROM chunks WHERE exchange = x.exchange
      AND side = 'content' AND start < {_START} + {_LENGTH} AND start >= (SELECT max(start) FROM chunks
        WHERE exchange = x.exchange AND side = 'content' AND start <= {_START}) ORDER BY start"""
_PARTS = f"SELECT part FROM ({_OF_READS}) UNION ALL SELECT part FROM ({_OF_CONTENT})"
_MORE = "json_extract(p.more, '$.' || j.key || '.{}')"
_RAW = f"""CASE WHEN {_MORE.format("lost")} IS NOT NULL THEN NULL WHEN {_MORE.format("binary")} IS NULL
      THEN group_concat(CAST(part AS TEXT), '') ELSE min(part) END"""
"""SQL for the bytes of a frame. Bytes that are no text are shown only as far as they are in one row."""
_SHOWN = f"""(SELECT CASE WHEN {_IS_DATA} THEN {_DATA} ELSE raw END FROM (SELECT {_RAW} AS raw FROM ({_PARTS})))"""

_EVENTS = f"""SELECT p.stream, p.seq + j.key AS seq, x.session_id, {_at(_CAME)} AS at, {_seconds(_CAME)} AS offset_s,
    {_seconds(f"{_CAME} - ({_BEFORE})")} AS gap_s, {_TYPE} AS type, {_VERDICT} AS verdict, {_SHOWN} AS data,
    {_MORE.format("issues")} AS issues, {_LENGTH} AS bytes,
    {_seconds(f"{_SENT} - {_CAME}", "1e6")} AS delay_ms, x.party, x.recording, c.hop
  FROM {_FRAMES} LEFT JOIN recordings c ON c.recording = x.recording
  ORDER BY p.stream, p.seq, j.key"""

_TOOK = _seconds("max(coalesce(x.end_ns, x.response_at_ns, x.request_at_ns)) - min(x.request_at_ns)")
_PARENT = f"""SELECT json_extract(e.data, '$.conversation_id') FROM landmarks l JOIN events e ON e.stream = l.stream
      AND e.seq = l.seq WHERE l.type = '{protocol.SESSION_CREATED}' AND e.verdict = 'valid' AND x.session_id =
        CASE WHEN json_valid(e.data) THEN json_extract(e.data, '$.child_session_id') END LIMIT 1"""
_LAST_SEQ = "(SELECT seq + frames - 1 FROM frame_blocks WHERE stream = x.stream ORDER BY seq DESC LIMIT 1)"

_SESSIONS = f"""SELECT x.session_id, x.recording, {_at("min(x.request_at_ns)")} AS started_at,
    {_TOOK} AS duration_s, count(x.stream) AS streams, count(*) AS exchanges,
    sum({_LAST_SEQ}) AS frames, sum(x.response_bytes) AS response_bytes,
    ({_PARENT}) AS parent_session_id
  FROM exchanges x LEFT JOIN recordings c ON c.recording = x.recording
  WHERE x.session_id IS NOT NULL AND x.party <> 'runner'
  GROUP BY x.recording, x.session_id ORDER BY x.recording, min(x.request_at_ns)"""

_STREAMS = f"""SELECT x.stream, x.session_id, {_at("x.request_at_ns")} AS started_at,
    {_seconds("x.end_ns - x.request_at_ns")} AS duration_s, x.ending,
    {_LAST_SEQ} AS frames,
    (SELECT coalesce(sum(t.frames), 0) FROM tallies t WHERE t.stream = x.stream
      AND t.verdict NOT IN ('valid', 'comment', 'sentinel')) AS not_valid,
    x.response_bytes,
    CASE WHEN {_header("x.response_headers", "content-encoding")} IS NULL
      THEN nullif({size_of("response")} - {FRAMED}, 0) END AS pending_bytes,
    x.party, x.method, x.target, x.status, x.recording, x.exchange, c.hop
  FROM exchanges x LEFT JOIN recordings c ON c.recording = x.recording
  WHERE x.stream IS NOT NULL ORDER BY x.stream"""

_REQUESTS = f"""SELECT x.exchange, x.session_id, {_at("x.request_at_ns")} AS at, x.method, x.target, x.status,
    {_seconds("coalesce(x.response_at_ns, x.end_ns) - x.request_at_ns")} AS answered_after_s,
    {_body("request")} AS request_body, {_body("response")} AS response_body, x.kind, x.party, x.ending,
    x.request_bytes, x.response_bytes, x.recording, c.hop
  FROM exchanges x LEFT JOIN recordings c ON c.recording = x.recording
  ORDER BY x.recording, x.request_at_ns, x.exchange"""

_RESPONSES = f"""SELECT e.session_id, json_extract(e.data, '$.response.id') AS response_id, e.at AS ended_at,
    substr(e.type, 10) AS ended, json_extract(e.data, '$.response.usage.model') AS model,
    json_extract(e.data, '$.response.usage.input_tokens') AS input_tokens,
    json_extract(e.data, '$.response.usage.output_tokens') AS output_tokens,
    CAST(json_extract(e.data, '$.response.usage.cost_usd') AS REAL) AS cost_usd,
    json_extract(e.data, '$.response.error.message') AS error, e.stream, e.seq, e.recording, e.hop
  FROM events e WHERE e.type IN {tuple(protocol.RESPONSE_ENDS)} AND json_valid(e.data) ORDER BY e.stream, e.seq"""

_WEBSOCKET_MESSAGES = f"""SELECT m.exchange, m.message, x.session_id, {_at("m.at_ns")} AS at,
    {_seconds("m.at_ns")} AS offset_s, m.dir,
    CASE m.opcode WHEN 1 THEN 'text' WHEN 2 THEN 'binary' WHEN 8 THEN 'close' WHEN 9 THEN 'ping' WHEN 10 THEN 'pong'
      ELSE m.opcode END AS kind, length(CAST(m.data AS BLOB)) AS bytes,
    CASE typeof(m.data) WHEN 'text' THEN m.data END AS text, x.target, x.recording, c.hop
  FROM messages m LEFT JOIN exchanges x ON x.exchange = m.exchange
    LEFT JOIN recordings c ON c.recording = x.recording
  ORDER BY m.exchange, m.message"""

_INCIDENT_LOG = f"""SELECT i.recording, {_at("i.at_ns")} AS at, {_seconds("i.at_ns")} AS offset_s, i.message
  FROM incidents i LEFT JOIN recordings c ON c.recording = i.recording ORDER BY i.recording, i.at_ns"""

SELECTS = {
    "events": _EVENTS,
    "sessions": _SESSIONS,
    "streams": _STREAMS,
    "requests": _REQUESTS,
    "responses": _RESPONSES,
    "websocket_messages": _WEBSOCKET_MESSAGES,
    "incident_log": _INCIDENT_LOG,
}
"""The views by name; `query` makes temporary views of them, since those in a file may be a stranger's."""
VIEWS = "".join(f"\nCREATE VIEW IF NOT EXISTS {name} AS\n  {select};\n" for name, select in SELECTS.items())


_ASKED = (
    "SELECT request_at_ns, method, target, status, session_id FROM exchanges WHERE recording = ? ORDER BY 1, 2, 3, 4, 5"
)


def define_ids(connection: sqlite3.Connection) -> None:
    """Define the SQL function `derived_id(recording)`: see `identity.derived_id`. It is computed once."""
    known: dict[tuple[int, int], str] = {}

    def derived(recording: int) -> str | None:
        query = "SELECT started_at, contract, upstream, (SELECT max(exchange) FROM exchanges) FROM recordings"
        found = connection.execute(f"{query} WHERE recording = ?", (recording,)).fetchone()
        if found is None:
            return None
        started_at, contract, upstream, newest = found
        if (recording, newest) not in known:
            asked = connection.execute(_ASKED, (recording,))
            known[recording, newest] = derived_id(started_at, contract, upstream, asked)
        return known[recording, newest]

    connection.create_function("derived_id", 1, derived)


def define(connection: sqlite3.Connection) -> None:
    define_ids(connection)
    connection.create_function("with_sent", 4, with_sent, deterministic=True)
    connection.create_function("spliced", 3, spliced, deterministic=True)


def with_sent(reads: str, n: int, offset_ns: int, sent: str) -> str:
    """Return the reads of a row, from number `n` on, with the times in `sent` at which they were sent on."""
    made = json.loads(reads)
    is_changed = False
    for number, sent_ns in _parsed(sent):
        if n <= number < n + len(made):
            made[number - n][1] = sent_ns - offset_ns
            is_changed = True
    return json.dumps(made, separators=(",", ":")) if is_changed else reads


@functools.lru_cache(maxsize=4)  # the same for each of some rows
def _parsed(sent: str) -> list[tuple[int, int]]:
    return [(number, sent_ns) for number, sent_ns in json.loads(sent)]


def spliced(data: bytes | None, at: int, other: bytes) -> bytes | None:
    """Return the bytes with the part at offset `at` replaced by as many other bytes."""
    if data is None or not 0 <= at <= len(data) - len(other):
        return data
    return data[:at] + other + data[at + len(other) :]


HIDDEN = (
    "meta",
    "chunks",
    "journal",
    "read_blocks",
    "frame_blocks",
    "landmarks",
    "tallies",
    "messages",
    "incidents",
    "exchanges",
    "sqlite_sequence",
)
"""Tables that Datasette hides behind a link, since a view shows them better or they hold bytes."""

_COLUMNS: dict[str, dict[str, str]] = {
    "events": {
        "gap_s": "Seconds since the frame before it",
        "data": "JSON of the event; the whole frame if it has none",
        "delay_ms": "Time until it was passed to the client's transport; empty if never",
    },
    "sessions": {"parent_session_id": "The session that spawned it"},
    "streams": {
        "ending": "Empty while it is open, or if the recorder was killed",
        "not_valid": "Number of frames that differ from the contract",
        "pending_bytes": "Received, but in no frame yet: `omnirecord events` shows these too",
    },
    "requests": {
        "answered_after_s": "Time until the header section of the response was complete",
        "request_body": "First 64 kB, if it is text and not compressed",
    },
    "responses": {"seq": "The event that ended it"},
    "websocket_messages": {"dir": "up: from the client; down: to it"},
}
"""Descriptions of columns whose name is not enough; Datasette shows them above the rows."""

ABOUT = {
    "events": "Every event as it arrived, with its time and verdict.",
    "sessions": "Each session in each recording.",
    "streams": "Each event stream: its party, its duration, its ending.",
    "requests": "Requests and responses, with their bodies if they are text.",
    "responses": "Responses (turns) with a recorded end, with usage and cost; one row for each stream with that end.",
    "websocket_messages": "WebSocket messages.",
    "incident_log": "Problems of the recording itself; usually empty.",
    "recordings": "Runs of the proxy.",
}
"""The content of each view, and of each table for people."""

_FACETS = {
    "events": ["type", "verdict", "stream"],
    "sessions": ["recording"],
    "streams": ["ending", "party"],
    "requests": ["method", "status", "kind", "party"],
    "responses": ["ended", "model"],
    "websocket_messages": ["dir", "kind", "exchange"],
}

_QUERIES = {
    "longest_gaps": {
        "title": "The longest waits for a frame other than a heartbeat",
        "sql": "SELECT gap_s, stream, seq, at, type, data FROM events WHERE gap_s IS NOT NULL"
        f" AND type NOT IN {tuple(sorted(protocol.HEARTBEATS, reverse=True))} ORDER BY gap_s DESC LIMIT 20",
    },
    "text": {
        "title": "The assistant's text of a stream, joined from its deltas",
        "sql": "SELECT group_concat(json_extract(data, '$.delta'), '') AS text FROM events"
        f" WHERE type = '{protocol.RESPONSE_OUTPUT_TEXT_DELTA}' AND json_valid(data) AND stream = :stream",
    },
}


def datasette_metadata(database: str) -> dict[str, Any]:
    """Return the metadata for `datasette -m`; `database` is the file name of the cassette without `.db`."""
    tables: dict[str, dict[str, Any]] = {name: {"hidden": True} for name in HIDDEN}
    for name, about in ABOUT.items():
        tables[name] = {"description": about, "facets": _FACETS.get(name, [])}
        tables[name]["columns"] = _COLUMNS.get(name, {})
    tables["recordings"]["label_column"] = "started_at"
    tables["exchanges"]["label_column"] = "target"
    about = "Recorded by omnirecord: sessions of an agent server, event by event."
    return {"databases": {database: {"description": about, "tables": tables, "queries": _QUERIES}}}
