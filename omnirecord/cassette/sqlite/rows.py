"""What can be written to a cassette: each function makes one row, a statement and its values, and touches nothing.

A list of rows is applied in one transaction (`Writer.write`), and again in full if that failed. What a stream brings is
many things to a row: `streamed`.

How many bytes of an exchange are kept, for one that has no end yet and so no count in its row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from ...model import Direction, Headers, Kind, Recording, Side
from ..framing import is_text

Row = tuple[str, tuple[Any, ...]]

PAGE_SIZE = 16 * 1024
"""Bytes of a page of SQLite's in a new file: what is written in large pieces takes half the time that it takes with the
usual 4 KiB; an empty cassette has 400 KB instead of 100."""
LONGEST_CHUNK = 16 * 1024 * 1024
"""Bytes of a body that are put into one row; a reader takes no value of any size."""

_RECORDING = "INSERT INTO recordings VALUES (?, ?, ?, ?, ?)"
_REQUEST = (
    "INSERT INTO exchanges (exchange, recording, kind, session_id, party, request_at_ns, method, target,"
    " request_headers) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RESPONSE = (
    "UPDATE exchanges SET kind = ?, stream = ?, response_at_ns = ?, status = ?, reason = ?, response_headers = ?"
    " WHERE exchange = ?"
)
_SESSION = "UPDATE exchanges SET session_id = ? WHERE exchange = ? AND session_id IS NULL"
_END = (
    "UPDATE exchanges SET end_ns = ?, ending = CASE ending WHEN 'done' THEN 'done' ELSE ? END, request_bytes = ?,"
    " response_bytes = ? WHERE exchange = ?"
)
_DONE = "UPDATE exchanges SET ending = 'done' WHERE stream = ?"
_CHUNK = "INSERT INTO chunks VALUES (?, ?, ?, ?)"
_MESSAGE = "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)"
_MESSAGE_SENT = "UPDATE messages SET sent_ns = ? WHERE exchange = ? AND message = ?"
_INCIDENT = "INSERT INTO incidents VALUES (?, ?, ?)"


def text_or_bytes(data: bytes) -> str | bytes:
    """Text where it is UTF-8, so that it can be read in any SQLite tool; a NUL would end it there."""
    return data.decode() if is_text(data) else data


def recording(value: Recording) -> Row:
    return _RECORDING, (value.recording, value.started_at, value.version, value.contract, value.upstream)


def request(
    exchange: int, recording: int, kind: Kind, session_id: str | None, party: str,
    at_ns: int, method: str, target: str, headers: Headers,
) -> Row:  # fmt: skip
    return _REQUEST, (
        exchange,
        recording,
        kind,
        session_id,
        party,
        at_ns,
        method,
        target,
        json.dumps(headers),
    )


def response(
    exchange: int, kind: Kind, stream: int | None, at_ns: int, status: int, reason: str, headers: Headers
) -> Row:
    return _RESPONSE, (kind, stream, at_ns, status, reason, json.dumps(headers), exchange)


def session(exchange: int, session_id: str) -> Row:
    return _SESSION, (session_id, exchange)


def end(exchange: int, at_ns: int | None, ending: str, request_bytes: int, response_bytes: int) -> Row:
    return _END, (at_ns, ending, request_bytes, response_bytes, exchange)


def done(stream: int) -> Row:
    """`[DONE]` passed: whatever the ending was, it is `done`."""
    return _DONE, (stream,)


def framed(exchange: int, length: int, stopped_at: int | None) -> Row:
    """No more frames are made of a coded stream: those that are there hold `length` bytes of content. `stopped_at`: the
    limit that is why."""
    return chunk(exchange, "framed", length, b"" if stopped_at is None else b"%d" % stopped_at)


def chunk(exchange: int, side: Side | Literal["content", "framed"], start: int, data: bytes) -> Row:
    return _CHUNK, (exchange, side, start, data)


def chunks(exchange: int, side: Side | Literal["content"], start: int, data: bytes) -> Iterator[Row]:
    """The same in pieces that a reader takes, however long it is."""
    for at in range(0, len(data), LONGEST_CHUNK):
        yield chunk(exchange, side, start + at, data[at : at + LONGEST_CHUNK])


def message(
    exchange: int, number: int, at_ns: int, sent_ns: int | None, dir: Direction, opcode: int, data: bytes
) -> Row:
    return _MESSAGE, (exchange, number, at_ns, sent_ns, dir, opcode, text_or_bytes(data))


def message_sent(exchange: int, number: int, sent_ns: int) -> Row:
    return _MESSAGE_SENT, (sent_ns, exchange, number)


def incident(recording: int, at_ns: int, message: str) -> Row:
    return _INCIDENT, (recording, at_ns, message)


def size_of(side: Side) -> str:
    """An SQL expression over a row `x` of exchanges: bytes on the wire for a stream, else as they are stored."""
    direction = "up" if side == "request" else "down"
    pieces = "SELECT start + size FROM pieces WHERE exchange = x.exchange ORDER BY n DESC LIMIT 1"
    chunks = f"SELECT sum(length(data)) FROM chunks WHERE exchange = x.exchange AND side = '{side}'"
    messages = f"SELECT sum(length(data)) FROM messages WHERE exchange = x.exchange AND dir = '{direction}'"
    first = f"({pieces}), " if side == "response" else ""
    return f"coalesce({first}({chunks}), ({messages}), 0)"


FRAMED = "coalesce((SELECT start + length FROM pages WHERE stream = x.stream ORDER BY seq DESC LIMIT 1), 0)"
"""How many bytes of its content are in frames."""
