"""What Datasette is told about a cassette: which facets to show, what a column is, which tables are not for people."""

from __future__ import annotations

from typing import Any

HIDDEN = ("meta", "chunks", "reads", "messages", "incidents")
"""Tables that a view shows better, or that hold bytes."""

_AT = "When, UTC"
_OFFSET = "Seconds from the start of its recording"
_SESSION = "Omnigent's id of the session"
_RECORDING = "Which run of the proxy"
_STREAM = "The stream's number in the cassette"

_COLUMNS: dict[str, dict[str, str]] = {
    "events": {
        "stream": _STREAM, "seq": "Its place among all frames of the stream, from 1", "session_id": _SESSION,
        "at": _AT, "offset_s": _OFFSET, "gap_s": "Seconds since the frame before it",
        "type": "Its type; empty for a comment, [DONE], and what is malformed",
        "verdict": "What the contract says: valid, invalid, unknown, malformed, truncated, sentinel, comment",
        "data": "Its JSON; the whole frame where it holds none", "issues": "Pairs of path and message",
        "bytes": "Its length on the wire, decoded",
        "delay_ms": "Until it was handed to the client's transport; empty if it never was",
        "party": "Who listened", "recording": _RECORDING,
    },
    "sessions": {
        "session_id": _SESSION, "recording": _RECORDING, "started_at": "When its first request came, UTC",
        "duration_s": "From then to the end of the last exchange", "streams": "How many streams",
        "exchanges": "How many requests and WebSockets", "frames": "How many frames, on all its streams",
        "response_bytes": "As they came over the wire", "parent_session_id": "The session that spawned it",
    },
    "streams": {
        "stream": _STREAM, "session_id": _SESSION, "started_at": "When it was asked for, UTC",
        "duration_s": "From then to its end", "ending": "How it ended; empty while it goes on or if the recorder died",
        "frames": "How many frames", "not_valid": "How many of them the contract objects to",
        "response_bytes": "As they came over the wire; 0 while it goes on",
        "pending_bytes": "Received, but in no frame yet: `omnirecord events` shows these too",
        "party": "Who listened", "method": "The request's method", "target": "The request's target",
        "status": "The response's status", "recording": _RECORDING, "exchange": "The number of its exchange",
    },
    "requests": {
        "exchange": "Its number in the cassette", "session_id": _SESSION, "at": _AT, "method": "Its method",
        "target": "Path and query, redacted", "status": "The response's status",
        "answered_after_s": "Until the response's header section was complete",
        "request_body": "The first 64 kB, where it is text and not compressed", "response_body": "Likewise",
        "kind": "http, sse or websocket", "party": "Who made it", "ending": "How it ended",
        "request_bytes": "The body's length", "response_bytes": "The body's length", "recording": _RECORDING,
    },
    "responses": {
        "session_id": _SESSION, "response_id": "Omnigent's id of the response", "ended_at": "When its end came, UTC",
        "ended": "completed, failed, incomplete or cancelled", "model": "As its usage names it",
        "input_tokens": "Of its usage", "output_tokens": "Of its usage", "cost_usd": "Of its usage",
        "error": "Why it failed", "stream": _STREAM, "seq": "The event that ended it", "recording": _RECORDING,
    },
    "websocket_messages": {
        "exchange": "The WebSocket", "message": "Its number, from 0", "session_id": _SESSION, "at": _AT,
        "offset_s": _OFFSET, "dir": "up: from the client; down: to it", "kind": "text, binary, close, ping or pong",
        "bytes": "Its length", "text": "Its text, redacted", "target": "Where the WebSocket was opened",
        "recording": _RECORDING,
    },
    "incident_log": {
        "recording": _RECORDING, "at": _AT, "offset_s": _OFFSET, "message": "What went wrong with the recording itself",
    },
}  # fmt: skip

_ABOUT = {
    "events": "Every event as it arrived, with its time and verdict.",
    "sessions": "Each session in each recording.",
    "streams": "Each event stream: who heard it, how long, how it ended.",
    "requests": "Requests and responses, with their bodies where they are text.",
    "responses": "The responses (turns) whose end was heard, with usage and cost; once for each stream that heard it.",
    "websocket_messages": "What passed on WebSockets.",
    "incident_log": "What went wrong with the recording itself: empty is good.",
    "exchanges": "Requests and responses as they are stored; times in ns.",
    "frames": "Frames as they are stored: `raw` is every byte.",
    "recordings": "Runs of the proxy.",
}

_FACETS = {
    "events": ["type", "verdict", "stream"],
    "sessions": ["recording"],
    "streams": ["ending", "party"],
    "requests": ["method", "status", "kind", "party"],
    "responses": ["ended", "model"],
    "websocket_messages": ["dir", "kind", "exchange"],
    "exchanges": ["kind", "ending", "party"],
    "frames": ["type", "verdict", "stream"],
}

_QUERIES = {
    "longest_gaps": {
        "title": "The longest waits for a frame that was no heartbeat",
        "sql": "SELECT gap_s, stream, seq, at, type, data FROM events WHERE gap_s IS NOT NULL"
        " AND type NOT IN ('session.heartbeat', 'response.heartbeat') ORDER BY gap_s DESC LIMIT 20",
    },
    "text": {
        "title": "The assistant's text of a stream, put together from its deltas",
        "sql": "SELECT group_concat(json_extract(data, '$.delta'), '') AS text FROM events"
        " WHERE type = 'response.output_text.delta' AND json_valid(data) AND stream = :stream",
    },
}


def datasette_metadata(database: str) -> dict[str, Any]:
    """The metadata for `datasette -m`; `database` is what a cassette is called there: its file name without `.db`."""
    tables: dict[str, dict[str, Any]] = {name: {"hidden": True} for name in HIDDEN}
    for name, about in _ABOUT.items():
        tables[name] = {"description": about, "facets": _FACETS.get(name, [])}
        if name in _COLUMNS:
            tables[name]["columns"] = _COLUMNS[name]
    tables["recordings"]["label_column"] = "started_at"
    tables["exchanges"]["label_column"] = "target"
    about = "Recorded by omnirecord: sessions of an agent server, event by event."
    return {"databases": {database: {"description": about, "tables": tables, "queries": _QUERIES}}}
