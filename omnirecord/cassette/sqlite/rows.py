"""Makes rows to write: a row is a statement and its values. Pure.

`Writer.write` applies a list of rows in one transaction, and applies the whole list again after a failure. The rows of
streams are in `stream_rows`. `size_of` and `FRAMED` are SQL expressions for exchanges without an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ...model import Direction, Headers, Kind, Recording, Side
from ..framing import Span, is_text

Row = tuple[str, tuple[Any, ...]]

PAGE_SIZE = 16 * 1024
"""Page size of a new SQLite file, in bytes. Large rows take half the time that they take with the default of 4 KiB; an
empty cassette has 400 KB instead of 100 KB."""
LONGEST_CHUNK = 16 * 1024 * 1024
"""Most bytes of a body in one row; readers limit the size of a value."""

PART_KEY = "part:"
"""The beginning of the keys of `meta` that name a recording of which a part is there."""
GIVEN_KEY = "contract_given:"
"""The beginning of the keys of `meta` that say whether the contract of a recording was given: 1 or 0."""
_REQUEST = (
    "INSERT INTO exchanges (exchange, recording, kind, session_id, party, request_at_ns, method, target,"
    " request_headers) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RESPONSE = (
    "UPDATE exchanges SET kind = ?, stream = ?, response_at_ns = ?, status = ?, reason = ?, response_headers = ?"
    " WHERE exchange = ?"
)
_END = (
    "UPDATE exchanges SET end_ns = ?, ending = CASE ending WHEN 'done' THEN 'done' ELSE ? END, request_bytes = ?,"
    " response_bytes = ? WHERE exchange = ?"
)
CHUNK = "INSERT INTO chunks VALUES (?, ?, ?, ?)"
MESSAGE = "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)"


def recording(value: Recording) -> Row:
    labels = json.dumps(dict(sorted(value.labels.items())), ensure_ascii=False) if value.labels else None
    return "INSERT INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
        value.recording,
        value.started_at,
        value.version,
        value.contract,
        value.upstream,
        value.recording_id or None,
        value.run_id,
        labels,
        value.server_version,
        value.hop,
    )


def given(value: Recording) -> Iterator[Row]:
    """Yield the row that says whether the contract of a recording was given, if that is known."""
    if value.contract_given is not None:
        yield "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"{GIVEN_KEY}{value.recording}", int(value.contract_given))


def part(recording: int) -> Row:
    """Return the row that marks a recording as a part: exchanges of the recorded one are left out."""
    return "INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"{PART_KEY}{recording}", recording)


def derived(recording: int) -> Row:
    """Return the row that gives a recording its derived id, if it has none. All its exchanges have to be there."""
    query = "UPDATE recordings SET recording_id = derived_id(recording) WHERE recording = ? AND recording_id IS NULL"
    return query, (recording,)


def server_version(recording: int, version: str) -> Row:
    return "UPDATE recordings SET server_version = ? WHERE recording = ?", (version, recording)


def label(recording: int, key: str, value: str) -> Row:
    """Return the row that adds a label to a recording."""
    query = "UPDATE recordings SET labels = json_set(coalesce(labels, '{}'), ?, ?) WHERE recording = ?"
    return query, (f'$."{key}"', value, recording)


def request(
    exchange: int,
    recording: int,
    kind: Kind,
    session_id: str | None,
    party: str,
    at_ns: int,
    method: str,
    target: str,
    headers: Headers,
) -> Row:
    return _REQUEST, (exchange, recording, kind, session_id, party, at_ns, method, target, json.dumps(headers))


def response(
    exchange: int, kind: Kind, stream: int | None, at_ns: int, status: int, reason: str, headers: Headers
) -> Row:
    """Return the row that adds the head of the response to an exchange."""
    return _RESPONSE, (kind, stream, at_ns, status, reason, json.dumps(headers), exchange)


def session(exchange: int, session_id: str) -> Row:
    """Return the row that sets the session of an exchange, unless it is set."""
    return "UPDATE exchanges SET session_id = ? WHERE exchange = ? AND session_id IS NULL", (session_id, exchange)


def end(exchange: int, at_ns: int | None, ending: str, request_bytes: int, response_bytes: int) -> Row:
    """Return the row that ends an exchange; the ending `done` stays."""
    return _END, (at_ns, ending, request_bytes, response_bytes, exchange)


def done(stream: int) -> Row:
    """Return the row that sets the ending of a stream to `done`, after `[DONE]`."""
    return "UPDATE exchanges SET ending = 'done' WHERE stream = ?", (stream,)


def framed(exchange: int, length: int, stopped_at: int | None) -> Row:
    """Return the row that says that all frames of a coded stream are stored, with `length` bytes of content.
    `stopped_at` is the limit, in bytes, at which decoding stopped, if it did."""
    return chunk(exchange, "framed", length, b"" if stopped_at is None else b"%d" % stopped_at)


def cut(exchange: int) -> Row:
    """Return the row that says that the body of a request was not read to its end."""
    return chunk(exchange, "cut", 0, b"")


def answered_from(exchange: int, other: int) -> Row:
    """Return the row that says that the exchange `other` of another cassette is the answer."""
    return chunk(exchange, "answered_from", other, b"")


def replaced(exchange: int) -> Row:
    """Return the row that says that a later exchange took the place of this one."""
    return chunk(exchange, "replaced", 0, b"")


def not_replaced(exchange: int) -> Row:
    """Return the row that takes this back."""
    return "DELETE FROM chunks WHERE exchange = ? AND side = 'replaced'", (exchange,)


Mark = Literal["content", "framed", "cut", "answered_from", "replaced"]
"""A side that is no part of a body as it was sent."""


def chunk(exchange: int, side: Side | Mark, start: int, data: bytes) -> Row:
    """Return the row of a part of a body, at offset `start`."""
    return CHUNK, (exchange, side, start, data)


def chunks(exchange: int, side: Side | Literal["content"], start: int, data: bytes) -> Iterator[Row]:
    """Yield the rows of a part of a body, each at most `LONGEST_CHUNK` bytes."""
    for at in range(0, len(data), LONGEST_CHUNK):
        yield chunk(exchange, side, start + at, data[at : at + LONGEST_CHUNK])


def content(exchange: int, spans: Iterable[Span]) -> Iterator[Row]:
    """Yield the rows of the decoded bytes of a coded stream, without its lost bytes."""
    start = 0
    for length, data in spans:
        yield from chunks(exchange, "content", start, data or b"")
        start += length


def message(
    exchange: int, number: int, at_ns: int, sent_ns: int | None, dir: Direction, opcode: int, data: bytes
) -> Row:
    """Return the row of a WebSocket message. UTF-8 without NUL is stored as text, which any SQLite tool shows."""
    values = (exchange, number, at_ns, sent_ns, dir, opcode, data.decode() if is_text(data) else data)
    return MESSAGE, values


def message_sent(exchange: int, number: int, sent_ns: int) -> Row:
    """Return the row that stores when a message was sent on, in ns."""
    return "UPDATE messages SET sent_ns = ? WHERE exchange = ? AND message = ?", (sent_ns, exchange, number)


def incident(recording: int, at_ns: int, message: str) -> Row:
    return "INSERT INTO incidents VALUES (?, ?, ?)", (recording, at_ns, message)


def size_of(side: Side) -> str:
    """Return an SQL expression over a row `x` of exchanges: bytes on the wire for a stream, else stored bytes."""
    direction = "up" if side == "request" else "down"
    pieces = "SELECT start + size FROM read_blocks WHERE exchange = x.exchange ORDER BY n DESC LIMIT 1"
    chunks = f"SELECT sum(length(data)) FROM chunks WHERE exchange = x.exchange AND side = '{side}'"
    messages = f"SELECT sum(length(data)) FROM messages WHERE exchange = x.exchange AND dir = '{direction}'"
    first = f"({pieces}), " if side == "response" else ""
    return f"coalesce({first}({chunks}), ({messages}), 0)"


FRAMED = "coalesce((SELECT start + length FROM frame_blocks WHERE stream = x.stream ORDER BY seq DESC LIMIT 1), 0)"
"""SQL expression over a row `x` of exchanges: bytes of content in frames."""
