"""What can be written to a cassette: each function makes one row, a statement and its values, and touches nothing.

A list of rows is applied in one transaction (`Writer.write`), and again in full if that failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..cassette import Direction, Headers, Kind, Recording, Side
from ..framing import Framed

Row = tuple[str, tuple[Any, ...]]

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
_CHUNK_AGAIN = "UPDATE chunks SET data = ? WHERE exchange = ? AND side = ? AND start = ?"
_READ = "INSERT OR REPLACE INTO reads VALUES (?, ?, ?, ?, ?)"
_READ_SENT = "UPDATE reads SET sent_ns = ? WHERE exchange = ? AND n = ?"
_MESSAGE = "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)"
_MESSAGE_SENT = "UPDATE messages SET sent_ns = ? WHERE exchange = ? AND message = ?"
_FRAME = "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_TALLY = (
    "INSERT INTO tallies VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET frames = frames + excluded.frames, length = length + excluded.length"
)
_USED_UP = "DELETE FROM chunks WHERE exchange = ? AND side = 'response' AND start + length(data) <= ?"
_INCIDENT = "INSERT INTO incidents VALUES (?, ?, ?)"


def text_or_bytes(data: bytes) -> str | bytes:
    """Text where it is UTF-8, so that it can be read in any SQLite tool; a NUL would end it there."""
    try:
        return data if b"\0" in data else data.decode("utf-8")
    except UnicodeDecodeError:
        return data


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


def chunk(exchange: int, side: Side, start: int, data: bytes) -> Row:
    return _CHUNK, (exchange, side, start, data)


def chunks(exchange: int, side: Side, start: int, data: bytes) -> Iterator[Row]:
    """The same in pieces that a reader takes, however long it is."""
    for at in range(0, len(data), LONGEST_CHUNK):
        yield chunk(exchange, side, start + at, data[at : at + LONGEST_CHUNK])


def chunk_again(exchange: int, side: Side, start: int, data: bytes) -> Row:
    """In the place of the chunk that starts there; as long as that."""
    return _CHUNK_AGAIN, (data, exchange, side, start)


def read(exchange: int, n: int, offset_ns: int, sent_ns: int | None, size: int) -> Row:
    return _READ, (exchange, n, offset_ns, sent_ns, size)


def read_sent(exchange: int, n: int, sent_ns: int) -> Row:
    return _READ_SENT, (sent_ns, exchange, n)


def message(
    exchange: int, number: int, at_ns: int, sent_ns: int | None, dir: Direction, opcode: int, data: bytes
) -> Row:
    return _MESSAGE, (exchange, number, at_ns, sent_ns, dir, opcode, text_or_bytes(data))


def message_sent(exchange: int, number: int, sent_ns: int) -> Row:
    return _MESSAGE_SENT, (sent_ns, exchange, number)


def storable_type(type_: str | None) -> str | None:
    """An event's type as it is kept: a lone surrogate in it, which has no UTF-8, is written as an escape."""
    return type_ and type_.encode("utf-8", "backslashreplace").decode()


def frame(stream: int, seq: int, framed: Framed) -> Row:
    judgement = framed.judgement
    issues = json.dumps([[i.path, i.message] for i in judgement.issues]) if judgement.issues else None
    raw = None if framed.frame.raw is None else text_or_bytes(framed.frame.raw)
    return _FRAME, (
        stream,
        seq,
        framed.read,
        storable_type(judgement.type),
        judgement.verdict,
        issues,
        framed.frame.length,
        raw,
    )


class Tally:
    """How many frames of a stream there are of each verdict, and how long they are, for whoever has them one by one."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, one: Framed) -> None:
        frames, length = self._found.get(one.judgement.verdict, (0, 0))
        self._found[one.judgement.verdict] = frames + 1, length + one.frame.length

    def rows(self, stream: int) -> list[Row]:
        return [(_TALLY, (stream, verdict, *found)) for verdict, found in self._found.items()]


def tallies(stream: int, framed: Iterable[Framed]) -> list[Row]:
    """How many new frames there are of each verdict, and how long they are: to be written with them."""
    tally = Tally()
    for one in framed:
        tally.add(one)
    return tally.rows(stream)


def used_up(exchange: int, position: int) -> Row:
    """The chunks of a response that end at or before `position` are in frames by now."""
    return _USED_UP, (exchange, position)


def incident(recording: int, at_ns: int, message: str) -> Row:
    return _INCIDENT, (recording, at_ns, message)
