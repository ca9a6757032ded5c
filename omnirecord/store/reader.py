"""Reads a cassette, and never writes one.

What the recorder had not got round to, or never will because it was killed, is derived here in memory: the frames
behind the stored ones, and the endings of exchanges that have none.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cassette import (
    Ending,
    Exchange,
    Headers,
    Incident,
    Message,
    Read,
    Recording,
    Request,
    Response,
    Side,
    TimedFrame,
)  # fmt: skip
from ..contract import Contract, load
from ..errors import UsageError
from ..framing import Framed, Framer
from ..headers import header
from ..sse import read_fields
from .lock import recorder_is_alive
from .schema import clear_errors, open_for_reading, remove_copy
from .sizes import size_of
from .unframed import Position, unframed

_EXCHANGE = (
    "SELECT exchange, recording, kind, stream, session_id, party, request_at_ns, method, target, request_headers,"
    " response_at_ns, end_ns, status, reason, response_headers, ending,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('request')} ELSE request_bytes END,"
    f" CASE WHEN end_ns IS NULL THEN {size_of('response')} ELSE response_bytes END,"
    " EXISTS (SELECT 1 FROM chunks c WHERE c.exchange = x.exchange AND c.side = 'response') FROM exchanges x"
)


class Store:
    """The content of one cassette. Numbers in, frozen values out; large things come as iterators."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self._connection = connection
        self._path = path
        self._contracts: dict[str, Contract] = {}
        # One snapshot for all that is asked: the recorder turns chunks into frames beneath us.
        self.is_being_recorded = path is not None and recorder_is_alive(path)
        if not connection.in_transaction:
            connection.execute("BEGIN")

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open an SQLite cassette. Raises `CassetteError`."""
        return cls(open_for_reading(path), path)

    def close(self) -> None:
        if self._path is None:
            self._connection.close()
        else:
            remove_copy(self._connection, self._path)

    def recordings(self) -> list[Recording]:
        return [Recording(*row) for row in self._rows("SELECT * FROM recordings ORDER BY recording")]

    def recording(self, number: int) -> Recording:
        (row,) = self._rows("SELECT * FROM recordings WHERE recording = ?", number)
        return Recording(*row)

    def exchanges(self, where: str = "1", *values: Any) -> list[Exchange]:
        """Exchanges in the order of their requests."""
        order = " ORDER BY recording, request_at_ns, exchange"
        found = list(self._rows(f"{_EXCHANGE} WHERE {where}{order}", *values))
        return [self._settled(_exchange(row, self.is_being_recorded), bool(row[-1])) for row in found]

    def _settled(self, x: Exchange, has_unframed: bool) -> Exchange:
        """`[DONE]` may be among the bytes that the recorder made no frames of any more."""
        looked_at = has_unframed and x.kind == "sse" and x.ending != "done" and (x.end_ns is None or not is_coded(x))
        behind = self._derived(x, *self._stored(x), unfinished=False) if looked_at else ()
        return replace(x, ending="done") if any(frame.verdict == "sentinel" for frame in behind) else x

    def streams(self, session_id: str | None = None) -> list[Exchange]:
        if session_id is None:
            return self.exchanges("kind = 'sse'")
        return self.exchanges("kind = 'sse' AND session_id = ?", session_id)

    def reads(self, exchange: int) -> list[Read]:
        """When a stream's bytes came, in order."""
        query = "SELECT offset_ns, sent_ns, size FROM reads WHERE exchange = ? ORDER BY n"
        return [Read(*row) for row in self._rows(query, exchange)]

    def lost(self, exchange: int) -> list[int]:
        """The numbers, from 0, of the reads of a coded stream whose bytes could not be kept."""
        return [part.read for part in unframed(self._connection, exchange, Position()) if part.data is None]

    def messages(self, exchange: int) -> Iterator[Message]:
        query = (
            "SELECT exchange, message, at_ns, sent_ns, dir, opcode, data FROM messages WHERE exchange = ?"
            " ORDER BY message"
        )
        for number, message, at_ns, sent_ns, dir, opcode, data in self._rows(query, exchange):
            yield Message(number, message, at_ns, sent_ns, dir, opcode, _bytes(data))

    def incidents(self) -> list[Incident]:
        return [Incident(*row) for row in self._rows("SELECT * FROM incidents ORDER BY recording, at_ns")]

    def body(self, exchange: int, side: Side) -> bytes:
        """A body as it was on the wire, but for redaction. For a stream, see `content`."""
        query = "SELECT data FROM chunks WHERE exchange = ? AND side = ? ORDER BY start"
        return b"".join(data for (data,) in self._rows(query, exchange, side))

    def wire(self, exchange: Exchange) -> bytes:
        """The bytes of a stream's body as they were on the wire: compressed, if the response was."""
        return self.body(exchange.exchange, "response") if is_coded(exchange) else b"".join(self.content(exchange))

    def content(self, exchange: Exchange) -> Iterator[bytes]:
        """The decoded bytes of a stream: its frames' `raw` and, while it goes on, the beginning of the next frame."""
        for frame in self.frames(exchange, unfinished=True):
            if frame.raw is not None:
                yield frame.raw

    def frames(self, exchange: Exchange, *, unfinished: bool = False) -> Iterator[TimedFrame]:
        """The frames of a stream. `unfinished`: with the beginning of the next one, while the stream goes on."""
        assert exchange.stream is not None
        query = (
            "SELECT f.stream, f.seq, r.offset_ns, r.sent_ns, f.raw, f.length, f.type, f.verdict, f.issues FROM frames f"
            " JOIN reads r ON r.exchange = ? AND r.n = f.read WHERE f.stream = ? ORDER BY f.seq"
        )
        stored = length = 0
        for stream, seq, offset, sent, raw, size, type_, verdict, issues in self._rows(
            query, exchange.exchange, exchange.stream
        ):
            stored, length = seq, length + size
            found = tuple((path, message) for path, message in json.loads(issues)) if issues else ()
            yield TimedFrame(
                stream, seq, offset, sent, None if raw is None else _bytes(raw), size, type_, verdict, found
            )
        yield from self._derived(exchange, stored, length, unfinished)

    def _derived(self, exchange: Exchange, stored: int, length: int, unfinished: bool) -> Iterator[TimedFrame]:
        """The frames behind the stored ones."""
        reads = self.reads(exchange.exchange)
        if not is_coded(exchange) and sum(read.size for read in reads) == length:
            return
        for seq, framed in enumerate(self._reframed(exchange, stored, length, unfinished), stored + 1):
            judgement, read = framed.judgement, reads[framed.read]
            issues = tuple((issue.path, issue.message) for issue in judgement.issues)
            yield TimedFrame(
                exchange.stream or 0, seq, read.offset_ns, read.sent_ns, framed.frame.raw, framed.frame.length,
                judgement.type, judgement.verdict, issues,
            )  # fmt: skip

    def _reframed(self, exchange: Exchange, stored: int, length: int, unfinished: bool) -> Iterator[Framed]:
        coded = is_coded(exchange)
        skip, position = (stored, Position()) if coded else (0, Position(byte=length))
        contract = self.contract_of(exchange.recording)
        framer = Framer(content_encoding(exchange), contract, 0 if coded else length)
        for part in unframed(self._connection, exchange.exchange, position):
            fed = framer.skip(part.read, part.size) if part.data is None else framer.feed(part.read, part.data)
            yield from fed[skip:]
            skip = max(0, skip - len(fed))
        if unfinished or exchange.ending != "open":
            yield from framer.close()[skip:]

    def contract_of(self, recording: int) -> Contract:
        """The contract of a recording; the built-in one where the file that it named is not here."""
        name = self.recording(recording).contract
        if name not in self._contracts:
            try:
                self._contracts[name] = load(name)
            except UsageError:
                self._contracts[name] = load("omnigent")
        return self._contracts[name]

    def parents(self) -> dict[str, str]:
        """Session id to the id of the session that spawned it, as `session.created` told."""
        query = "SELECT raw FROM frames WHERE type = 'session.created' AND verdict = 'valid'"
        return dict(filter(None, (_family(_bytes(raw)) for (raw,) in self._rows(query) if raw is not None)))

    def last_status(self, exchange: Exchange) -> str | None:
        """The status that the last `session.status` of a stream gave."""
        query = "SELECT raw FROM frames WHERE type = 'session.status' AND stream = ? ORDER BY seq DESC LIMIT 1"
        last = [_bytes(raw) for (raw,) in self._rows(query, exchange.stream)]
        behind = self._derived(exchange, *self._stored(exchange), unfinished=False)
        last += [frame.raw for frame in behind if frame.type == "session.status" and frame.raw is not None]
        status = (_payload(last[-1]) or {}).get("status") if last else None
        return status if isinstance(status, str) else None

    def tally(self, exchange: Exchange) -> tuple[dict[str, int], int]:
        """How many frames of a stream have which verdict, and how many bytes they have together."""
        query = "SELECT verdict, count(*), sum(length) FROM frames WHERE stream = ? GROUP BY verdict ORDER BY verdict"
        found = list(self._rows(query, exchange.stream))
        verdicts = Counter({verdict: count for verdict, count, _ in found})
        size = sum(length for _, _, length in found)
        for frame in self._derived(exchange, verdicts.total(), size, unfinished=False):
            verdicts[frame.verdict] += 1
            size += frame.length
        return dict(verdicts), size

    def _stored(self, exchange: Exchange) -> tuple[int, int]:
        query = "SELECT count(*), coalesce(sum(length), 0) FROM frames WHERE stream = ?"
        ((frames, length),) = self._rows(query, exchange.stream)
        return frames, length

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        with clear_errors(self._path or "the cassette"):
            rows = self._connection.execute(query, values)
        while True:
            with clear_errors(self._path or "the cassette"):
                row = rows.fetchone()
            if row is None:
                return
            yield row


