"""What Datasette is told about a cassette: which facets to show, what a column is, which tables are not for people."""

from __future__ import annotations

from typing import Any

HIDDEN = (
    "meta", "chunks", "pieces", "pages", "landmarks", "tallies", "messages", "incidents", "exchanges",
)  # fmt: skip
"""Tables that a view shows better, or that hold bytes: still there, behind a link."""

_COLUMNS: dict[str, dict[str, str]] = {
    "events": {
        "gap_s": "Seconds since the frame before it",
        "data": "Its JSON; the whole frame where it holds none",
        "delay_ms": "Until it was handed to the client's transport; empty if it never was",
    },
    "sessions": {"parent_session_id": "The session that spawned it"},
    "streams": {
        "ending": "Empty while it goes on, or if the recorder was killed",
        "not_valid": "How many of its frames the contract objects to",
        "pending_bytes": "Received, but in no frame yet: `omnirecord events` shows these too",
    },
    "requests": {
        "answered_after_s": "Until the response's header section was complete",
        "request_body": "The first 64 kB, where it is text and not compressed",
    },
    "responses": {"seq": "The event that ended it"},
    "websocket_messages": {"dir": "up: from the client; down: to it"},
}
"""Only what a name does not say: Datasette puts all of this above the rows."""

ABOUT = {
    "events": "Every event as it arrived, with its time and verdict.",
    "sessions": "Each session in each recording.",
    "streams": "Each event stream: who heard it, how long, how it ended.",
    "requests": "Requests and responses, with their bodies where they are text.",
    "responses": "The responses (turns) whose end was heard, with usage and cost; once for each stream that heard it.",
    "websocket_messages": "What passed on WebSockets.",
    "incident_log": "What went wrong with the recording itself: empty is good.",
    "recordings": "Runs of the proxy.",
}
"""What each view holds, and each table that is for people."""

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
    for name, about in ABOUT.items():
        tables[name] = {"description": about, "facets": _FACETS.get(name, [])}
        tables[name]["columns"] = _COLUMNS.get(name, {})
    tables["recordings"]["label_column"] = "started_at"
    tables["exchanges"]["label_column"] = "target"
    about = "Recorded by omnirecord: sessions of an agent server, event by event."
    return {"databases": {database: {"description": about, "tables": tables, "queries": _QUERIES}}}