def content_encoding(exchange: Exchange) -> str | None:
    return header(exchange.response.headers, "content-encoding") if exchange.response else None


def is_coded(exchange: Exchange) -> bool:
    """Whether the response has a content coding, so that its wire bytes are kept beside its frames."""
    return (content_encoding(exchange) or "identity").strip().lower() != "identity"


def _exchange(row: Any, alive: bool) -> Exchange:
    (number, recording, kind, stream, session_id, party, at_ns, method, target, headers) = row[:10]
    (response_at, end_ns, status, reason, response_headers, ending, request_bytes, response_bytes) = row[10:-1]
    response = None
    if status is not None:
        response = Response(response_at, end_ns, status, reason, _headers(response_headers))
    unfinished: Ending = "open" if alive else "recorder_killed"
    return Exchange(
        number, recording, kind, stream, session_id, party, Request(at_ns, method, target, _headers(headers)),
        response, ending or unfinished, request_bytes, response_bytes, end_ns,
    )  # fmt: skip


def _headers(text: str) -> Headers:
    return tuple((name, value) for name, value in json.loads(text))


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _payload(raw: bytes) -> dict[str, Any] | None:
    data = read_fields(raw).data
    payload = json.loads(data) if data else None
    return payload if isinstance(payload, dict) else None


def _family(raw: bytes) -> tuple[str, str] | None:
    payload = _payload(raw) or {}
    child, parent = payload.get("child_session_id"), payload.get("conversation_id")
    return (child, parent) if isinstance(child, str) and isinstance(parent, str) else None
